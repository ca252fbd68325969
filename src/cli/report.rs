//! `report`: a page, pictures, Markdown or CSV of what `run`, `compare` or `sweep` wrote with --out; and the gallery.

mod font;
mod gallery;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Failure, output};
use crate::report::markdown::{self, Picture};
use crate::report::overview::overview;
use crate::report::plot::{self, Plot};
use crate::report::{csv, page};
use crate::results::Folder;
use crate::results::folder::FolderError;

/// What can be typed after `report`.
#[derive(Debug, Args)]
#[command(after_help = "\
DIR is a folder that `thermocline run`, `compare` or `sweep` wrote with --out DIR; that of several runs gives their means and
spread. The page needs nothing beside it: no network, no scripts. PNG pictures need a font: one of the system's, or --font.

Examples:
  thermocline run scenarios/quickstart.yaml --out results
  thermocline report results
  thermocline report results --format svg,png,md,csv --out pictures
  thermocline report --gallery")]
pub struct ReportArgs {
    /// The folder with the results
    #[arg(value_name = "DIR", required_unless_present = "gallery", conflicts_with = "gallery")]
    directory: Option<PathBuf>,
    /// What to make; may be given several times
    #[arg(long = "format", value_enum, value_delimiter = ',', default_value = "html", conflicts_with = "gallery")]
    formats: Vec<Form>,
    /// Where to: a folder, or a file if a single one is made. Unless given: into the folder with the results
    #[arg(long, value_name = "FILE|DIR")]
    out: Option<PathBuf>,
    /// Overwrite files that are there
    #[arg(long)]
    force: bool,
    /// TrueType or OpenType font for PNG pictures; one of the system's unless given
    #[arg(long, value_name = "FILE")]
    font: Option<PathBuf>,
    /// Run scenarios/ and hold policies/ against each other in some of them, and write what came out into reports/ (or --out)
    #[arg(long)]
    gallery: bool,
    /// Only these pages of the gallery; may be given several times
    #[arg(long, value_name = "NAME", requires = "gallery")]
    only: Vec<String>,
    /// Write nothing: fail if the text of the gallery is not what would be written
    #[arg(long, requires = "gallery", conflicts_with = "force")]
    check: bool,
}

/// What can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Form {
    /// One page, report.html
    Html,
    /// A picture each, for documents and the web
    Svg,
    /// A picture each, for everything else
    Png,
    /// Tables and findings, report.md
    Md,
    /// The figures, figures.csv
    Csv,
}

pub(super) fn run(args: &ReportArgs) -> Result<(), Failure> {
    let Some(directory) = &args.directory else { return gallery::make(args) };
    let folder = Folder::read(directory)?;
    let mut formats = args.formats.clone();
    formats.sort_unstable();
    formats.dedup();
    let files = files(&folder, &formats, args)?;
    let target = |name: &str| match &args.out {
        Some(out) if files.len() == 1 && is_file(out) => out.clone(),
        Some(out) => out.join(name),
        None => directory.join(name),
    };
    // Either all are written or none: what is in the way is found first.
    for (name, _) in &files {
        output::refuse_existing(&target(name), args.force)?;
    }
    for (name, bytes) in &files {
        let path = target(name);
        output::write_file(&path, bytes, args.force)?;
        output::note(&format!("wrote {}", path.display()));
    }
    Ok(())
}

/// Whether `out` names a file: it has an ending and is no folder.
fn is_file(out: &Path) -> bool {
    out.extension().is_some() && !out.is_dir()
}

type Files = Vec<(String, Vec<u8>)>;

/// Names and contents of all that is asked for.
fn files(folder: &Folder, formats: &[Form], args: &ReportArgs) -> Result<Files, Failure> {
    let plots = plot::of_folder(folder);
    let each = || plots.iter().flatten();
    let mut files = Vec::new();
    for format in formats {
        match format {
            Form::Html => files.push(("report.html".to_owned(), page(folder).into_bytes())),
            Form::Svg => files.extend(each().map(|plot| (format!("{}.svg", plot.name), svg(plot).into_bytes()))),
            Form::Png => {
                let (font, name) = font::load(args.font.as_deref())?;
                for plot in each() {
                    let bytes = plot::png(&plot.wide, font, &name).map_err(Failure::input)?;
                    files.push((format!("{}.png", plot.name), bytes));
                }
            }
            Form::Md => {
                let ending =
                    [(Form::Svg, "svg"), (Form::Png, "png")].into_iter().find(|(form, _)| formats.contains(form));
                let pictures = |plots: &Vec<Plot>| ending.map_or(Vec::new(), |(_, ending)| pictures(plots, "", ending));
                let pictures: Vec<Vec<Picture>> = plots.iter().map(pictures).collect();
                files.push(("report.md".to_owned(), markdown(folder, &pictures).into_bytes()));
            }
            Form::Csv => {
                let text = match folder {
                    Folder::Run(run) => csv::run(&run.summary),
                    Folder::Comparison(comparison) => csv::comparison(comparison),
                    Folder::Sweep(sweep) => csv::sweep(sweep),
                    Folder::Runs(runs) => csv::runs(runs),
                };
                files.push(("figures.csv".to_owned(), text.map_err(Failure::other)?.into_bytes()));
            }
        }
    }
    if files.is_empty() {
        return Err(Failure::Input(
            "the folder holds nothing to draw from: run again with --out, or ask for --format html, md or csv"
                .to_owned(),
        ));
    }
    Ok(files)
}

/// The picture as a file of its own.
fn svg(plot: &Plot) -> String {
    plot::svg(&plot.wide, &plot.title)
}

fn markdown(folder: &Folder, pictures: &[Vec<Picture>]) -> String {
    let first = pictures.first().map_or(&[][..], Vec::as_slice);
    match (folder, overview(folder)) {
        (Folder::Run(run), _) => markdown::run(&run.summary, first),
        (Folder::Comparison(comparison), _) => markdown::comparison(comparison, pictures),
        (_, overview) => markdown::overview(&overview.unwrap_or_default(), first),
    }
}

/// The pictures as files beside a document; their names begin with `beginning`.
fn pictures(plots: &[Plot], beginning: &str, ending: &str) -> Vec<Picture> {
    let picture = |plot: &Plot| Picture {
        file: format!("{beginning}{}.{ending}", plot.name),
        title: plot.title.clone(),
        caption: plot.caption.clone(),
    };
    plots.iter().map(picture).collect()
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Failure {
        match error {
            FolderError::Io { .. } => Failure::other(error),
            FolderError::Empty(..)
            | FolderError::Missing(..)
            | FolderError::Unfinished { .. }
            | FolderError::Document { .. }
            | FolderError::Table(_)
            | FolderError::Csv { .. } => Failure::input(error),
        }
    }
}
