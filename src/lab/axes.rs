//! What is varied: a setting and the values that it takes, as typed on the command line.
//!
//! `path=v1,v2,v3` lists YAML values; `path=lo..hi:steps` is an even grid with both ends, `:log` behind it an even grid of
//! logarithms; `path=lo..hi` alone is a range to draw from. A range whose ends are typed without a point holds whole numbers
//! when it is drawn from.

use crate::lab::stats::random::Stream;

/// Most points of a sweep: each is a file.
pub const POINTS_MAX: usize = 1_000_000;

/// One setting that is varied.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The path of the setting.
    pub path: String,
    /// What it takes.
    pub values: Values,
}

/// The values of a setting.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// These, as they are typed.
    List(Vec<String>),
    /// Numbers from a range.
    Range {
        /// Smallest.
        low: f64,
        /// Largest.
        high: f64,
        /// Points of a grid over it; none for a range that is only drawn from.
        steps: Option<usize>,
        /// Evenly in logarithms.
        log: bool,
        /// Whole numbers when drawn.
        whole: bool,
    },
}

impl Axis {
    /// Reads `path=values`.
    ///
    /// # Errors
    /// Says what is wrong and what a variation looks like.
    pub fn parse(text: &str) -> Result<Axis, String> {
        let wrong = |what: &str| {
            format!("--vary {text}: {what}; allowed: path=v1,v2,v3, path=lo..hi:steps or path=lo..hi:steps:log")
        };
        let (path, values) = text.split_once('=').ok_or_else(|| wrong("no `=`"))?;
        let (path, values) = (path.trim(), values.trim());
        if path.is_empty() || values.is_empty() {
            return Err(wrong("nothing before or behind the `=`"));
        }
        let values = match range(values) {
            Some(range) => range.map_err(|what| wrong(&what))?,
            None => Values::List(list(values)),
        };
        if let Values::List(values) = &values
            && values.iter().any(String::is_empty)
        {
            return Err(wrong("an empty value between commas"));
        }
        Ok(Axis { path: path.to_owned(), values })
    }

    /// Its grid, as typed values.
    ///
    /// # Errors
    /// If it is a range without a number of steps.
    pub fn grid(&self) -> Result<Vec<String>, String> {
        match &self.values {
            Values::List(values) => Ok(values.clone()),
            Values::Range { low, high, steps: Some(steps), log, .. } => {
                let at = |step: usize| shown(between(*low, *high, step as f64 / (*steps - 1).max(1) as f64, *log));
                Ok((0..*steps).map(at).collect())
            }
            Values::Range { low, high, .. } => Err(format!(
                "--vary {}: a range without a number of steps; write {}={low}..{high}:5, or add --random N",
                self.path, self.path
            )),
        }
    }

    /// A value drawn from it.
    pub fn draw(&self, stream: &mut Stream) -> String {
        match &self.values {
            Values::List(values) => values[stream.below(values.len())].clone(),
            Values::Range { low, high, log, whole, .. } => {
                let share = stream.uniform();
                if *whole && !*log {
                    return shown((low + (share * (high - low + 1.0)).floor()).min(*high));
                }
                let value = between(*low, *high, share, *log);
                shown(if *whole { value.round() } else { value })
            }
        }
    }
}

/// The point at `share` of the way from `low` to `high`.
pub fn between(low: f64, high: f64, share: f64, log: bool) -> f64 {
    let value = if log {
        libm::exp(libm::log(low) + share * (libm::log(high) - libm::log(low)))
    } else {
        low + share * (high - low)
    };
    value.clamp(low, high)
}

/// A number with six significant digits at most: longer ones are hard to read and mean nothing.
pub fn shown(value: f64) -> String {
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    rounded.to_string()
}

/// Every combination of the grids, the last setting changing quickest; without any, one point that changes nothing.
///
/// # Errors
/// If an axis has no grid, or there are too many points.
pub fn grid(axes: &[Axis]) -> Result<Vec<Vec<String>>, String> {
    let grids = axes.iter().map(Axis::grid).collect::<Result<Vec<_>, _>>()?;
    let count = grids.iter().try_fold(1_usize, |count, grid| count.checked_mul(grid.len()));
    if count.is_none_or(|count| count > POINTS_MAX) {
        return Err(format!("more than {POINTS_MAX} points; give fewer values, or --random N"));
    }
    let mut points = vec![Vec::new()];
    for values in grids {
        points = points
            .into_iter()
            .flat_map(|point: Vec<String>| {
                values
                    .iter()
                    .map(move |value| [point.as_slice(), std::slice::from_ref(value)].concat())
                    .collect::<Vec<_>>()
            })
            .collect();
    }
    Ok(points)
}

