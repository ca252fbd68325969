//! A folder of results as one HTML page that needs nothing else: no script, no font, no file beside it. Pictures are drawn into it
//! twice, for a desk and for a phone; the style shows the one that fits, and follows the reader's light or dark setting.

mod comparison;
mod overview;
mod run;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::overview::overview;
use super::plot::{self, Plot};
use crate::results::Folder;

/// Colours, widths and what a phone does differently.
const STYLE: &str = include_str!("style.css");

/// The page, ending with a line's end. Equal results give equal bytes.
pub fn page(folder: &Folder) -> String {
    let plots = plot::of_folder(folder);
    let first = plots.first().map_or(&[][..], Vec::as_slice);
    let (title, body) = match (folder, overview(folder)) {
        (Folder::Run(run), _) => (run::title(&run.summary), run::body(run, first)),
        (Folder::Comparison(comparison), _) => (comparison::title(comparison), comparison::body(comparison, &plots)),
        (_, overview) => {
            let overview = overview.unwrap_or_default();
            (overview.title.clone(), overview::body(&overview, first))
        }
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (body) } }
        }
    };
    page.into_string() + "\n"
}

/// Pictures with their captions.
fn figures(plots: &[Plot]) -> Markup {
    html! {
        @for plot in plots {
            figure {
                h3 { (plot.title) }
                (PreEscaped(plot.inline()))
                figcaption { (plot.caption) }
            }
        }
    }
}

/// A table that scrolls by itself where it is wider than the page: the first line is its head, the first `words` columns are
/// words, the others numbers.
fn table(lines: &[Vec<String>], words: usize) -> Markup {
    let Some((head, body)) = lines.split_first() else { return html! {} };
    let class = |place: usize| (place >= words).then_some("number");
    html! {
        div.scroll tabindex="0" {
            table {
                thead { tr { @for (place, cell) in head.iter().enumerate() { th class=[class(place)] scope="col" { (cell.trim()) } } } }
                tbody {
                    @for line in body {
                        tr {
                            @for (place, cell) in line.iter().enumerate() {
                                @if place == 0 { th scope="row" class=[cell.starts_with("  ").then_some("part")] { (cell.trim()) } }
                                @else { td class=[class(place)] { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Sentences as a list.
fn list(sentences: &[String]) -> Markup {
    html! { ul { @for sentence in sentences { li { (sentence) } } } }
}

/// A figure in large letters with its name below.
fn card(name: &str, value: &str, more: &str) -> Markup {
    html! { div.card { div.value.long[value.len() > 9] { (value) } div.name { (name) } @if !more.is_empty() { div.more { (more) } } } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::RunFolder;
    use crate::results::comparison::{Comparison, PolicyRow, ScenarioComparison};
    use crate::results::summary::{EndpointSummary, Summary};
    use crate::results::sweep::Sweep;

    const HOSTILE: &str = "<script>alert(1)</script>\"'&";

    fn run() -> Folder {
        let mut summary = Summary { scenario: HOSTILE.to_owned(), seed: 7, complete: true, ..Summary::default() };
        summary.transcript_hash = "0123abcd".to_owned();
        let mut endpoint = EndpointSummary { name: HOSTILE.to_owned(), ..EndpointSummary::default() };
        endpoint.settings.scaling = HOSTILE.to_owned();
        endpoint.figures.cold_start_s.count = 1;
        endpoint.figures.cold_start_s.mean = Some(2.0);
        let stage = crate::results::summary::Quantiles { count: 1, mean: Some(2.0), ..Default::default() };
        endpoint.figures.cold_start_stages_s.insert(HOSTILE.to_owned(), stage);
        summary.endpoints.push(endpoint);
        summary.total.cost_usd.documented.total = 12.34;
        summary.total.cost_usd.seed.total = 5.67;
        summary.total.wait_s.p95 = Some(3.25);
        Folder::Run(Box::new(RunFolder { summary, ..RunFolder::default() }))
    }

    fn swept() -> Folder {
        let point = crate::results::sweep::SweptPoint { values: vec![HOSTILE.to_owned()], ..Default::default() };
        let sweep = Sweep { paths: vec![HOSTILE.to_owned()], points: vec![point], ..Sweep::default() };
        Folder::Sweep(sweep)
    }

    fn several() -> Folder {
        let Folder::Run(run) = run() else { unreachable!("a run is a run") };
        Folder::Runs(vec![(HOSTILE.to_owned(), run.summary.clone()), ("b".to_owned(), run.summary)])
    }

    fn compared() -> Folder {
        let row = PolicyRow { policy: HOSTILE.to_owned(), summary: HOSTILE.to_owned(), ..PolicyRow::default() };
        let scenario =
            ScenarioComparison { scenario: HOSTILE.to_owned(), policies: vec![row], ..ScenarioComparison::default() };
        Folder::Comparison(Comparison { scenarios: vec![scenario], ..Comparison::default() })
    }

    /// Every element that is opened is closed, in order.
    fn well_formed(page: &str) {
        const VOID: [&str; 1] = ["meta"];
        let mut open: Vec<String> = Vec::new();
        for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap()) {
            let name: String = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
            if tag.starts_with('/') {
                assert_eq!(open.pop().as_deref(), Some(name.as_str()), "</{name}>");
            } else if !tag.starts_with('!') && !tag.ends_with('/') && !VOID.contains(&name.as_str()) {
                open.push(name);
            }
        }
        assert_eq!(open, Vec::<String>::new());
    }

    #[test]
    fn pages_are_well_formed_need_nothing_and_escape_names() {
        for page in [run(), compared(), swept(), several()].map(|folder| page(&folder)) {
            well_formed(&page);
            for foreign in ["<script", "http:", "https:", "src=", "href=", "url(", "@import"] {
                assert!(!page.contains(foreign), "`{foreign}` in\n{page}");
            }
            assert!(page.contains("&lt;script&gt;") && page.contains("width=device-width"));
        }
    }

    #[test]
    fn the_page_holds_the_figures_of_the_summary() {
        let page = page(&run());
        for figure in ["$12.34", "$5.67", "3.25 s", "0123abcd", "seed 7"] {
            assert!(page.contains(figure), "no {figure} in\n{page}");
        }
        assert_eq!(page, super::page(&run()));
    }
}
