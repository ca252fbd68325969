//! One readable line per record of a transcript: `time < fact` or `time > command`, then the fields by name.

use serde_json::Value;
use thermocline::scheduler::{Command, Event, Recorder};
use thermocline::units::{JobId, Time, WorkerId};

/// The transcript as text. Deadlines from which nothing followed are left out, as are signs of life and stages.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    pub text: String,
    /// A deadline that shows if a command follows.
    pending: Option<Time>,
}

impl Recorder for Lines {
    fn event(&mut self, now: Time, event: &Event) {
        self.pending = matches!(event, Event::DeadlineReached).then_some(now);
        if !matches!(event, Event::StageEnded { .. } | Event::WorkerPinged { .. } | Event::DeadlineReached) {
            self.line(now, '<', "event", &serde_json::to_value(event).expect("facts can be written"));
        }
    }

    fn command(&mut self, now: Time, command: &Command) {
        if let Some(at) = self.pending.take() {
            self.text.push_str(&format!("{:>9} < deadline_reached\n", format!("{:.2}", at.as_secs())));
        }
        self.line(now, '>', "command", &serde_json::to_value(command).expect("commands can be written"));
    }
}

impl Lines {
    fn line(&mut self, now: Time, sign: char, tag: &str, record: &Value) {
        let name = record[tag].as_str().unwrap_or("?");
        self.text.push_str(&format!("{:>9} {sign} {name}", format!("{:.2}", now.as_secs())));
        for (key, value) in record.as_object().into_iter().flatten() {
            if key != tag {
                self.text.push_str(&field(key, value));
            }
        }
        self.text.push('\n');
    }
}

fn field(key: &str, value: &Value) -> String {
    let number = value.as_u64();
    match (key, number) {
        ("worker", Some(id)) => format!(" {}", WorkerId(id)),
        ("job", Some(id)) => format!(" {}", JobId(id)),
        ("trigger", Some(id)) => format!(" for {}", JobId(id)),
        ("endpoint", Some(id)) => format!(" e{id}"),
        ("host", Some(id)) => format!(" h{id}"),
        ("image", Some(id)) => format!(" i{id}"),
        ("client_ref" | "spec", _) | ("host", None) if value.is_object() || key == "client_ref" => String::new(),
        ("policy", _) => policy(value),
        (_, _) => match value {
            Value::Null => format!(" {key}=none"),
            Value::Bool(true) => format!(" {key}"),
            Value::Bool(false) => String::new(),
            Value::String(word) if matches!(key, "phase" | "kind" | "outcome" | "status") => format!(" {word}"),
            Value::String(word) if matches!(key, "reason" | "cause") => format!(" ({word})"),
            Value::String(word) => format!(" {key}={word}"),
            other => format!(" {key}={other}"),
        },
    }
}

fn policy(value: &Value) -> String {
    let fields = value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    fields.map(|(key, value)| field(key, value)).collect()
}
