//! What `top` puts on the screen. Everything from the gateway passes through `cell`, which lets no control character through.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Row, Table, Widget};
use serde_json::Value;

use super::super::client::cell;
use super::super::workers;
use super::look::Look;

/// Draws everything.
pub fn screen(look: &Look, lost: Option<&str>, area: Rect, buffer: &mut Buffer) {
    let count = u16::try_from(look.endpoints().len()).unwrap_or(u16::MAX);
    let [head, endpoints, gap, rest] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(count.saturating_add(1).min(area.height / 2)),
        Constraint::Length(1),
        Constraint::Min(0),
    ])
    .areas(area);
    header(look, lost).render(head, buffer);
    endpoint_table(look).render(endpoints, buffer);
    if let Some((id, workers)) = look.shown() {
        let title = format!("workers of {}", cell(&Value::from(id)));
        Line::styled(title, Style::new().add_modifier(Modifier::BOLD)).render(gap, buffer);
        worker_table(workers).render(rest, buffer);
    }
}

fn header(look: &Look, lost: Option<&str>) -> Line<'static> {
    match lost {
        Some(why) => Line::styled(cell(&Value::from(why)), Style::new().fg(Color::Red)),
        None => {
            let waiting: u64 = look.endpoints().iter().filter_map(|e| e["health"]["jobs"]["inQueue"].as_u64()).sum();
            let running: u64 = look.endpoints().iter().filter_map(|e| e["health"]["jobs"]["inProgress"].as_u64()).sum();
            let text =
                format!("thermocline  {} endpoints  {waiting} queued  {running} in hand", look.endpoints().len());
            Line::styled(text, Style::new().add_modifier(Modifier::BOLD))
        }
    }
}

fn endpoint_table(look: &Look) -> Table<'static> {
    let header = [
        "endpoint", "queued", "in hand", "done", "failed", "per s", "running", "idle", "start", "thrott", "unheal",
        "USD seed", "USD doc", "why",
    ];
    let rows = look.endpoints().iter().enumerate().map(|(place, endpoint)| {
        let (jobs, workers) = (&endpoint["health"]["jobs"], &endpoint["health"]["workers"]);
        let id = cell(&endpoint["id"]);
        let rate = look.rate(&id).map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
        let (seed, documented) = match look.spend(&id) {
            Some((seed, documented)) => (format!("{seed:.4}"), format!("{documented:.4}")),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let mut why = cell(&endpoint["health"]["reason"]);
        if endpoint["health"]["degraded"] == true {
            why = format!("degraded {why}");
        }
        let style = match (place == look.selected, endpoint["health"]["degraded"] == true) {
            (true, _) => Style::new().add_modifier(Modifier::REVERSED),
            (false, true) => Style::new().fg(Color::Yellow),
            (false, false) => Style::new(),
        };
        let cells = [
            id,
            cell(&jobs["inQueue"]),
            cell(&jobs["inProgress"]),
            cell(&jobs["completed"]),
            cell(&jobs["failed"]),
            rate,
            cell(&workers["running"]),
            cell(&workers["idle"]),
            cell(&workers["initializing"]),
            cell(&workers["throttled"]),
            cell(&workers["unhealthy"]),
            seed,
            documented,
            why,
        ];
        Row::new(cells).style(style)
    });
    let rows: Vec<Row<'static>> = rows.collect();
    let mut widths = vec![Constraint::Min(12)];
    widths.extend([7, 7, 7, 7, 6, 7, 5, 5, 6, 6, 9, 9].map(Constraint::Length));
    widths.push(Constraint::Min(10));
    Table::new(rows, widths).header(Row::new(header).style(Style::new().add_modifier(Modifier::DIM)))
}

fn worker_table(workers: &[Value]) -> Table<'static> {
    let rows = workers.iter().map(|worker| {
        let style = match worker["status"].as_str() {
            Some("RUNNING") => Style::new().fg(Color::Green),
            Some("UNHEALTHY") => Style::new().fg(Color::Red),
            Some("THROTTLED" | "INITIALIZING") => Style::new().fg(Color::Yellow),
            _ => Style::new(),
        };
        // The endpoint stands above the table.
        Row::new(workers::row(worker).split_off(1)).style(style)
    });
    let rows: Vec<Row<'static>> = rows.collect();
    let widths = [14, 13, 13, 7, 12, 5, 8, 6].map(Constraint::Length).into_iter().chain([Constraint::Min(10)]);
    let header = Row::new(workers::HEADER[1..].to_vec()).style(Style::new().add_modifier(Modifier::DIM));
    Table::new(rows, widths).header(header)
}