/// `count` points drawn independently; the same ones for the same seed, and a larger count only adds to them.
pub fn random(axes: &[Axis], count: usize, seed: u64) -> Vec<Vec<String>> {
    let point = |number: usize| {
        let mut stream = Stream::new(seed, number as u64);
        axes.iter().map(|axis| axis.draw(&mut stream)).collect()
    };
    (0..count).map(point).collect()
}

/// `lo..hi[:steps][:log]`; `None` for what is no range.
fn range(text: &str) -> Option<Result<Values, String>> {
    let (low, rest) = text.split_once("..")?;
    let mut parts = rest.split(':');
    let high = parts.next()?;
    let whole = !low.contains(['.', 'e']) && !high.contains(['.', 'e']);
    let (low, high) = (low.trim().parse::<f64>().ok()?, high.trim().parse::<f64>().ok()?);
    let (mut steps, mut log) = (None, false);
    for part in parts {
        match (part.trim(), part.trim().parse::<usize>()) {
            ("log", _) => log = true,
            (_, Ok(count)) if (2..=POINTS_MAX).contains(&count) => steps = Some(count),
            (other, _) => return Some(Err(format!("`{other}` is neither a number of steps from 2 on nor `log`"))),
        }
    }
    if !(low.is_finite() && high.is_finite() && low < high) {
        return Some(Err(format!("the range ends at {high}, not above its beginning {low}")));
    }
    if log && low <= 0.0 {
        return Some(Err("a logarithmic range begins above 0".to_owned()));
    }
    Some(Ok(Values::Range { low, high, steps, log, whole }))
}

/// Parts between commas that are not inside brackets, braces or quotes.
fn list(text: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quoted) = (vec![String::new()], 0_usize, None);
    for c in text.chars() {
        match (c, quoted) {
            ('"' | '\'', None) => quoted = Some(c),
            (c, Some(quote)) if c == quote => quoted = None,
            ('{' | '[', None) => depth += 1,
            ('}' | ']', None) => depth = depth.saturating_sub(1),
            (',', None) if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid_of(text: &str) -> Vec<String> {
        Axis::parse(text).unwrap().grid().unwrap()
    }

    #[test]
    fn lists_and_ranges_are_read() {
        assert_eq!(grid_of("seed=1, 2,3"), ["1", "2", "3"]);
        assert_eq!(grid_of("a.scaler={type: queue_delay, delay_s: 1},per_job").len(), 2);
        assert_eq!(grid_of("a.b=0..1:5"), ["0", "0.25", "0.5", "0.75", "1"]);
        assert_eq!(grid_of("a.b=1..100:3:log"), ["1", "10", "100"]);
        assert_eq!(Axis::parse("x=60s").unwrap().values, Values::List(vec!["60s".to_owned()]));
        for wrong in ["x", "x=", "x=1,,2", "x=5..1:3", "x=0..9:3:log", "x=1..9:1", "x=1..9:many"] {
            let message = Axis::parse(wrong).unwrap_err();
            assert!(message.contains(wrong) && message.contains("allowed"), "{message}");
        }
        assert!(Axis::parse("x=1..9").unwrap().grid().unwrap_err().contains("x=1..9:5"));
    }

    #[test]
    fn grids_are_every_combination_in_order() {
        let axes = [Axis::parse("a=1,2").unwrap(), Axis::parse("b=x,y,z").unwrap()];
        let points = grid(&axes).unwrap();
        assert_eq!(points.len(), 6);
        assert_eq!(
            (points[0].join(" "), points[1].join(" "), points[5].join(" ")),
            ("1 x".into(), "1 y".into(), "2 z".into())
        );
        assert_eq!(grid(&[]).unwrap(), [Vec::<String>::new()]);
        let huge = vec![Axis::parse("a=1..9:5000").unwrap(); 2];
        assert!(grid(&huge).unwrap_err().contains("--random"));
    }

    #[test]
    fn drawn_points_repeat_and_stay_inside() {
        let axes =
            [Axis::parse("a=1..4").unwrap(), Axis::parse("b=0.1..10.0:log").unwrap(), Axis::parse("c=x,y").unwrap()];
        let points = random(&axes, 400, 1);
        assert_eq!(points[..50], random(&axes, 50, 1)[..], "more points only add");
        assert_ne!(points[..50], random(&axes, 50, 2)[..]);
        let (mut counts, mut low) = ([0; 5], 0);
        for point in &points {
            counts[point[0].parse::<usize>().unwrap()] += 1;
            let b: f64 = point[1].parse().unwrap();
            assert!((0.1..=10.0).contains(&b));
            low += usize::from(b < 1.0);
        }
        // 100 expected of each, standard deviation 8.7; 200 expected below 1, standard deviation 10.
        assert!(counts[1..].iter().all(|count| (61..=139).contains(count)), "{counts:?}");
        assert!((155..=245).contains(&low), "{low}");
    }
}
