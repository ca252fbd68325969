//! Cost against wait as points, with the front of those that nobody is cheaper and quicker than at once. Points of one family crowd:
//! both axes are
//! logarithmic and begin where the points do, labels look for a free place and a line leads to them, and what has
//! only a number is named below.

use super::axes::{Panel, Scale, TimeUnit};
use super::scene::{Dash, Ink, Marker, Place, Scene, Side, TEXT, clipped_middle, text_width};
use crate::results::comparison::Interval;

/// Points with names below the picture; with more, names are in the table alone.
const NAMED_MAX: usize = 60;
/// With more points, only those on the front have their names beside them.
const NAMES_MAX: usize = 8;
/// Shorter waits (in the unit of the axis) are all at the lower edge.
const LEAST: f64 = 0.001;
/// Directions in which a label looks for its place, nearest to where the eye looks first: right of the point, then around it.
const AROUND: [Place; 16] = [
    (0.92, -0.38),
    (0.92, 0.38),
    (0.71, -0.71),
    (0.71, 0.71),
    (1.0, 0.0),
    (-0.92, -0.38),
    (-0.92, 0.38),
    (-0.71, -0.71),
    (-0.71, 0.71),
    (-1.0, 0.0),
    (0.0, -1.0),
    (0.0, 1.0),
    (0.38, -0.92),
    (0.38, 0.92),
    (-0.38, -0.92),
    (-0.38, 0.92),
];
/// How far from its point it looks.
const AWAY: [f64; 11] = [9.0, 14.0, 20.0, 28.0, 38.0, 50.0, 64.0, 80.0, 100.0, 124.0, 150.0];
/// A name goes no further than this; a number may.
const NAME_AWAY: f64 = 38.0;

/// Something that costs and makes wait.
pub(super) struct Dot {
    /// What it is called in the picture, such as its place in the table.
    pub number: u64,
    /// Its name; empty if the number says all.
    pub name: String,
    /// Dollars per run.
    pub cost: Interval,
    /// P95 wait in seconds.
    pub wait: Interval,
    /// Nothing is cheaper and quicker at once.
    pub on_front: bool,
}

/// Where the lower and the upper end lie.
pub(super) fn ends(interval: &Interval) -> [f64; 2] {
    [interval.low.unwrap_or(interval.mean), interval.high.unwrap_or(interval.mean)]
}

/// Logarithmic, around the means. Intervals are no part of it: where they are much longer than the points lie apart, they would
/// leave all points in one place.
fn scale(intervals: &[Interval], unit: f64) -> Scale {
    let means = intervals.iter().map(|interval| interval.mean / unit).filter(|mean| *mean > LEAST);
    let (least, most) = means.fold((f64::MAX, 0.0_f64), |(least, most), mean| (least.min(mean), most.max(mean)));
    if most > 0.0 { Scale::log_around(least, most) } else { Scale::log_around(LEAST, 1.0) }
}

/// The picture; `axis` says what is across.
pub(super) fn draw(dots: &[Dot], axis: &str, width: f64) -> Scene {
    let mut scene = Scene::new(width, if width < 600.0 { 420.0 } else { 440.0 });
    let waits: Vec<Interval> = dots.iter().map(|dot| dot.wait).collect();
    let costs: Vec<Interval> = dots.iter().map(|dot| dot.cost).collect();
    let unit = TimeUnit::of_span(waits.iter().map(|wait| ends(wait)[1]).fold(0.0, f64::max));
    scene.heading((4.0, 10.0), &format!("95 % of requests wait at most, {}", unit.name));
    let left = if scene.is_narrow() { 44.0 } else { 56.0 };
    let (across, up) = (scale(&costs, 1.0), scale(&waits, unit.seconds));
    let panel = Panel { left, top: 26.0, right: width - 22.0, bottom: scene.height - 40.0, across, up };
    panel.grid_up(&mut scene);
    panel.grid_across(&mut scene, axis);
    let place = |dot: &Dot| panel.place(dot.cost.mean, dot.wait.mean / unit.seconds);
    for dot in dots {
        let at = place(dot);
        let [low, high] = ends(&dot.cost).map(|value| panel.x(value));
        scene.rule((low, at.1), (high, at.1), Ink::Grid);
        let [low, high] = ends(&dot.wait).map(|value| panel.y(value / unit.seconds));
        scene.rule((at.0, low), (at.0, high), Ink::Grid);
    }
    let mut steps: Vec<Place> = dots.iter().filter(|dot| dot.on_front).map(place).collect();
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    let stairs = stairs(&steps);
    let line = stairs.windows(2).flat_map(|pair| points_between(pair[0], pair[1])).map(|at| around(at, 1.5)).collect();
    scene.line(stairs, Ink::Blue, 1.5, Dash::Short);
    let taken = dots.iter().map(|dot| around(place(dot), 6.0)).collect();
    let mut labels = Labels { panel: &panel, width, taken, line, names: dots.len() <= NAMES_MAX };
    // The front first: it has the first choice of places.
    let mut order: Vec<&Dot> = dots.iter().collect();
    order.sort_by_key(|dot| !dot.on_front);
    let named = order.iter().filter(|dot| labels.put(&mut scene, place(dot), dot)).count();
    for dot in dots {
        let (ink, marker) = if dot.on_front { (Ink::Blue, Marker::Disc) } else { (Ink::Text, Marker::Ring) };
        scene.point(place(dot), 4.5, ink, marker);
    }
    if named < dots.len() && dots.len() <= NAMED_MAX && dots.iter().any(|dot| !dot.name.is_empty()) {
        names(&mut scene, dots);
    }
    scene
}

