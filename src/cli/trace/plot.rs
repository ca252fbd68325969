//! Counts over time as bars in a terminal: a chart with axes, and one line per endpoint.

/// Lengths that a bar may stand for, in seconds, and what they are called.
const STEPS: [(f64, &str); 26] = [
    (0.01, "10 ms"),
    (0.1, "100 ms"),
    (1.0, "1 s"),
    (2.0, "2 s"),
    (5.0, "5 s"),
    (10.0, "10 s"),
    (15.0, "15 s"),
    (30.0, "30 s"),
    (60.0, "1 min"),
    (120.0, "2 min"),
    (300.0, "5 min"),
    (600.0, "10 min"),
    (900.0, "15 min"),
    (1_800.0, "30 min"),
    (3_600.0, "1 h"),
    (7_200.0, "2 h"),
    (10_800.0, "3 h"),
    (21_600.0, "6 h"),
    (43_200.0, "12 h"),
    (86_400.0, "1 d"),
    (172_800.0, "2 d"),
    (432_000.0, "5 d"),
    (864_000.0, "10 d"),
    (2_592_000.0, "30 d"),
    (8_640_000.0, "100 d"),
    (86_400_000.0, "1000 d"),
];

/// Rows of the chart.
const HEIGHT: u64 = 8;
/// Columns for the counts beside the axis.
const MARGIN: usize = 9;

/// How a span of time is divided into bars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bins {
    /// Length of a bar in seconds, and its name.
    pub step: (f64, &'static str),
    /// Number of bars.
    pub count: usize,
    /// Columns of a bar.
    pub columns: usize,
}

impl Bins {
    /// For `span_s` seconds and a chart that is `width` columns wide in all.
    pub fn new(span_s: f64, width: u16) -> Bins {
        let room = usize::from(width).saturating_sub(MARGIN + 2).max(10);
        let count = |step: f64| (span_s / step) as usize + 1;
        let step = STEPS.into_iter().find(|step| count(step.0) <= room).unwrap_or_else(|| {
            // Beyond 1,000 days a bar: as long as it takes.
            ((span_s / (room - 1) as f64).ceil(), "a bar")
        });
        let count = count(step.0);
        Bins { step, count, columns: (room / count).clamp(1, 8) }
    }
}

/// Characters for heights of 0 to 8 eighths, and for the axes.
struct Style {
    eighths: [char; 9],
    side: char,
    tick: char,
    corner: char,
    floor: char,
}

const UNICODE: Style =
    Style {
        eighths: [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'], side: '│', tick: '┤', corner: '└', floor: '─'
    };

const ASCII: Style =
    Style { eighths: [' ', '.', '.', ':', ':', ':', '#', '#', '#'], side: '|', tick: '+', corner: '+', floor: '-' };

fn style(ascii: bool) -> &'static Style {
    if ascii { &ASCII } else { &UNICODE }
}

/// A chart of `counts`, with counts up the side and times along the floor.
pub fn chart(counts: &[u64], bins: Bins, ascii: bool) -> String {
    let style = style(ascii);
    let peak = counts.iter().copied().max().unwrap_or(0).max(1);
    let mut text = String::new();
    for row in (0..HEIGHT).rev() {
        let (label, side) = match row {
            7 => (peak.to_string(), style.tick),
            3 => (if peak % 2 == 0 { (peak / 2).to_string() } else { format!("{:.1}", peak as f64 / 2.0) }, style.tick),
            _ => (String::new(), style.side),
        };
        let bars: String = counts.iter().map(|count| bar(*count, peak, row, style).repeat(bins.columns)).collect();
        text.push_str(&format!("{label:>MARGIN$} {side}{}\n", bars.trim_end()));
    }
    let floor = style.floor.to_string().repeat(counts.len() * bins.columns);
    text.push_str(&format!("{:>MARGIN$} {}{floor}\n", 0, style.corner));
    text.push_str(&times(counts.len(), bins));
    text
}

/// Counts as one line of bars, each relative to the highest.
pub fn line(counts: &[u64], bins: Bins, ascii: bool) -> String {
    let peak = counts.iter().copied().max().unwrap_or(0).max(1);
    let eighths = |count: &u64| if *count == 0 { 0 } else { (count * 8).div_ceil(peak) as usize };
    counts.iter().map(|count| style(ascii).eighths[eighths(count)].to_string().repeat(bins.columns)).collect()
}

