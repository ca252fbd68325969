//! The page of many runs: what was run, pictures, tables.

use maud::{Markup, html};

use super::{card, figures, table};
use crate::report::overview::Overview;
use crate::report::plot::Plot;

/// Everything below the title bar.
pub(super) fn body(overview: &Overview, plots: &[Plot]) -> Markup {
    html! {
        h1 { (overview.title) }
        p.lead { (overview.lead) }
        div.cards { @for [name, value, more] in &overview.cards { (card(name, value, more)) } }
        (figures(plots))
        @for section in &overview.sections {
            h2 { (section.title) }
            p.note { (section.note) }
            (table(&section.lines, 1))
        }
        footer { p { (overview.footer) } }
    }
}