/// The steps of the front: what is reached so far stays reached.
fn stairs(points: &[Place]) -> Vec<Place> {
    let mut steps: Vec<Place> = Vec::new();
    for point in points {
        if let Some(last) = steps.last().copied() {
            steps.push((point.0, last.1));
        }
        steps.push(*point);
    }
    steps
}

/// Numbers with their names in columns below the picture.
fn names(scene: &mut Scene, dots: &[Dot]) {
    const ROW: f64 = 16.0;
    let columns = if scene.is_narrow() { 2 } else { 4 };
    let rows = dots.len().div_ceil(columns);
    let (top, each) = (scene.height + 4.0, (scene.width - 8.0) / columns as f64);
    scene.height = top + ROW * rows as f64 + 4.0;
    let number = dots.iter().map(|dot| text_width(&dot.number.to_string(), TEXT)).fold(0.0, f64::max);
    for (place, dot) in dots.iter().enumerate() {
        let at = (4.0 + each * (place / rows) as f64, top + ROW * (place % rows) as f64 + ROW / 2.0);
        let ink = if dot.on_front { Ink::Text } else { Ink::Muted };
        scene.text((at.0 + number, at.1), &dot.number.to_string(), ink, Side::End);
        let name = clipped_middle(&dot.name, each - number - 14.0);
        scene.text((at.0 + number + 6.0, at.1), &name, ink, Side::Start);
    }
}

/// A square around a place.
fn around(at: Place, half: f64) -> [f64; 4] {
    [at.0 - half, at.1 - half, at.0 + half, at.1 + half]
}

fn apart(a: &[f64; 4], b: &[f64; 4]) -> bool {
    a[0] >= b[2] || a[2] <= b[0] || a[1] >= b[3] || a[3] <= b[1]
}

/// What may lie under a label where there is no better place.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Over {
    Nothing,
    /// The line of the front.
    Line,
    /// And the way to the point may cross something.
    Crossing,
}

/// Finds places for labels.
struct Labels<'a> {
    panel: &'a Panel,
    width: f64,
    /// Where something is already: left, top, right, bottom.
    taken: Vec<[f64; 4]>,
    /// The line of the front, in pieces.
    line: Vec<[f64; 4]>,
    /// Points that are not on the front have their names beside them, too.
    names: bool,
}

impl Labels<'_> {
    /// Writes the label of a point where there is room, with its name if that has room near by; whether the name is there.
    fn put(&mut self, scene: &mut Scene, at: Place, dot: &Dot) -> bool {
        let long = &format!("{} {}", dot.number, clipped_middle(&dot.name, 150.0));
        let short = &dot.number.to_string();
        let has_name = !dot.name.is_empty() && (dot.on_front || self.names);
        let near = AWAY.iter().filter(|away| has_name && **away <= NAME_AWAY);
        let tries = near.map(|away| (long, *away, Over::Nothing, true));
        let over = [Over::Nothing, Over::Line, Over::Crossing].into_iter();
        let tries = tries.chain(over.flat_map(|over| AWAY.iter().map(move |away| (short, *away, over, false))));
        for (text, away, over, is_named) in tries {
            let free = AROUND.iter().find_map(|way| self.free(at, *way, away, text, over));
            let Some((from, side, area)) = free else { continue };
            if away > AWAY[0] {
                scene.rule(at, from, Ink::Muted);
                self.taken.extend(points_between(at, from).map(|point| around(point, 1.5)));
            }
            scene.fill((area[0] - 1.0, area[1] + 1.0), (area[2] + 1.0, area[3] - 1.0), Ink::Paper);
            let ink = if dot.on_front { Ink::Text } else { Ink::Muted };
            scene.text((from.0, (area[1] + area[3]) / 2.0), text, ink, side);
            self.taken.push(area);
            return is_named;
        }
        false
    }

    /// Where a text that begins `away` from its point would lie, if nothing is there or on the way.
    fn free(&self, at: Place, way: Place, away: f64, text: &str, over: Over) -> Option<(Place, Side, [f64; 4])> {
        let wide = text_width(text, TEXT);
        let from = (at.0 + way.0 * away, at.1 + way.1 * away);
        let (left, side) = match way.0 {
            x if x > 0.2 => (from.0, Side::Start),
            x if x < -0.2 => (from.0 - wide, Side::End),
            _ => (from.0 - wide / 2.0, Side::Middle),
        };
        let middle = if way.0.abs() > 0.2 { from.1 } else { from.1 + way.1 * 6.0 };
        let area = [left, middle - 7.0, left + wide, middle + 7.0];
        let panel = self.panel;
        let fits =
            area[0] > panel.left + 1.0 && area[2] < self.width && area[1] > panel.top - 8.0 && area[3] < panel.bottom;
        let lies_on = |others: &[[f64; 4]]| others.iter().any(|other| !apart(&area, other));
        // What lies right at the point is its own mark and those on it: no way could avoid them.
        let crosses = || {
            let far = |point: &Place| libm::hypot(point.0 - at.0, point.1 - at.1) > 9.0;
            let taken = |point: Place| self.taken.iter().any(|other| !apart(other, &around(point, 0.5)));
            points_between(at, from).filter(far).any(taken)
        };
        let is_free = fits
            && !lies_on(&self.taken)
            && (over >= Over::Line || !lies_on(&self.line))
            && (over >= Over::Crossing || !crosses());
        is_free.then_some((from, side, area))
    }
}

