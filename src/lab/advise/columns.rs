//! Where the lines of a log hold the time of a request: by the names of a heading, by what the cells are, and by how they go on.
//!
//! A first number is not a time: ids, status codes and latencies are numbers, too. So dates come before bare numbers, a column
//! with the name of a time before others, what changes before what does not; and a bare number without such a name must go up
//! from line to line or be an epoch.

use std::borrow::Cow;

use super::names::{holds_waiting, is_length, named, plain, unit_in};
use super::timestamp::{DateOrder, Stamp, parse, time_of_day, unit_of};

/// Separators between fields.
const SEPARATORS: [char; 4] = [',', ';', '\t', '|'];
/// Share of neighbouring lines that are in order of time where a column of numbers is one of times.
const IN_ORDER: f64 = 0.9;
/// Columns that are shown in an error.
const SHOWN: usize = 12;

/// Where a line holds a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The field of this number between separators.
    Field(char, usize),
    /// A day in one field, the time of day in another.
    DayAndTime(char, usize, usize),
    /// The value of this key of a JSON object.
    Key(String),
    /// The whole line.
    Line,
    /// Between the first `[` and `]`.
    Brackets,
    /// The first two words.
    TwoWords,
    /// The word of this number.
    Word(usize),
}

/// What a log's lines hold, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    /// When a request came.
    pub time: Place,
    /// As an error or a page names it; none if the line is nothing but a time.
    pub name: Option<String>,
    /// Times are dates.
    pub dates: bool,
    /// How these are to be read.
    pub order: DateOrder,
    /// Both orders would do.
    pub ambiguous: bool,
    /// Seconds of a bare number, and the unit's name.
    pub unit: (f64, &'static str),
    /// The first line holds names.
    pub heading: bool,
    /// Length of a job: its place, seconds of its unit, its name.
    pub service: Option<(Place, f64, String)>,
    /// Lengths without a unit in their name, which cannot be used.
    pub unused: Option<String>,
    /// Input tokens.
    pub input_tokens: Option<Place>,
    /// Output tokens.
    pub output_tokens: Option<Place>,
    /// Endpoint.
    pub endpoint: Option<Place>,
}

impl Place {
    /// The value on this line.
    pub fn of<'a>(&self, line: &'a str) -> Option<Cow<'a, str>> {
        let borrowed = match self {
            Place::Field(separator, number) => fields(line, *separator).nth(*number),
            Place::DayAndTime(separator, day, time) => {
                let (day, time) = (fields(line, *separator).nth(*day)?, fields(line, *separator).nth(*time)?);
                return Some(Cow::Owned(format!("{} {}", day.trim(), time.trim())));
            }
            Place::Key(key) => return json_text(line, key).map(Cow::Owned),
            Place::Line => Some(line),
            Place::Brackets => Some(line.split_once('[')?.1.split_once(']')?.0),
            Place::TwoWords => {
                let second = line.split_whitespace().nth(1)?;
                let end = second.as_ptr() as usize - line.as_ptr() as usize + second.len();
                line.get(..end)
            }
            Place::Word(number) => line.split_whitespace().nth(*number),
        };
        borrowed.map(Cow::Borrowed)
    }
}

/// The fields of a line; one that begins with a double quote ends at the next one, whatever is in between.
fn fields(line: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let text = rest?;
        let inner = text.trim_start_matches(' ').strip_prefix('"');
        let (field, after) = match inner {
            None => text.split_once(separator).map_or((text, None), |(field, after)| (field, Some(after))),
            Some(inner) => {
                let (field, after) = inner.split_once('"').unwrap_or((inner, ""));
                (field, after.split_once(separator).map(|(_, after)| after))
            }
        };
        rest = after;
        Some(field.trim())
    })
}