/// What of a bar lies in `row`, counted from the floor. Whatever is not zero is seen.
fn bar(count: u64, peak: u64, row: u64, style: &Style) -> String {
    let eighths = (u128::from(count) * u128::from(HEIGHT * 8)).div_ceil(u128::from(peak)) as u64;
    style.eighths[eighths.saturating_sub(row * 8).min(8) as usize].to_string()
}

/// Times below the floor, at least twelve columns apart.
fn times(count: usize, bins: Bins) -> String {
    let bars = 12usize.div_ceil(bins.columns);
    let step = STEPS.into_iter().map(|step| step.0).find(|step| *step >= bars as f64 * bins.step.0);
    let every = step.map_or(bars, |step| (step / bins.step.0).round() as usize);
    let mut text = " ".repeat(MARGIN + 2);
    let last = (count - 1) / every * every;
    let unit = unit(last as f64 * bins.step.0);
    for bar in (0..count).step_by(every) {
        let at = MARGIN + 2 + bar * bins.columns;
        text.push_str(&" ".repeat(at.saturating_sub(text.len())));
        text.push_str(&in_unit(bar as f64 * bins.step.0, unit));
    }
    text.push('\n');
    text
}

/// `seconds` in the largest unit that leaves few digits.
pub fn time(seconds: f64) -> String {
    in_unit(seconds, unit(seconds))
}

/// Seconds in a unit, and its name.
fn unit(seconds: f64) -> (f64, &'static str) {
    match seconds {
        s if s < 120.0 => (1.0, "s"),
        s if s < 7_200.0 => (60.0, "min"),
        s if s < 172_800.0 => (3_600.0, "h"),
        _ => (86_400.0, "d"),
    }
}

fn in_unit(seconds: f64, (unit_s, unit): (f64, &str)) -> String {
    let tenths = (seconds / unit_s * 10.0).round() / 10.0;
    format!("{tenths} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stand_for_round_times_and_fit_the_width() {
        let week = Bins::new(604_797.0, 100);
        assert_eq!((week.step.1, week.count, week.columns), ("2 h", 84, 1));
        let hour = Bins::new(3_436.0, 100);
        assert_eq!((hour.step.1, hour.count, hour.columns), ("1 min", 58, 1));
        assert_eq!(Bins::new(0.0, 100).count, 1);
        for span_s in [1e-3, 7.0, 1e6, 3e9, 1e10] {
            for width in [20, 60, 200] {
                let bins = Bins::new(span_s, width);
                assert!(
                    bins.count * bins.columns + MARGIN + 2 <= usize::from(width).max(21),
                    "{span_s} {width} {bins:?}"
                );
                assert!(bins.count as f64 * bins.step.0 > span_s);
            }
        }
    }

    #[test]
    fn a_chart_has_axes_with_units() {
        let bins = Bins { step: (60.0, "1 min"), count: 4, columns: 4 };
        let expected = [
            "        8 ┤████",
            "          │████",
            "          │████",
            "          │████",
            "        4 ┤████        ████",
            "          │████        ████",
            "          │████        ████",
            "          │████    ████████",
            "        0 └────────────────",
            "           0 s",
        ];
        let text = chart(&[8, 0, 1, 4], bins, false);
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        assert!(chart(&[8, 0, 1, 4], bins, true).is_ascii());
    }

    #[test]
    fn the_smallest_count_is_seen_in_a_line_and_in_a_chart() {
        let bins = Bins { step: (60.0, "1 min"), count: 3, columns: 1 };
        assert_eq!(line(&[1_000, 0, 1], bins, false), "█ ▁");
        assert_eq!(line(&[1_000, 0, 1], bins, true), "# .");
        assert!(chart(&[1_000, 0, 1], bins, false).contains("│█ ▁"));
    }

    #[test]
    fn times_have_the_unit_that_reads_best() {
        assert_eq!([time(90.0), time(3_600.0), time(43_200.0), time(691_200.0)], ["90 s", "60 min", "12 h", "8 d"]);
        assert_eq!(time(216_000.0), "2.5 d");
    }
}
