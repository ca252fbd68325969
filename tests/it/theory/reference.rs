//! The reference values: `tests/testdata/theory.csv`, one row per case and metric, and how much each one may be missed by.

use std::collections::BTreeMap;

/// One value of theory.
#[derive(Clone, Debug)]
pub struct Row {
    pub case: String,
    pub metric: String,
    pub value: f64,
    /// Half-width of the 95 % interval of a value that is itself simulated; 0 for formulas and solvers.
    pub half_width: f64,
    /// A value of Che's approximation: half a percentage point of its own error.
    pub che: bool,
    /// Served jobs that give a 95 % half-width of 1 % of the value, where that was measured.
    pub n1: Option<f64>,
}

/// A case: a model with parameters and several values.
#[derive(Clone, Debug)]
pub struct Case {
    pub id: String,
    pub params: Params,
    pub rows: Vec<Row>,
}

/// `key=value;...` of a case.
#[derive(Clone, Debug)]
pub struct Params(BTreeMap<String, String>);

impl Params {
    fn parse(text: &str) -> Params {
        Params(
            text.split(';')
                .filter_map(|part| part.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub fn word(&self, key: &str) -> &str {
        self.0.get(key).unwrap_or_else(|| panic!("no parameter {key} in {self:?}"))
    }

    pub fn number(&self, key: &str) -> f64 {
        self.word(key).parse().unwrap_or_else(|_| panic!("{key} is no number in {self:?}"))
    }

    pub fn whole(&self, key: &str) -> u32 {
        self.word(key).parse().unwrap_or_else(|_| panic!("{key} is no whole number in {self:?}"))
    }

    pub fn list(&self, key: &str) -> Vec<f64> {
        self.word(key).split('|').map(|item| item.parse().expect("lists hold numbers")).collect()
    }
}

/// Every case of the file, in its order.
pub fn cases() -> Vec<Case> {
    let text = include_str!("../../testdata/theory.csv");
    let mut cases: Vec<Case> = Vec::new();
    for record in csv::Reader::from_reader(text.as_bytes()).records() {
        let record = record.expect("theory.csv is well formed");
        let row = parse_row(&record);
        match cases.last_mut().filter(|case| case.id == row.case) {
            Some(case) => case.rows.push(row),
            None => cases.push(Case { id: row.case.clone(), params: Params::parse(&record[2]), rows: vec![row] }),
        }
    }
    cases
}

fn parse_row(record: &csv::StringRecord) -> Row {
    let method = &record[5];
    let after = |mark: &str| {
        let rest = &method[method.find(mark)? + mark.len()..];
        let end = rest.find([';', ')', ' ']).unwrap_or(rest.len());
        rest[..end].parse::<f64>().ok()
    };
    Row {
        case: record[0].to_owned(),
        metric: record[3].to_owned(),
        value: record[4].parse().expect("values are numbers"),
        half_width: if method.starts_with("simulation") { after("half-width ").expect("a half-width") } else { 0.0 },
        che: method.starts_with("Che"),
        n1: after("n1="),
    }
}

#[test]
fn the_file_holds_49_cases_and_274_values() {
    let cases = cases();
    assert_eq!(cases.len(), 49);
    assert_eq!(cases.iter().map(|case| case.rows.len()).sum::<usize>(), 274);
    let simulated = cases.iter().flat_map(|case| &case.rows).filter(|row| row.half_width > 0.0).count();
    assert_eq!(simulated, 21, "det-pool-4, det-pool-10 and simfaas-paper");
    assert!(cases.iter().flat_map(|case| &case.rows).all(|row| row.value.is_finite()));
}
