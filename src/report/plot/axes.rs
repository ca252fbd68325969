//! Axes: from values to places, round ticks, times in the unit that fits, grids and legends.

use super::scene::{Dash, Hatch, Ink, Place, Scene, Side, TEXT, text_width};

/// How values lie along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Evenly.
    Linear {
        /// First value.
        from: f64,
        /// Last value, above the first.
        to: f64,
    },
    /// By their logarithms.
    Log {
        /// First value, above zero.
        from: f64,
        /// Last value, above the first.
        to: f64,
    },
}

impl Scale {
    /// From zero to at least `most`, to a round value.
    pub fn up_to(most: f64) -> Scale {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = round_step(most / 4.0);
        Scale::Linear { from: 0.0, to: (most / step - 1e-9).ceil() * step }
    }

    /// Powers of ten around `least` and `most`, both above zero.
    pub fn log(least: f64, most: f64) -> Scale {
        let from = libm::floor(libm::log10(least) + 1e-9);
        let to = libm::ceil(libm::log10(most) - 1e-9).max(from + 1.0);
        Scale::Log { from: libm::pow(10.0, from), to: libm::pow(10.0, to) }
    }

    /// By logarithms, just around `least` and `most`, both above zero: for points, of which only the place says something.
    pub fn log_around(least: f64, most: f64) -> Scale {
        let pad = libm::pow((most / least).max(1.0), 0.08).max(1.01);
        Scale::Log { from: least / pad, to: most * pad }
    }

    /// The part of the axis that lies below `value`, 0 to 1.
    pub fn part(&self, value: f64) -> f64 {
        let part = match *self {
            Scale::Linear { from, to } => (value - from) / (to - from),
            Scale::Log { from, to } => libm::log(value.max(from) / from) / libm::log(to / from),
        };
        part.clamp(0.0, 1.0)
    }

    /// Round values, `most` of them or a few less, and how they are written.
    pub fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        match *self {
            Scale::Linear { from, to } => {
                let step = round_step((to - from) / most.max(1) as f64);
                let first = (from / step - 1e-9).ceil() as i64;
                let last = (to / step + 1e-9).floor() as i64;
                (first..=last).map(|place| place as f64 * step).map(|value| (value, number(value, step))).collect()
            }
            Scale::Log { from, to } => log_ticks(from, to, most),
        }
    }
}

/// Powers of ten where the axis begins and ends at some; otherwise as many round values as there is room for.
fn log_ticks(from: f64, to: f64, most: usize) -> Vec<(f64, String)> {
    const MANTISSAS: [&[f64]; 4] =
        [&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0], &[1.0, 2.0, 3.0, 5.0], &[1.0, 2.0, 5.0], &[1.0, 3.0]];
    let (first, last) = (libm::log10(from), libm::log10(to));
    let is_power = |log: f64| (log - libm::round(log)).abs() < 1e-9;
    if !(is_power(first) && is_power(last)) {
        // A short stretch of a logarithmic axis is almost even.
        if last - first < 0.4 {
            return Scale::Linear { from, to }.ticks(most);
        }
        let powers: Vec<f64> = (libm::floor(first) as i32..=libm::ceil(last) as i32)
            .map(|power| libm::pow(10.0, f64::from(power)))
            .collect();
        for mantissas in MANTISSAS {
            let values = powers
                .iter()
                .flat_map(|power| mantissas.iter().map(move |mantissa| (power * mantissa, *power, *mantissa)));
            let inside: Vec<(f64, String)> = values
                .filter(|(value, ..)| (from..=to).contains(value))
                .map(|(value, power, mantissa)| {
                    (value, number(value, if mantissa.fract() == 0.0 { power } else { power / 10.0 }))
                })
                .collect();
            if inside.len() <= most.max(2) {
                return inside;
            }
        }
    }
    let (first, last) = (libm::ceil(first - 1e-9) as i32, libm::floor(last + 1e-9) as i32);
    let every = ((last - first).max(0) as usize / most.max(1) + 1).max(1);
    let powers = (first..=last).step_by(every).map(|power| libm::pow(10.0, f64::from(power)));
    powers.map(|value| (value, number(value, value))).collect()
}