/// Places along a line, two points apart.
fn points_between(from: Place, to: Place) -> impl Iterator<Item = Place> {
    let steps = (libm::hypot(to.0 - from.0, to.1 - from.1) / 2.0) as usize;
    let part = move |step: usize| step as f64 / steps as f64;
    (1..steps).map(move |step| (from.0 + part(step) * (to.0 - from.0), from.1 + part(step) * (to.1 - from.1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::plot::scene::Mark;

    fn dots(count: usize, spread: f64) -> Vec<Dot> {
        let dot = |place: usize| Dot {
            number: place as u64 + 1,
            name: format!("policy number {place}"),
            cost: Interval {
                mean: 20.0 + place as f64 * spread,
                low: Some(19.0),
                high: Some(21.0 + place as f64 * spread),
            },
            wait: Interval { mean: 190.0 + (place * 7 % 5) as f64 * spread, low: None, high: None },
            on_front: place < 2,
        };
        (0..count).map(dot).collect()
    }

    /// Where words lie, and what they are.
    fn texts(scene: &Scene, below: f64) -> Vec<([f64; 4], String)> {
        let text = |mark: &Mark| match mark {
            Mark::Text { at, text, side, .. } if at.1 < below => {
                let width = text_width(text, TEXT);
                let left = match side {
                    Side::Start => at.0,
                    Side::Middle => at.0 - width / 2.0,
                    Side::End => at.0 - width,
                };
                Some(([left, at.1 - 6.0, left + width, at.1 + 6.0], text.clone()))
            }
            _ => None,
        };
        scene.marks.iter().filter_map(text).collect()
    }

    /// As in a comparison of 26 policies of which most cost about the same: each can be told from the others.
    #[test]
    fn every_point_has_a_label_and_none_lies_on_another() {
        for (count, spread, width) in [(3, 5.0, 840.0), (26, 0.05, 840.0), (26, 0.05, 360.0), (40, 3.0, 840.0)] {
            let scene = draw(&dots(count, spread), "US dollars per run", width);
            let labels = texts(&scene, 379.0);
            for number in 1..=count {
                let is_own = |text: &str| text == number.to_string() || text.starts_with(&format!("{number} policy"));
                assert!(labels.iter().any(|(_, text)| is_own(text)), "{number} of {count} has no label at {width}");
            }
            let own: Vec<_> = labels.iter().filter(|(area, _)| area[0] > 57.0).collect();
            for (place, (a, one)) in own.iter().enumerate() {
                for (b, other) in &own[place + 1..] {
                    assert!(apart(a, b), "{one} {a:?} lies on {other} {b:?}");
                }
            }
        }
    }

    #[test]
    fn what_has_a_number_alone_is_named_below() {
        let scene = draw(&dots(26, 0.05), "US dollars per run", 840.0);
        let all: Vec<String> = texts(&scene, f64::MAX).into_iter().map(|(_, text)| text).collect();
        assert!(
            (0..26).all(|place| all.iter().any(|text| text.ends_with(&format!("policy number {place}")))),
            "{all:?}"
        );
        let few = draw(&dots(3, 5.0), "US dollars per run", 840.0);
        assert_eq!(few.height, 440.0, "all three have room beside them");
    }

    #[test]
    fn points_far_from_zero_fill_the_picture() {
        let scale = scale(&dots(26, 0.05).iter().map(|dot| dot.wait).collect::<Vec<_>>(), 60.0);
        assert!(scale.part(190.0 / 60.0) < 0.5 && scale.part(190.2 / 60.0) > 0.5);
        let Scale::Log { from, to } = super::scale(&[Interval { mean: 0.0, low: None, high: None }], 1.0) else {
            panic!()
        };
        assert!(from > 0.0 && to > from);
    }
}
