//! The pictures of hosts: bars of stays, or a line of busy workers per host.

use super::super::axes::{Panel, Sample, Scale, legend};
use super::super::scene::{Hatch, Ink, Scene, Side, TEXT, clipped_middle, text_width};
use super::{Hosts, Lane, Stay, joined, within};

/// Bins of a host's line where workers are put together.
const BINS: usize = 200;
/// How the times look at which a host was gone, or had nothing for us.
const LOST: (Ink, Hatch) = (Ink::Orange, Hatch::Crossed);
const TAKEN: (Ink, Hatch) = (Ink::Yellow, Hatch::Rising);

/// Room for the names of hosts: as much as the longest takes, up to `most` points.
fn room(hosts: impl Iterator<Item = String>, most: f64) -> f64 {
    hosts.map(|name| text_width(&name, TEXT)).fold(0.0, f64::max).min(most)
}

fn frame(scene: &Scene, left: f64, top: f64, bottom: f64, end: f64) -> Panel {
    let (across, up) = (Scale::Linear { from: 0.0, to: end }, Scale::Linear { from: 0.0, to: 1.0 });
    Panel { left, top, right: scene.width - 14.0, bottom, across, up }
}

/// The times of a host at which nobody could be on it.
fn gone(scene: &mut Scene, panel: &Panel, host: &super::Host, top: f64, bottom: f64) {
    for (spans, (ink, hatch)) in [(&host.lost, LOST), (&host.taken, TAKEN)] {
        for span in spans {
            let (from, to) = (panel.x(span[0]), panel.x(span[1]));
            scene.hatched_box((from, top), (to.max(from + 1.0), bottom), ink, hatch);
        }
    }
}

/// What the legend says of the times at which hosts were gone.
fn entries_of_gone(hosts: &Hosts) -> Vec<(Sample, String)> {
    let any = |spans: fn(&super::Host) -> &Vec<[f64; 2]>| hosts.values().any(|host| !spans(host).is_empty());
    let kinds = [(any(|host| &host.lost), LOST, "host lost"), (any(|host| &host.taken), TAKEN, "no GPU for us there")];
    let there = kinds.into_iter().filter(|kind| kind.0);
    there.map(|(_, (ink, hatch), name)| (Sample::Area(ink, hatch), name.to_owned())).collect()
}