/// The next of 1, 2, 5, 10, ... that is not below `step`.
pub fn round_step(step: f64) -> f64 {
    let power = libm::pow(10.0, libm::floor(libm::log10(step.max(1e-12))));
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= step * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// `value` with as many digits behind the point as `step` has, thousands apart.
fn number(value: f64, step: f64) -> String {
    let places = (-libm::floor(libm::log10(step) + 1e-9)).clamp(0.0, 9.0) as usize;
    if places == 0 && value.abs() >= 10_000.0 {
        return crate::report::format::count(value.abs().round() as u64);
    }
    format!("{value:.places$}")
}

/// A unit of time: seconds, and its names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeUnit {
    /// Length in seconds.
    pub seconds: f64,
    /// In words, such as `hours`.
    pub name: &'static str,
    /// One of it, such as `hour`.
    pub one: &'static str,
    /// Short, such as `h`.
    pub short: &'static str,
}

const UNITS: [TimeUnit; 4] = [
    TimeUnit { seconds: 1.0, name: "seconds", one: "second", short: "s" },
    TimeUnit { seconds: 60.0, name: "minutes", one: "minute", short: "min" },
    TimeUnit { seconds: 3_600.0, name: "hours", one: "hour", short: "h" },
    TimeUnit { seconds: 86_400.0, name: "days", one: "day", short: "d" },
];

impl TimeUnit {
    /// The unit in which a span of this many seconds reads best.
    pub fn of_span(span_s: f64) -> TimeUnit {
        match span_s {
            s if s < 180.0 => UNITS[0],
            s if s < 7_200.0 => UNITS[1],
            s if s < 259_200.0 => UNITS[2],
            _ => UNITS[3],
        }
    }

    /// The unit in which something that happens up to `peak` times a second reads best.
    pub fn of_rate(peak: f64) -> TimeUnit {
        match peak {
            rate if rate >= 2.0 => UNITS[0],
            rate if rate >= 0.03 => UNITS[1],
            _ => UNITS[2],
        }
    }

    /// Seconds between ticks, `most` of them on an axis of `span_s`: steps that clocks have.
    fn step(self, span_s: f64, most: usize) -> f64 {
        let least = span_s / most.max(1) as f64;
        let clock = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0];
        let long = [7_200.0, 10_800.0, 14_400.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0, 604_800.0];
        let round = clock.into_iter().chain(long).find(|step| *step >= least);
        round.unwrap_or_else(|| round_step(least / 86_400.0) * 86_400.0)
    }
}

/// A rectangle with a scale across and one upwards.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// Points from the left to its left side.
    pub left: f64,
    /// Points from the top to its upper side.
    pub top: f64,
    /// Points from the left to its right side.
    pub right: f64,
    /// Points from the top to its lower side.
    pub bottom: f64,
    /// Values across.
    pub across: Scale,
    /// Values upwards.
    pub up: Scale,
}

impl Panel {
    /// Place of a value across.
    pub fn x(&self, value: f64) -> f64 {
        self.left + self.across.part(value) * (self.right - self.left)
    }

    /// Place of a value upwards.
    pub fn y(&self, value: f64) -> f64 {
        self.bottom - self.up.part(value) * (self.bottom - self.top)
    }

    /// Place of a pair of values.
    pub fn place(&self, x: f64, y: f64) -> Place {
        (self.x(x), self.y(y))
    }

    /// Lines and numbers of the scale upwards.
    pub fn grid_up(&self, scene: &mut Scene) {
        let most = ((self.bottom - self.top) / 32.0).max(2.0) as usize;
        self.lines_up(scene, &self.up.ticks(most));
    }

    /// Lines and words at these values.
    pub fn lines_up(&self, scene: &mut Scene, ticks: &[(f64, String)]) {
        for (value, text) in ticks {
            let y = self.y(*value);
            scene.rule((self.left, y), (self.right, y), Ink::Grid);
            scene.text((self.left - 6.0, y), text, Ink::Muted, Side::End);
        }
    }

    /// Lines of a scale of seconds across; numbers and the name of the unit if `named`.
    pub fn grid_time(&self, scene: &mut Scene, named: bool) {
        let Scale::Linear { from, to } = self.across else { return };
        let unit = TimeUnit::of_span(to - from);
        let step = unit.step(to - from, ((self.right - self.left) / 60.0).max(2.0) as usize);
        for place in (from / step).ceil() as i64..=(to / step + 1e-9).floor() as i64 {
            let at = place as f64 * step;
            scene.rule((self.x(at), self.top), (self.x(at), self.bottom), Ink::Grid);
            if named {
                let label = number_plain(at / unit.seconds);
                scene.text((self.x(at), self.bottom + 12.0), &label, Ink::Muted, Side::Middle);
            }
        }
        if named {
            let words = format!("time since the start of the run, {}", unit.name);
            scene.text((self.right, self.bottom + 29.0), &words, Ink::Muted, Side::End);
        }
        self.floor(scene);
    }

