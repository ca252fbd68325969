//! `top`: a live view of a running gateway: endpoints with their queues, workers and spend, and the workers of one of them.

mod draw;
mod look;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use clap::Args;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::Rect;

use super::client::{Client, ClientArgs};
use super::{Failure, output};
use look::{Look, Rates};

/// What can be typed after `top`.
#[derive(Debug, Args)]
#[command(after_help = "Keys: q ends it, the arrows choose the endpoint whose workers are shown.")]
pub struct TopArgs {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    interval: u64,
    /// Print one frame and end
    #[arg(long)]
    once: bool,
    /// Print what was seen as JSON and end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Lines of a frame that is printed, at most.
const ONCE_LINES: u16 = 60;
/// Columns of a frame that is printed, at least: no heading is cut.
const ONCE_COLUMNS: u16 = 140;

pub(super) fn run(args: &TopArgs) -> Result<(), Failure> {
    let client = Client::new(&args.client)?;
    if args.json {
        return output::answer_json(&look::everything(&client)?);
    }
    if args.once {
        let look = Look::new(look::everything(&client)?);
        return output::answer(&frame(&look, output::width().max(ONCE_COLUMNS)));
    }
    let (asks, asked) = channel();
    let (looks, seen) = channel();
    let interval = Duration::from_secs(args.interval);
    // The gateway is asked on a thread of its own, so that keys are answered while it is slow.
    let watcher = std::thread::spawn(move || watch(&client, interval, &asked, &looks));
    let result = show(&seen);
    drop(asks);
    // It ends with its next answer; nobody waits for a gateway that does not answer.
    drop(watcher);
    result
}

fn watch(client: &Client, interval: Duration, asked: &Receiver<()>, looks: &Sender<Result<Look, Failure>>) {
    let mut rates = Rates::default();
    loop {
        let look = look::everything(client).map(|seen| Look::with_rates(seen, &mut rates));
        if looks.send(look).is_err() {
            return;
        }
        if !matches!(asked.recv_timeout(interval), Err(RecvTimeoutError::Timeout)) {
            return;
        }
    }
}

/// Shows what is seen until a key ends it.
fn show(seen: &Receiver<Result<Look, Failure>>) -> Result<(), Failure> {
    let mut look = match seen.recv() {
        Ok(first) => first?,
        Err(_) => return Err(Failure::other("the thread that asks the gateway ended")),
    };
    let mut lost = None;
    let mut terminal = ratatui::try_init()?;
    let result = loop {
        while let Ok(next) = seen.try_recv() {
            match next {
                Ok(mut next) => {
                    next.selected = look.selected.min(next.last());
                    (look, lost) = (next, None);
                }
                Err(failure) => lost = Some(failure.to_string()),
            }
        }
        let drawn = terminal.draw(|frame| draw::screen(&look, lost.as_deref(), frame.area(), frame.buffer_mut()));
        if let Err(error) = drawn {
            break Err(error.into());
        }
        match key() {
            Ok(Key::End) => break Ok(()),
            Ok(Key::Up) => look.selected = look.selected.saturating_sub(1),
            Ok(Key::Down) => look.selected = (look.selected + 1).min(look.last()),
            Ok(Key::Other) => {}
            Err(error) => break Err(error.into()),
        }
    };
    ratatui::try_restore()?;
    result
}

enum Key {
    End,
    Up,
    Down,
    Other,
}

/// The next key, if one comes soon.
fn key() -> std::io::Result<Key> {
    if !event::poll(Duration::from_millis(200))? {
        return Ok(Key::Other);
    }
    let Event::Key(key) = event::read()? else { return Ok(Key::Other) };
    Ok(match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Key::End,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::End,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        _ => Key::Other,
    })
}

/// One frame as text, without the empty lines at its end.
fn frame(look: &Look, width: u16) -> String {
    let area = Rect::new(0, 0, width, ONCE_LINES);
    let mut buffer = Buffer::empty(area);
    draw::screen(look, None, area, &mut buffer);
    let mut text = String::new();
    for y in 0..area.height {
        let line: String = (0..area.width).map(|x| buffer[(x, y)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    format!("{}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(completed: u64) -> serde_json::Value {
        json!({
            "endpoints": [{
                "id": "sdxl", "type": "QUEUE", "version": 2, "workers": {"max": 3},
                "health": {
                    "jobs": {"completed": completed, "failed": 1, "inProgress": 2, "inQueue": 7, "retried": 0},
                    "workers": {"idle": 1, "initializing": 0, "running": 2, "throttled": 0, "unhealthy": 1},
                    "reason": "no_capacity", "degraded": true,
                },
            }, {"id": "other"}],
            "records": [{"serverlessId": "sdxl", "profiles": {"seed": 1.25, "documented": 1.5}}],
            "workers": {"sdxl": [{"id": "w1-1", "status": "RUNNING", "phase": "ready", "jobs": ["a\u{1b}[31m"], "host": "box"}], "other": []},
        })
    }

    #[test]
    fn a_frame_tells_queue_workers_and_spend() {
        let text = frame(&Look::new(seen(5)), 140);
        let line = text.lines().find(|line| line.contains("sdxl")).expect("a line for the endpoint");
        for word in ["7", "no_capacity", "1.2500", "1.5000", "degraded"] {
            assert!(line.contains(word), "{word}: {text}");
        }
        assert!(text.lines().any(|line| line.contains("w1-1") && line.contains("box")), "{text}");
        assert!(!text.contains('\u{1b}'), "nothing from outside controls the terminal");
    }

    #[test]
    fn a_rate_is_the_difference_of_two_looks() {
        let mut rates = Rates::default();
        let first = Look::with_rates_at(seen(5), &mut rates, Duration::from_secs(10));
        let second = Look::with_rates_at(seen(25), &mut rates, Duration::from_secs(20));
        assert_eq!((first.rate("sdxl"), second.rate("sdxl")), (None, Some(2.0)));
    }

    #[test]
    fn an_answer_of_another_shape_is_a_poor_frame_and_no_panic() {
        for odd in [json!(null), json!({"endpoints": 5}), json!({"endpoints": [1, null, {"id": 5}]})] {
            assert!(!frame(&Look::new(odd), 60).is_empty());
        }
    }
}
