//! A picture as a list of marks, in points: what a chart draws before anybody knows whether it becomes SVG or PNG.

/// Ink of the colour-blind safe palette of Okabe and Ito (2008), and the neutral tones around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Text and axes.
    Text,
    /// Secondary text, frames.
    Muted,
    /// Grid lines.
    Grid,
    /// The background.
    Paper,
    /// Okabe-Ito blue.
    Blue,
    /// Okabe-Ito orange.
    Orange,
    /// Okabe-Ito bluish green.
    Green,
    /// Okabe-Ito vermillion.
    Red,
    /// Okabe-Ito sky blue.
    Sky,
    /// Okabe-Ito reddish purple.
    Purple,
    /// Okabe-Ito yellow.
    Yellow,
}

impl Ink {
    /// Red, green, blue on white paper. The dark theme of the page maps the neutral ones by these very values.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Ink::Text => [0x1b, 0x1f, 0x24],
            Ink::Muted => [0x57, 0x60, 0x6a],
            Ink::Grid => [0xd8, 0xde, 0xe4],
            Ink::Paper => [0xff, 0xff, 0xff],
            Ink::Blue => [0x00, 0x72, 0xb2],
            Ink::Orange => [0xe6, 0x9f, 0x00],
            Ink::Green => [0x00, 0x9e, 0x73],
            Ink::Red => [0xd5, 0x5e, 0x00],
            Ink::Sky => [0x56, 0xb4, 0xe9],
            Ink::Purple => [0xcc, 0x79, 0xa7],
            Ink::Yellow => [0xf0, 0xe4, 0x42],
        }
    }
}

/// How a line is broken, so that lines differ without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dash {
    /// Unbroken.
    Solid,
    /// Long strokes.
    Long,
    /// Short strokes.
    Short,
    /// Dots.
    Dotted,
    /// A long stroke and a dot.
    Mixed,
}

impl Dash {
    /// Strokes and gaps in turn, in points; empty for an unbroken line.
    pub fn lengths(self) -> &'static [f64] {
        match self {
            Dash::Solid => &[],
            Dash::Long => &[9.0, 4.0],
            Dash::Short => &[4.0, 3.0],
            Dash::Dotted => &[1.5, 2.5],
            Dash::Mixed => &[9.0, 3.0, 2.0, 3.0],
        }
    }
}

/// Strokes over an area, so that areas differ without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hatch {
    /// None.
    Plain,
    /// Rising lines, `/`.
    Rising,
    /// Falling lines, `\`.
    Falling,
    /// Upright lines.
    Upright,
    /// Level lines.
    Level,
    /// Both slants.
    Crossed,
}

impl Hatch {
    /// Directions of its lines, as rise over run; `None` stands for upright.
    pub fn slopes(self) -> &'static [Option<f64>] {
        match self {
            Hatch::Plain => &[],
            Hatch::Rising => &[Some(-1.0)],
            Hatch::Falling => &[Some(1.0)],
            Hatch::Upright => &[None],
            Hatch::Level => &[Some(0.0)],
            Hatch::Crossed => &[Some(-1.0), Some(1.0)],
        }
    }
}

/// Which side of a text its place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The text begins there.
    Start,
    /// It is centred there.
    Middle,
    /// It ends there.
    End,
}

/// The form of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// A filled circle.
    Disc,
    /// An open circle.
    Ring,
}

/// A place: points from the left, points from the top.
pub type Place = (f64, f64);

/// Something drawn.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// A line through places.
    Line {
        /// Where.
        places: Vec<Place>,
        /// Colour.
        ink: Ink,
        /// Points wide.
        width: f64,
        /// Broken how.
        dash: Dash,
    },
    /// A filled shape.
    Area {
        /// Its outline.
        places: Vec<Place>,
        /// Colour.
        ink: Ink,
    },
    /// A filled rectangle.
    Box {
        /// Upper left corner.
        from: Place,
        /// Lower right corner.
        to: Place,
        /// Colour.
        ink: Ink,
    },
    /// Words; the place is at half their height.
    Text {
        /// Where.
        at: Place,
        /// The words.
        text: String,
        /// Height of the letters in points.
        size: f64,
        /// Colour.
        ink: Ink,
        /// Which side of them the place is.
        side: Side,
        /// Bold.
        bold: bool,
    },
    /// A point.
    Point {
        /// Its centre.
        at: Place,
        /// Radius in points.
        radius: f64,
        /// Colour.
        ink: Ink,
        /// Form.
        marker: Marker,
    },
}