/// A bar per stay, a row per lane. On a phone the host's name has a row of its own above its lanes.
pub(super) fn bars(lanes: &[Lane<'_>], hosts: &Hosts, end: f64, width: f64) -> Scene {
    const ROW: f64 = 18.0;
    let mut scene = Scene::new(width, 0.0);
    let mut entries = vec![
        (Sample::Area(Ink::Grid, Hatch::Plain), "has the place".to_owned()),
        (Sample::Area(Ink::Blue, Hatch::Plain), "works on a request".to_owned()),
    ];
    entries.extend(entries_of_gone(hosts));
    let top = legend(&mut scene, 4.0, 0.0, &entries) + 8.0;
    let stacked = scene.is_narrow();
    let begins = |place: usize| place == 0 || lanes[place - 1].host != lanes[place].host;
    let heads = if stacked { (0..lanes.len()).filter(|place| begins(*place)).count() } else { 0 };
    let bottom = top + ROW * (lanes.len() + heads) as f64;
    scene.height = bottom + 40.0;
    let name = |host: u64| hosts.get(&host).map_or_else(|| format!("host {host}"), |host| host.name.clone());
    // With one endpoint in all, saying its name on every line says nothing.
    let several = lanes.iter().any(|lane| lane.name() != lanes[0].name());
    let whose = if several { room(lanes.iter().map(Lane::name), if stacked { 92.0 } else { 120.0 }) } else { 0.0 };
    let of_hosts = if stacked { 0.0 } else { room(lanes.iter().map(|lane| name(lane.host)), 110.0) };
    let panel = frame(&scene, 4.0 + of_hosts + whose + if several { 14.0 } else { 8.0 }, top, bottom, end);
    panel.grid_time(&mut scene, true);
    let mut at = top;
    for (place, lane) in lanes.iter().enumerate() {
        if begins(place) {
            if place > 0 {
                scene.rule((4.0, at), (panel.right, at), Ink::Muted);
            }
            let label = if stacked {
                clipped_middle(&name(lane.host), width - 20.0)
            } else {
                clipped_middle(&name(lane.host), of_hosts)
            };
            scene.text((4.0, at + ROW / 2.0), &label, Ink::Text, Side::Start);
            at += if stacked { ROW } else { 0.0 };
            let own = lanes[place..].iter().take_while(|other| other.host == lane.host).count();
            if let Some(host) = hosts.get(&lane.host) {
                gone(&mut scene, &panel, host, at + 1.0, at + ROW * own as f64 - 1.0);
            }
        }
        if several {
            let label = clipped_middle(&lane.name(), whose);
            scene.text((panel.left - 6.0, at + ROW / 2.0), &label, Ink::Muted, Side::End);
        }
        let mut bar = |span: [f64; 2], margin: f64, ink| {
            let (from, to) = (panel.x(span[0]), panel.x(span[1]));
            scene.fill((from, at + margin), (to.max(from + 0.5), at + ROW - margin), ink);
        };
        // Half a point on paper is no gap that anybody sees.
        let gap = 0.5 * end / (panel.right - panel.left);
        for stay in &lane.stays {
            bar([stay.from, stay.to], 3.0, Ink::Grid);
            joined(&stay.busy, gap).into_iter().for_each(|span| bar(span, 5.0, Ink::Blue));
        }
        at += ROW;
    }
    scene
}

/// A line per host, as high as the number of its busy workers.
pub(super) fn lines(stays: &[Stay], shown: &[u64], hosts: &Hosts, end: f64, width: f64) -> Scene {
    const ROW: f64 = 26.0;
    let busy: Vec<Vec<f64>> = shown.iter().map(|host| busy_by_bin(stays, *host, end)).collect();
    let most = busy.iter().flatten().copied().fold(0.0, f64::max).max(1.0);
    let mut scene = Scene::new(width, 0.0);
    scene.text((4.0, 10.0), &format!("full height of a line: {most:.1} busy workers"), Ink::Muted, Side::Start);
    let drawn: Hosts = shown.iter().filter_map(|host| Some((*host, hosts.get(host)?.clone()))).collect();
    let entries = entries_of_gone(&drawn);
    let top = if entries.is_empty() { 24.0 } else { legend(&mut scene, 4.0, 20.0, &entries) + 6.0 };
    let bottom = top + ROW * shown.len() as f64;
    scene.height = bottom + 40.0;
    let names = room(drawn.values().map(|host| host.name.clone()), if scene.is_narrow() { 84.0 } else { 130.0 });
    let panel = frame(&scene, names + 12.0, top, bottom, end);
    panel.grid_time(&mut scene, true);
    let across: Vec<f64> =
        (0..BINS).flat_map(|bin| [bin, bin + 1]).map(|side| panel.x(end * side as f64 / BINS as f64)).collect();
    for (place, (host, busy)) in drawn.values().zip(&busy).enumerate() {
        let floor = top + ROW * (place + 1) as f64;
        gone(&mut scene, &panel, host, floor - ROW + 4.0, floor);
        let heights: Vec<f64> = busy.iter().flat_map(|mean| [floor - (ROW - 4.0) * mean / most; 2]).collect();
        scene.band(&across, &heights, &vec![floor; heights.len()], Ink::Blue, Hatch::Plain);
        scene.rule((panel.left, floor), (panel.right, floor), Ink::Grid);
        scene.text((4.0, floor - ROW / 2.0), &clipped_middle(&host.name, names), Ink::Text, Side::Start);
    }
    scene
}

/// Mean number of a host's workers that worked, bin by bin.
pub(super) fn busy_by_bin(stays: &[Stay], host: u64, end: f64) -> Vec<f64> {
    let length = end / BINS as f64;
    let mut bins = vec![0.0; BINS];
    for span in stays.iter().filter(|stay| stay.host == host).flat_map(|stay| &stay.busy) {
        let first = ((span[0] / length) as usize).min(BINS - 1);
        let last = ((span[1] / length) as usize).min(BINS - 1);
        for (bin, sum) in bins.iter_mut().enumerate().take(last + 1).skip(first) {
            let (from, to) = (bin as f64 * length, (bin + 1) as f64 * length);
            *sum += within(&[*span], from, to).iter().map(|part| part[1] - part[0]).sum::<f64>() / length;
        }
    }
    bins
}
