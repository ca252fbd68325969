//! Charts of results: each is a list of marks at a desk's and at a phone's width, drawn as SVG or PNG.

mod axes;
mod cold_starts;
mod distribution;
mod front;
mod hosts;
mod many;
mod over_time;
mod png_file;
mod render;
mod scene;
mod versus;

use crate::results::comparison::Comparison;
use crate::results::{Folder, RunFolder};

pub use render::{PngError, escaped, png, svg};
pub use scene::Scene;

/// Points wide: a page at a desk, and a phone held upright.
pub const WIDTHS: [f64; 2] = [840.0, 360.0];

/// A chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// For file names: small letters and hyphens.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// How to read it, in a sentence.
    pub caption: String,
    /// At a desk.
    pub wide: Scene,
    /// On a phone.
    pub narrow: Scene,
}

impl Plot {
    /// The chart that `draw` makes at each width.
    fn new(name: &str, title: &str, caption: &str, draw: impl Fn(f64) -> Scene) -> Plot {
        let [wide, narrow] = WIDTHS.map(draw);
        Plot { name: name.to_owned(), title: title.to_owned(), caption: caption.to_owned(), wide, narrow }
    }

    /// The chart for the page: both widths, of which the style shows the one that fits.
    pub fn inline(&self) -> String {
        render::inline_svg(&self.wide, &self.title, "wide") + &render::inline_svg(&self.narrow, &self.title, "narrow")
    }
}

/// The charts of what a folder holds: scenario by scenario for a comparison, in one list for everything else.
pub fn of_folder(folder: &Folder) -> Vec<Vec<Plot>> {
    match folder {
        Folder::Run(run) => vec![of_run(run)],
        Folder::Comparison(comparison) => of_comparison(comparison),
        Folder::Sweep(sweep) => vec![many::of_sweep(sweep)],
        Folder::Runs(runs) => vec![many::of_runs(runs)],
    }
}

/// All charts that the tables of a run allow.
pub fn of_run(run: &RunFolder) -> Vec<Plot> {
    let mut plots = over_time::plots(run);
    plots.extend(distribution::plot(run));
    plots.extend(cold_starts::plot(run));
    plots.extend(hosts::plot(run));
    plots
}

/// The charts of a comparison, scenario by scenario.
pub fn of_comparison(comparison: &Comparison) -> Vec<Vec<Plot>> {
    let several = comparison.scenarios.len() > 1;
    let plots = comparison.scenarios.iter().enumerate().map(|(place, table)| {
        let ending = if several { format!("-{}", place + 1) } else { String::new() };
        versus::plots(table, &comparison.profile, &ending)
    });
    plots.collect()
}