/// Text size of charts in points.
pub const TEXT: f64 = 12.0;

/// A picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// Points wide.
    pub width: f64,
    /// Points high.
    pub height: f64,
    /// What is drawn, from the back to the front.
    pub marks: Vec<Mark>,
}

impl Scene {
    /// An empty picture.
    pub fn new(width: f64, height: f64) -> Scene {
        Scene { width, height, marks: Vec::new() }
    }

    /// Whether there is only room for the essentials: a phone's width.
    pub fn is_narrow(&self) -> bool {
        self.width < 600.0
    }

    /// Adds a line.
    pub fn line(&mut self, places: Vec<Place>, ink: Ink, width: f64, dash: Dash) {
        if places.len() > 1 {
            self.marks.push(Mark::Line { places, ink, width, dash });
        }
    }

    /// Adds a straight unbroken line.
    pub fn rule(&mut self, from: Place, to: Place, ink: Ink) {
        self.line(vec![from, to], ink, 1.0, Dash::Solid);
    }

    /// Adds a filled rectangle.
    pub fn fill(&mut self, from: Place, to: Place, ink: Ink) {
        self.marks.push(Mark::Box { from, to, ink });
    }

    /// Adds words of the usual size.
    pub fn text(&mut self, at: Place, text: &str, ink: Ink, side: Side) {
        self.marks.push(Mark::Text { at, text: text.to_owned(), size: TEXT, ink, side, bold: false });
    }

    /// Adds bold words.
    pub fn heading(&mut self, at: Place, text: &str) {
        let text = text.to_owned();
        self.marks.push(Mark::Text { at, text, size: TEXT, ink: Ink::Text, side: Side::Start, bold: true });
    }

    /// Adds a point.
    pub fn point(&mut self, at: Place, radius: f64, ink: Ink, marker: Marker) {
        self.marks.push(Mark::Point { at, radius, ink, marker });
    }

    /// Fills the band between two lines over the same places from left to right, and hatches it.
    pub fn band(&mut self, across: &[f64], top: &[f64], bottom: &[f64], ink: Ink, hatch: Hatch) {
        let there = across.iter().zip(top).map(|(x, y)| (*x, *y));
        let back = across.iter().zip(bottom).rev().map(|(x, y)| (*x, *y));
        let places: Vec<Place> = there.chain(back).collect();
        if places.len() < 4 || top.iter().zip(bottom).all(|(top, bottom)| bottom - top < 0.05) {
            return;
        }
        self.marks.push(Mark::Area { places, ink });
        let inside = |x: f64, y: f64| {
            let place = across.partition_point(|at| *at <= x);
            let (Some(left), true) = (place.checked_sub(1), place < across.len()) else { return false };
            let part = (x - across[left]) / (across[place] - across[left]);
            let between = |line: &[f64]| line[left] + part * (line[place] - line[left]);
            between(top) + 1.0 < y && y < between(bottom) - 1.0
        };
        let high = top.iter().copied().fold(f64::MAX, f64::min);
        let low = bottom.iter().copied().fold(f64::MIN, f64::max);
        let (left, right) = (across[0], across[across.len() - 1]);
        self.hatched([left, high, right, low], hatch, &inside);
    }

    /// Fills a rectangle and hatches it.
    pub fn hatched_box(&mut self, from: Place, to: Place, ink: Ink, hatch: Hatch) {
        self.fill(from, to, ink);
        let inside = |x: f64, y: f64| from.0 < x && x < to.0 && from.1 < y && y < to.1;
        self.hatched([from.0, from.1, to.0, to.1], hatch, &inside);
    }

