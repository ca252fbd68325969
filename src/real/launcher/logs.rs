//! What workers said, kept on disk after they are gone: one capped, rotated file per launch.
//!
//! A line on disk is `<ms since 1970> <o|l> <text>`, `o` for the worker's own output and `l` for the launcher's words about it.
//! Each launch has at most two files of [`FILE_BYTES`]; the files of the [`KEPT`] launches last written to are kept.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::LogLine;
use crate::real::clock::unix_us;

/// Size at which a file is put aside. A worker that cannot reach the gateway writes about 0.5 MB/s of errors (2,300 attempts a
/// second), so two files hold the last 20 seconds of the worst case and days of an ordinary worker.
pub const FILE_BYTES: u64 = 5_000_000;
/// Launches whose logs are kept: 128 × 10 MB at most.
pub const KEPT: usize = 128;
/// What is read of a file where only its end matters.
const END_BYTES: u64 = 65_536;
/// Longest line; the rest goes on in the next one.
pub const LINE_BYTES: usize = 8_192;

/// The folder of all logs.
#[derive(Clone, Debug)]
pub struct Logs {
    folder: PathBuf,
}

impl Logs {
    /// Makes the folder if need be.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(folder: &Path) -> io::Result<Logs> {
        fs::create_dir_all(folder)?;
        Ok(Logs { folder: folder.to_owned() })
    }

    /// Adds lines of the worker's own. Errors are logged: a full disk must not stop a worker.
    pub fn output(&self, worker: &str, unix_ms: u64, lines: &[String]) {
        self.append(worker, unix_ms, 'o', lines);
    }

    /// Adds a line about the worker.
    pub fn note(&self, worker: &str, text: &str) {
        tracing::debug!(worker, "{text}");
        self.append(worker, unix_ms(), 'l', &[clean(text.as_bytes())]);
    }

    /// The last lines of a worker, oldest first.
    pub fn tail(&self, worker: &str, lines: usize) -> Vec<LogLine> {
        let mut kept = VecDeque::new();
        for path in [self.old(worker), self.path(worker)] {
            for line in read(&path, FILE_BYTES).lines().filter_map(parse) {
                if kept.len() == lines {
                    kept.pop_front();
                }
                if lines > 0 {
                    kept.push_back(line);
                }
            }
        }
        kept.into()
    }

    /// The worker's last words for a report: at most 5 lines and 1,000 characters.
    pub fn last_words(&self, worker: &str) -> String {
        let text = read(&self.path(worker), END_BYTES);
        let lines: Vec<LogLine> = text.lines().filter_map(parse).collect();
        let own: Vec<&str> = lines.iter().filter(|line| line.container).map(|line| line.text.as_str()).collect();
        let text = own[own.len().saturating_sub(5)..].join(" | ");
        let cut = text.chars().count().saturating_sub(1_000);
        text.chars().skip(cut).collect()
    }

    /// Wall time of the worker's last own line, in ms since 1970; 0 if it said nothing.
    pub fn last_output_ms(&self, worker: &str) -> u64 {
        [self.path(worker), self.old(worker)]
            .iter()
            .find_map(|path| read(path, END_BYTES).lines().rev().filter_map(parse).find(|line| line.container))
            .map_or(0, |line| line.unix_ms)
    }

    /// Drops the logs of all but the [`KEPT`] launches last written to, the living (`alive`) always kept.
    pub fn prune(&self, alive: impl Fn(&str) -> bool) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut found: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let worker = name.strip_suffix(".log")?.to_owned();
                Some((entry.metadata().ok()?.modified().ok()?, worker))
            })
            .filter(|(_, worker)| !alive(worker))
            .collect();
        found.sort();
        for (_, worker) in found.iter().rev().skip(KEPT) {
            let _ = fs::remove_file(self.path(worker));
            let _ = fs::remove_file(self.old(worker));
        }
    }

    fn append(&self, worker: &str, unix_ms: u64, source: char, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let mut text = String::with_capacity(lines.iter().map(|line| line.len() + 17).sum());
        for line in lines {
            text.push_str(&format!("{unix_ms} {source} {line}\n"));
        }
        if let Err(error) = self.write(worker, &text) {
            tracing::warn!(worker, %error, "the worker's log cannot be written");
        }
    }

    fn write(&self, worker: &str, text: &str) -> io::Result<()> {
        let path = self.path(worker);
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        if file.metadata()?.len() + text.len() as u64 > FILE_BYTES {
            fs::rename(&path, self.old(worker))?;
            file = OpenOptions::new().create(true).append(true).open(&path)?;
        }
        file.write_all(text.as_bytes())
    }

    fn path(&self, worker: &str) -> PathBuf {
        self.folder.join(format!("{worker}.log"))
    }

    fn old(&self, worker: &str) -> PathBuf {
        self.folder.join(format!("{worker}.log.1"))
    }
}

