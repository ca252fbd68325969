//! Log lines of verbs that run for long: to stderr, for people or as JSON, at the level of THERMOCLINE_LOG (default `info`).

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum LogFormat {
    /// One line for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Begins to log. A second call changes nothing.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env("THERMOCLINE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error means that whoever embeds this program logs already.
    let _ = match format {
        LogFormat::Text => lines.with_ansi(false).with_target(false).try_init(),
        LogFormat::Json => lines.json().with_current_span(false).with_span_list(false).try_init(),
    };
}
