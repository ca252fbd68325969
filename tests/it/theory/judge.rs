//! From replications to verdicts: the pass rule, and the table of what was found.

use super::reference::Row;

/// A mean over replications and its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub mean: f64,
    pub error: f64,
}

impl Estimate {
    /// Of independent and equally long replications.
    pub fn of(samples: &[f64]) -> Estimate {
        let n = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / n;
        let variance = samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Estimate { mean, error: (variance / n).sqrt() }
    }
}

/// How a value of theory binds an estimate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// They are equal, up to the errors of both.
    Equal,
    /// The value is an approximation: equal up to this much more.
    Within(f64),
    /// The value is an upper bound.
    AtMost,
}

/// The judgement on one row.
#[derive(Clone, Debug)]
pub struct Finding {
    pub case: String,
    pub metric: String,
    pub value: f64,
    pub estimate: Estimate,
    /// Distance from the value in standard errors (of both), what the rule allows taken off.
    pub distance: f64,
    /// Standard error over what it may be.
    pub blur: f64,
}

/// Standard errors by which a correct estimate may miss: with 31 degrees of freedom one in 11,000 misses by more.
pub const MOST_ERRORS: f64 = 4.5;

impl Finding {
    /// Judges `estimate`; its standard error may be `precision / 2` of the value, or the test could not fail.
    pub fn new(row: &Row, rule: Rule, estimate: Estimate, precision: f64) -> Finding {
        // The file gives eight digits. The error of a simulated value is half of its 95 % half-width.
        let rounding = 1e-7 * row.value.abs();
        let error = libm::hypot(libm::hypot(estimate.error, row.half_width / 2.0), rounding);
        let excess = match rule {
            Rule::Equal => (estimate.mean - row.value).abs(),
            Rule::Within(slack) => ((estimate.mean - row.value).abs() - slack).max(0.0),
            Rule::AtMost => (estimate.mean - row.value).max(0.0),
        };
        let allowed = precision / 2.0 * row.value.abs();
        Finding {
            case: row.case.clone(),
            metric: row.metric.clone(),
            value: row.value,
            estimate,
            distance: if excess == 0.0 { 0.0 } else { excess / error },
            blur: if estimate.error == 0.0 { 0.0 } else { estimate.error / allowed },
        }
    }

    /// Near enough, and sharp enough to mean it.
    pub fn passes(&self) -> bool {
        self.is_near() && self.is_sharp()
    }

    pub fn is_near(&self) -> bool {
        self.distance <= MOST_ERRORS
    }

    pub fn is_sharp(&self) -> bool {
        self.blur <= 1.0
    }

    /// One line of the table.
    pub fn line(&self) -> String {
        let Finding { case, metric, value, estimate, distance, blur } = self;
        let verdict = match (self.is_near(), self.is_sharp()) {
            (true, true) => "ok",
            (false, _) => "FAR",
            (true, false) => "BLURRED",
        };
        format!(
            "{case:<14} {metric:<37} {value:>14.7} {:>14.7} {:>11.2e} {distance:>6.2} {blur:>6.2} {verdict}",
            estimate.mean, estimate.error
        )
    }
}

/// The head of the table.
pub fn head() -> String {
    format!(
        "{:<14} {:<37} {:>14} {:>14} {:>11} {:>6} {:>6} verdict",
        "case", "metric", "theory", "estimate", "SE", "off/SE", "SE/max"
    )
}

#[test]
fn the_rule_rejects_what_is_far_and_what_is_blurred() {
    let row = Row {
        case: "case".to_owned(),
        metric: "metric".to_owned(),
        value: 100.0,
        half_width: 0.0,
        che: false,
        n1: None,
    };
    let judge = |mean, error, rule| Finding::new(&row, rule, Estimate { mean, error }, 0.05);
    assert!(judge(104.4, 1.0, Rule::Equal).passes());
    assert!(!judge(104.6, 1.0, Rule::Equal).is_near());
    assert!(!judge(100.0, 2.6, Rule::Equal).is_sharp());
    assert!(judge(90.0, 1.0, Rule::AtMost).passes());
    assert!(!judge(104.6, 1.0, Rule::AtMost).passes());
    assert!(judge(105.4, 1.0, Rule::Within(1.0)).passes());
    assert!(!judge(105.6, 1.0, Rule::Within(1.0)).passes());
    assert_eq!(Estimate::of(&[1.0, 2.0, 3.0]), Estimate { mean: 2.0, error: (1.0f64 / 3.0).sqrt() });
}