/// Wall time in ms since 1970.
pub fn unix_ms() -> u64 {
    unix_us() / 1_000
}

/// A file's text, its last `most` bytes (a line cut at the front does not parse and falls out).
fn read(path: &Path, most: u64) -> String {
    let Ok(mut file) = File::open(path) else { return String::new() };
    let size = file.metadata().map_or(0, |meta| meta.len());
    let mut bytes = Vec::new();
    let _ = file.seek(SeekFrom::Start(size.saturating_sub(most)));
    let _ = file.take(most).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn parse(line: &str) -> Option<LogLine> {
    let mut parts = line.splitn(3, ' ');
    let unix_ms = parts.next()?.parse().ok()?;
    let container = match parts.next()? {
        "o" => true,
        "l" => false,
        _ => return None,
    };
    Some(LogLine { unix_ms, container, text: parts.next()?.to_owned() })
}

/// Text for a log: control characters (terminal escapes, line breaks) are spelled out, what is not UTF-8 is replaced.
pub fn clean(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '\t' => text.push(' '),
            c if c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) => text.extend(c.escape_unicode()),
            c => text.push(c),
        }
    }
    text
}

/// Cuts a stream of bytes into clean lines; the unfinished last line waits for its end.
#[derive(Default)]
pub struct Splitter {
    open: Vec<u8>,
}

impl Splitter {
    /// The lines that `bytes` completes.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            self.open.extend_from_slice(piece);
            if self.open.last() == Some(&b'\n') {
                self.open.pop();
                if self.open.last() == Some(&b'\r') {
                    self.open.pop();
                }
                self.cut(&mut lines);
            } else if self.open.len() > LINE_BYTES {
                self.cut(&mut lines);
            }
        }
        lines
    }

    /// What is left when the stream is over.
    pub fn finish(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.open.is_empty() {
            self.cut(&mut lines);
        }
        lines
    }

    fn cut(&mut self, lines: &mut Vec<String>) {
        let open = std::mem::take(&mut self.open);
        if open.is_empty() {
            lines.push(String::new());
        }
        lines.extend(open.chunks(LINE_BYTES).map(clean));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("thermocline-logs-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn lines_come_back_with_their_source_and_without_control_characters() {
        let folder = folder("back");
        let logs = Logs::new(&folder).unwrap();
        let mut splitter = Splitter::default();
        let lines = splitter.feed(b"one\r\n\x1b[31mtwo\n\nfour");
        assert_eq!(lines, ["one", "\\u{1b}[31mtwo", ""]);
        logs.output("w1-1", 7, &lines);
        logs.output("w1-1", 8, &splitter.finish());
        logs.note("w1-1", "exit\ncode 3");
        let tail = logs.tail("w1-1", 3);
        assert_eq!(tail.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["", "four", "exit\\u{a}code 3"]);
        assert_eq!(tail.iter().map(|line| line.container).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!((tail[0].unix_ms, logs.last_output_ms("w1-1")), (7, 8));
        assert_eq!(logs.last_words("w1-1"), "one | \\u{1b}[31mtwo |  | four");
        assert!(logs.tail("w1-1", 0).is_empty() && logs.tail("w2-1", 9).is_empty());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_worker_that_shouts_fills_two_files_and_no_more() {
        let folder = folder("cap");
        let logs = Logs::new(&folder).unwrap();
        let lines = vec!["x".repeat(1_000); 1_000];
        for round in 0..20 {
            logs.output("w1-1", round, &lines);
        }
        let sizes: u64 = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(sizes <= 2 * FILE_BYTES, "{sizes}");
        assert_eq!(logs.tail("w1-1", 1)[0].unix_ms, 19);
        assert!(logs.tail("w1-1", usize::MAX).len() > 4_000);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_line_without_end_is_cut_and_holds_no_more_than_its_limit() {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        for _ in 0..10 {
            lines.extend(splitter.feed(&[b'y'; 5_000]));
            assert!(splitter.open.len() <= LINE_BYTES);
        }
        lines.extend(splitter.finish());
        assert_eq!(lines.iter().map(String::len).sum::<usize>(), 50_000);
        assert!(lines.iter().all(|line| line.len() <= LINE_BYTES));
    }

    #[test]
    fn old_logs_go_and_those_of_the_living_stay() {
        let folder = folder("prune");
        let logs = Logs::new(&folder).unwrap();
        for n in 0..KEPT + 3 {
            logs.note(&format!("w{n:x}-1"), "here");
            let when = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(n as u64 + 1);
            File::options().append(true).open(logs.path(&format!("w{n:x}-1"))).unwrap().set_modified(when).unwrap();
        }
        logs.prune(|worker| worker == "w0-1");
        let left = |n: usize| !logs.tail(&format!("w{n:x}-1"), 1).is_empty();
        assert!(left(0) && !left(1) && !left(2) && left(3) && left(KEPT + 2));
        fs::remove_dir_all(folder).unwrap();
    }
}