    /// Lines and numbers of the scale across, and its title below.
    pub fn grid_across(&self, scene: &mut Scene, title: &str) {
        let most = ((self.right - self.left) / 62.0).max(2.0) as usize;
        for (value, text) in self.across.ticks(most) {
            scene.rule((self.x(value), self.top), (self.x(value), self.bottom), Ink::Grid);
            scene.text((self.x(value), self.bottom + 12.0), &text, Ink::Muted, Side::Middle);
        }
        scene.text((self.right, self.bottom + 29.0), title, Ink::Muted, Side::End);
        self.floor(scene);
    }

    fn floor(&self, scene: &mut Scene) {
        scene.rule((self.left, self.bottom), (self.right, self.bottom), Ink::Muted);
    }
}

/// A number without zeros at its end.
fn number_plain(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What a name in a legend stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// An area.
    Area(Ink, Hatch),
    /// A line.
    Line(Ink, Dash),
}

/// A legend from `top` on, broken into as many rows as it needs; where it ends.
pub fn legend(scene: &mut Scene, left: f64, top: f64, entries: &[(Sample, String)]) -> f64 {
    const SWATCH: f64 = 24.0;
    const ROW: f64 = 18.0;
    let (mut x, mut y) = (left, top + ROW / 2.0);
    for (sample, name) in entries {
        let width = SWATCH + 6.0 + text_width(name, TEXT) + 14.0;
        if x > left && x + width > scene.width {
            (x, y) = (left, y + ROW);
        }
        match *sample {
            Sample::Area(ink, hatch) => scene.hatched_box((x, y - 6.0), (x + SWATCH, y + 6.0), ink, hatch),
            Sample::Line(ink, dash) => scene.line(vec![(x, y), (x + SWATCH, y)], ink, 2.0, dash),
        }
        scene.text((x + SWATCH + 6.0, y), name, Ink::Text, Side::Start);
        x += width;
    }
    y + ROW / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(scale: Scale, most: usize) -> Vec<String> {
        scale.ticks(most).into_iter().map(|tick| tick.1).collect()
    }

    #[test]
    fn ticks_are_round_and_reach_the_end() {
        assert_eq!(names(Scale::up_to(7.3), 4), ["0", "2", "4", "6", "8"]);
        assert_eq!(names(Scale::up_to(0.13), 4), ["0.00", "0.05", "0.10", "0.15"]);
        assert_eq!(names(Scale::up_to(0.0), 2), ["0.0", "0.5", "1.0"]);
        assert_eq!(names(Scale::log(0.02, 40.0), 8), ["0.01", "0.1", "1", "10", "100"]);
        assert_eq!(names(Scale::log(1.0, 1e6), 3), ["1", "1000", "1,000,000"]);
        assert_eq!(names(Scale::log_around(15.0, 82.0), 8), ["15", "20", "30", "40", "50", "70"]);
        assert_eq!(names(Scale::log_around(3.1, 4.2), 4), ["3.5", "4.0"]);
        assert_eq!(names(Scale::log_around(0.013, 900.0), 4), ["0.01", "1", "100"]);
    }

    #[test]
    fn values_outside_a_scale_stay_at_its_ends() {
        let scale = Scale::log(0.01, 100.0);
        assert_eq!((scale.part(0.0), scale.part(1e9)), (0.0, 1.0));
        assert!((scale.part(1.0) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn times_take_the_unit_and_the_steps_of_a_clock() {
        let step = |span: f64| (TimeUnit::of_span(span).short, TimeUnit::of_span(span).step(span, 8));
        assert_eq!(step(90.0), ("s", 15.0));
        assert_eq!(step(3_600.0), ("min", 600.0));
        assert_eq!(step(86_400.0), ("h", 10_800.0));
        assert_eq!(step(604_800.0), ("d", 86_400.0));
        assert_eq!(step(86_400.0 * 400.0), ("d", 86_400.0 * 50.0));
    }

    #[test]
    fn a_legend_breaks_into_rows() {
        let entry = |name: &str| (Sample::Line(Ink::Blue, Dash::Long), name.to_owned());
        let entries = [entry("a rather long name"), entry("another long name"), entry("third")];
        let mut narrow = Scene::new(200.0, 100.0);
        let mut wide = Scene::new(800.0, 100.0);
        assert!(legend(&mut narrow, 10.0, 0.0, &entries) > legend(&mut wide, 10.0, 0.0, &entries));
    }
}