    /// Hatches what lies inside, within the bounds left, top, right, bottom.
    fn hatched(&mut self, bounds: [f64; 4], hatch: Hatch, inside: &dyn Fn(f64, f64) -> bool) {
        /// Points between lines, and between two looks along a line.
        const GAP: f64 = 7.0;
        const STEP: f64 = 1.5;
        let [left, top, right, bottom] = bounds;
        for slope in hatch.slopes() {
            // Lines start on a grid of the whole picture, so that neighbouring areas do not look shifted.
            let (first, last, length) = match slope {
                None => (left, right, bottom - top),
                Some(slope) => {
                    let rise = slope * (right - left);
                    (top - rise.max(0.0), bottom - rise.min(0.0), right - left)
                }
            };
            let mut start = (first / GAP).ceil() * GAP;
            while start <= last {
                let steps = (length / STEP).ceil() as usize;
                let mut open: Option<(Place, Place)> = None;
                for step in 0..=steps {
                    let along = (step as f64 * STEP).min(length);
                    let at = match slope {
                        None => (start, top + along),
                        Some(slope) => (left + along, start + slope * along),
                    };
                    open = match (open, inside(at.0, at.1)) {
                        (None, true) => Some((at, at)),
                        (Some((from, _)), true) => Some((from, at)),
                        (Some((from, to)), false) => {
                            self.stroke(from, to);
                            None
                        }
                        (None, false) => None,
                    };
                }
                if let Some((from, to)) = open {
                    self.stroke(from, to);
                }
                start += GAP;
            }
        }
    }

    fn stroke(&mut self, from: Place, to: Place) {
        if (from.0 - to.0).abs() + (from.1 - to.1).abs() > 1.0 {
            self.line(vec![from, to], Ink::Paper, 1.0, Dash::Solid);
        }
    }
}

/// Width of words in points, about: the mean letter of a sans-serif face is 0.55 of its size wide, capitals and digits more.
pub fn text_width(text: &str, size: f64) -> f64 {
    let letter = |c: char| match c {
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | '.' | ',' | ':' | ';' | '|' | '\'' | ' ' | '(' | ')' => 0.36,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.92,
        c if c.is_ascii_uppercase() => 0.68,
        c if c.is_ascii() => 0.6,
        _ => 1.0,
    };
    size * text.chars().map(letter).sum::<f64>()
}

/// At most `width` points of `text`, cut in the middle where it is longer: what tells names of one family apart is mostly at their
/// end.
pub fn clipped_middle(text: &str, width: f64) -> String {
    if text_width(text, TEXT) <= width {
        return text.to_owned();
    }
    let letters: Vec<char> = text.chars().collect();
    let joined = |kept: usize| -> String {
        let (front, back) = (kept.div_ceil(2), kept / 2);
        letters[..front].iter().chain(&['…']).chain(&letters[letters.len() - back..]).collect()
    };
    let fits = |kept: &usize| text_width(&joined(*kept), TEXT) <= width;
    joined((2..letters.len()).rev().find(fits).unwrap_or(1.min(letters.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hatching_stays_inside() {
        let mut scene = Scene::new(100.0, 100.0);
        scene.hatched_box((10.0, 20.0), (60.0, 50.0), Ink::Blue, Hatch::Crossed);
        let strokes = scene.marks.iter().filter_map(|mark| match mark {
            Mark::Line { places, .. } => Some(places),
            _ => None,
        });
        let strokes: Vec<_> = strokes.flatten().collect();
        assert!(strokes.len() > 10);
        assert!(strokes.iter().all(|(x, y)| (10.0..=60.0).contains(x) && (20.0..=50.0).contains(y)));
    }

    #[test]
    fn long_words_are_cut_to_fit() {
        let [one, two] = ["sd-model-0012", "sd-model-0013"].map(|name| clipped_middle(name, 60.0));
        assert!(one.starts_with("sd-") && one.ends_with("12") && one != two && text_width(&one, TEXT) <= 60.0, "{one}");
        assert_eq!((clipped_middle("short", 100.0), clipped_middle("", 0.0)), ("short".to_owned(), String::new()));
    }

    #[test]
    fn an_empty_band_leaves_no_mark() {
        let mut scene = Scene::new(100.0, 100.0);
        scene.band(&[0.0, 50.0], &[80.0, 80.0], &[80.0, 80.0], Ink::Blue, Hatch::Rising);
        assert_eq!(scene.marks, []);
    }
}