fn json_text(line: &str, key: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    match value.get(key)? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A place that may hold times, and what speaks for it.
struct Candidate {
    place: Place,
    name: Option<String>,
    order: DateOrder,
    ambiguous: bool,
    dates: bool,
    heading: bool,
    /// Not all the same.
    varied: bool,
    /// 2: the name of a time, 1: of a later one, 0: none, -1: of something else.
    named: i32,
    plausible: bool,
    first: f64,
}

impl Columns {
    /// What the lines (the first ones of a log) hold. `column`: the name or the number, from 1, of the one that holds the times.
    ///
    /// # Errors
    /// What was looked for in vain, and a way out.
    pub fn find(lines: &[&str], column: Option<&str>) -> Result<Columns, (String, String)> {
        let first = lines.first().copied().unwrap_or_default();
        let places = places(first);
        let alone = places.iter().all(|place| !matches!(place, Place::Field(..) | Place::Key(_) | Place::Word(1..)));
        let wanted = column.map(|column| chosen(first, &places, column)).transpose()?;
        let judged: Vec<Candidate> = match &wanted {
            Some(place) => judge(place.clone(), lines, true).into_iter().collect(),
            None => places.iter().filter_map(|place| judge(place.clone(), lines, alone)).collect(),
        };
        let rank = |one: &Candidate| (one.plausible, one.varied, one.named, one.dates);
        // `max_by_key` takes the last of equal ones, so they are asked from behind.
        let is_time = |place: &Place| name_of(place, first).is_some_and(|name| named(&name) == 2);
        if lines.len() == 1 && judged.is_empty() && places.iter().any(is_time) {
            let what = "there is no request below the heading".to_owned();
            return Err((what, "expected one request per line, with its time".to_owned()));
        }
        let Some(best) = judged.iter().rev().max_by_key(|one| rank(one)) else {
            return Err(no_time(first, wanted.is_some()));
        };
        // A column that says that it is the time, and is not understood, must not be passed over for another one.
        let said = places.iter().find(|place| wanted.is_none() && is_time(place));
        if let Some(place) = said
            && best.named < 2
            && let Some(value) = lines.get(1).and_then(|line| place.of(line))
        {
            let name = name_of(place, first).unwrap_or_default();
            return Err((format!("column `{name}` holds `{value}`, which is no time that is understood"), help()));
        }
        if !best.plausible {
            return Err(no_time(first, false));
        }
        Ok(Columns::with(best, &places, lines))
    }

    fn with(best: &Candidate, places: &[Place], lines: &[&str]) -> Columns {
        let first = lines.first().copied().unwrap_or_default();
        let mut time = best.place.clone();
        if let Place::Field(separator, day) = time
            && let Some(clock) = clock_of(separator, day, &lines[usize::from(best.heading)..])
        {
            time = Place::DayAndTime(separator, day, clock);
        }
        let named = |names: &[&str]| {
            let is = |place: &&Place| name_of(place, first).is_some_and(|name| names.contains(&plain(&name).as_str()));
            places.iter().find(is).cloned()
        };
        let lengths = places.iter().filter(|place| **place != best.place);
        let number = |place: &Place| {
            let line = lines.get(usize::from(best.heading));
            line.and_then(|line| place.of(line)).is_some_and(|text| text.trim().parse::<f64>().is_ok())
        };
        let lengths = lengths.filter(|place| number(place));
        let lengths = lengths.filter_map(|place| Some((place, name_of(place, first).filter(|name| is_length(name))?)));
        let lengths: Vec<(&Place, String)> = lengths.collect();
        let with_unit = |(place, name): &(&Place, String)| Some(((*place).clone(), unit_in(name)?.0, name.clone()));
        // What was measured on the worker comes before what the client waited for.
        let on_worker = |(_, name): &&(&Place, String)| !holds_waiting(name);
        let service = lengths.iter().filter(on_worker).chain(&lengths).find_map(with_unit);
        let unit = best.name.as_deref().and_then(unit_in).filter(|_| best.first < 1e9);
        Columns {
            name: best.name.clone().or_else(|| told(&time)),
            time,
            dates: best.dates,
            order: best.order,
            ambiguous: best.ambiguous,
            unit: if best.dates { (1.0, "dates") } else { unit.unwrap_or_else(|| unit_of(best.first)) },
            heading: best.heading,
            unused: if service.is_none() { lengths.first().map(|(_, name)| name.clone()) } else { None },
            service,
            input_tokens: named(&["inputtokens", "prompttokens", "contexttokens", "requesttokens"]),
            output_tokens: named(&["outputtokens", "completiontokens", "generatedtokens", "responsetokens"]),
            endpoint: named(&["endpoint"]),
        }
    }
}

/// All places of a line.
fn places(line: &str) -> Vec<Place> {
    if let Ok(serde_json::Value::Object(map)) = serde_json::from_str::<serde_json::Value>(line) {
        return map.keys().cloned().map(Place::Key).collect();
    }
    let present = SEPARATORS.into_iter().filter(|separator| line.contains(*separator));
    let fields =
        present.flat_map(|separator| (0..fields(line, separator).count()).map(move |n| Place::Field(separator, n)));
    let words = (0..line.split_whitespace().count()).map(Place::Word);
    fields.chain([Place::Line, Place::Brackets, Place::TwoWords]).chain(words).collect()
}

/// What the heading calls the place; of JSON the key.
fn name_of(place: &Place, first: &str) -> Option<String> {
    match place {
        Place::Key(key) => Some(key.clone()),
        Place::Field(..) | Place::Line => place.of(first).map(|name| name.trim().trim_matches('"').to_owned()),
        _ => None,
    }
}

/// A place without a name, for people.
fn told(place: &Place) -> Option<String> {
    match place {
        Place::Field(_, number) | Place::DayAndTime(_, number, _) => Some(format!("{}", number + 1)),
        _ => None,
    }
}

fn chosen(first: &str, places: &[Place], column: &str) -> Result<Place, (String, String)> {
    let by_name =
        places.iter().find(|place| name_of(place, first).is_some_and(|name| name.eq_ignore_ascii_case(column)));
    let by_number = || {
        let number = column.parse::<usize>().ok()?.checked_sub(1)?;
        let fields = places.iter().find(|place| matches!(place, Place::Field(_, n) if *n == number));
        let keys = || places.iter().filter(|place| matches!(place, Place::Key(_))).nth(number);
        fields.or_else(keys).or_else(|| places.iter().find(|place| **place == Place::Word(number)))
    };
    let missing = || (format!("there is no column `{column}`"), format!("its columns: {}", listed(first)));
    by_name.or_else(by_number).cloned().ok_or_else(missing)
}

fn judge(place: Place, lines: &[&str], alone: bool) -> Option<Candidate> {
    let stamps =
        |order| lines.iter().map(|line| place.of(line).and_then(|text| parse(&text, order))).collect::<Vec<_>>();
    let (month, day) = (stamps(DateOrder::MonthFirst), stamps(DateOrder::DayFirst));
    let understood = |stamps: &[Option<Stamp>]| stamps.iter().flatten().count();
    let backwards = |stamps: &[Option<Stamp>]| 1.0 - in_order(&values(stamps, true));
    let by_day = understood(&day).cmp(&understood(&month)).then(backwards(&month).total_cmp(&backwards(&day)));
    let (order, stamps) = if by_day.is_gt() { (DateOrder::DayFirst, &day) } else { (DateOrder::MonthFirst, &month) };
    let dates = values(stamps, true).len() * 2 > understood(stamps);
    let values = values(stamps, dates);
    let heading = stamps.first().is_some_and(Option::is_none) && !values.is_empty();
    let rows = lines.len() - usize::from(heading);
    if values.is_empty() || values.len() * 2 < rows {
        return None;
    }
    let name = match &place {
        Place::Key(key) => Some(key.clone()),
        _ if heading => name_of(&place, lines[0]),
        _ => None,
    };
    let named = name.as_deref().map_or(0, named);
    let counts = values.len() > 2 && values.windows(2).all(|pair| pair[1] - pair[0] == 1.0);
    let since_2001 = values.iter().all(|value| {
        let seconds = value * unit_of(*value).0;
        (1e9..4.2e9).contains(&seconds)
    });
    let goes_up = in_order(&values) >= IN_ORDER && !counts && values.first() != values.last();
    Some(Candidate {
        plausible: alone || dates || named > 0 || (named == 0 && (since_2001 || goes_up)),
        varied: values.windows(2).any(|pair| pair[0] != pair[1]),
        ambiguous: dates && by_day.is_eq() && month != day,
        first: values[0],
        place,
        name,
        order,
        dates,
        heading,
        named,
    })
}

/// The moments of one kind: of dates, or the bare numbers.
fn values(stamps: &[Option<Stamp>], dates: bool) -> Vec<f64> {
    let of = |stamp: &Stamp| match *stamp {
        Stamp::Date(seconds) if dates => Some(seconds),
        Stamp::Number(number) if !dates => Some(number),
        _ => None,
    };
    stamps.iter().flatten().filter_map(of).collect()
}

/// Share of neighbours that do not go back; 1 without neighbours.
fn in_order(values: &[f64]) -> f64 {
    let pairs = values.len().saturating_sub(1);
    if pairs == 0 { 1.0 } else { values.windows(2).filter(|pair| pair[0] <= pair[1]).count() as f64 / pairs as f64 }
}

/// The field with the time of day, where the one at `day` holds days only.
fn clock_of(separator: char, day: usize, lines: &[&str]) -> Option<usize> {
    let is =
        |line: &&str, number: usize, test: &dyn Fn(&str) -> bool| fields(line, separator).nth(number).is_some_and(test);
    let holds = |number: usize, test: &dyn Fn(&str) -> bool| lines.iter().all(|line| is(line, number, test));
    let width = lines.first().map_or(0, |line| fields(line, separator).count());
    if !holds(day, &|text| !text.contains(':')) {
        return None;
    }
    (0..width).find(|number| *number != day && holds(*number, &|text| time_of_day(text).is_some()))
}

fn help() -> String {
    "expected a date with a time (2026-05-08T12:34:56Z, 05/08/2026 12:34:56), an epoch in seconds or milliseconds, or rising seconds; \
     --column NAME or its number says which column"
        .to_owned()
}

fn no_time(first: &str, chosen: bool) -> (String, String) {
    let what = if chosen { "no timestamp in the column" } else { "no timestamp in the line" };
    (what.to_owned(), format!("{}; its columns: {}", help(), listed(first)))
}

fn listed(first: &str) -> String {
    let places = places(first);
    let names = places.iter().filter(|place| matches!(place, Place::Key(_) | Place::Field(..)));
    let names: Vec<String> = names.filter_map(|place| name_of(place, first)).take(SHOWN).collect();
    match names.is_empty() {
        true => "one".to_owned(),
        false => names.join(", "),
    }
}
