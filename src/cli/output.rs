//! Where words go: answers to stdout, notes to stderr, files only where they were asked for.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use super::Failure;

/// Writes `text` to stdout as it is. Use this instead of `print!`, which panics when the reader has gone.
pub fn answer(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Writes `value` to stdout as indented JSON.
pub fn answer_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    answer(&text)
}

/// Writes a line to stderr. That nobody reads notes is not an error.
pub fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes a line to stderr if a person is likely to read it there: for what differs from run to run.
pub fn remark(line: &str) {
    if io::stderr().is_terminal() {
        note(line);
    }
}

/// Columns that an answer may fill: the terminal's, or 100 when stdout is a file or a pipe (the same on every machine).
pub fn width() -> u16 {
    if !io::stdout().is_terminal() {
        return 100;
    }
    // The table library asks the terminal; outside of one it says nothing.
    comfy_table::Table::new().width().unwrap_or(100).clamp(60, 200)
}

/// Writes a file, its folder included. An existing one is left alone unless `force`.
pub fn write_file(path: &Path, bytes: &[u8], force: bool) -> Result<(), Failure> {
    refuse_existing(path, force)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))?;
    }
    std::fs::write(path, bytes).map_err(|error| cannot_write(path, &error))
}

/// An error if `path` exists and `force` is not given.
pub fn refuse_existing(path: &Path, force: bool) -> Result<(), Failure> {
    if !force && path.exists() {
        return Err(Failure::Input(format!("{} exists; give --force to overwrite it", path.display())));
    }
    Ok(())
}

/// The failure to write `path`.
pub fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Other(format!("cannot write {}: {error}", path.display()))
}
