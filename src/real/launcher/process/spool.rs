//! A worker's output on its way into the log. The worker writes to a file itself, so it neither blocks nor dies when the
//! gateway goes; what has been moved into the log is punched out of the file, which therefore takes no disk and remembers,
//! across a restart, how far the moving got.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use super::super::logs::{Logs, Splitter, unix_ms};

/// Most bytes moved at once; a backlog longer than [`BACKLOG`] is cut to it.
const CHUNK: u64 = 1 << 20;
/// What of a backlog is kept: as much as the log holds.
const BACKLOG: u64 = 2 * super::super::logs::FILE_BYTES;

/// The reader of one worker's output.
pub struct Spool {
    worker: String,
    logs: Logs,
    file: Option<File>,
    at: u64,
    splitter: Splitter,
}

/// Where the output of the worker in `folder` goes.
pub fn path(folder: &Path) -> PathBuf {
    folder.join("output")
}

/// Opens the file for the worker: everything is added at the end, whatever has been punched out.
pub fn for_worker(folder: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path(folder))
}

impl Spool {
    /// Of the worker whose folder this is. What was moved before is not moved again.
    pub fn new(worker: &str, logs: &Logs, folder: &Path) -> Spool {
        let file = OpenOptions::new().read(true).write(true).open(path(folder)).ok();
        let at = file.as_ref().and_then(first_byte).unwrap_or(0);
        Spool { worker: worker.to_owned(), logs: logs.clone(), file, at, splitter: Splitter::default() }
    }

    /// Moves what is there.
    pub fn drain(&mut self) {
        while let Some(bytes) = self.next_piece() {
            let lines = self.splitter.feed(&bytes);
            self.logs.output(&self.worker, unix_ms(), &lines);
        }
    }

    /// Moves what is there, an unfinished last line too: the worker is gone.
    pub fn finish(&mut self) {
        self.drain();
        let rest = self.splitter.finish();
        self.logs.output(&self.worker, unix_ms(), &rest);
    }

    fn next_piece(&mut self) -> Option<Vec<u8>> {
        let file = self.file.as_mut()?;
        let size = file.metadata().ok()?.len();
        if size.saturating_sub(self.at) > BACKLOG {
            let skipped = size - BACKLOG - self.at;
            self.logs.note(
                &self.worker,
                &format!("{skipped} bytes of output were skipped: they came faster than they are kept"),
            );
            self.at = size - BACKLOG;
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.at)).ok()?;
        file.take(CHUNK).read_to_end(&mut bytes).ok()?;
        if bytes.is_empty() {
            return None;
        }
        self.at += bytes.len() as u64;
        // Where the file system cannot do this, the file grows until the worker is gone; nothing is lost.
        let _ = fallocate(&*file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, self.at);
        Some(bytes)
    }
}

/// Place of the first byte that was not punched out: behind the hole, and behind the zeros of the block that it cut.
fn first_byte(file: &File) -> Option<u64> {
    let size = file.metadata().ok()?.len();
    let Ok(mut at) = rustix::fs::seek(file, rustix::fs::SeekFrom::Data(0)) else { return Some(size) };
    let mut file = file;
    let mut block = [0; 4_096];
    file.seek(SeekFrom::Start(at)).ok()?;
    loop {
        let read = file.read(&mut block).ok()?;
        if let Some(zeros) = block[..read].iter().position(|b| *b != 0) {
            return Some(at + zeros as u64);
        }
        at += read as u64;
        if read == 0 {
            return Some(size);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_second_reader_goes_on_where_the_first_stopped() {
        let folder = std::env::temp_dir().join(format!("thermocline-spool-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let logs = Logs::new(&folder.join("logs")).unwrap();
        let mut worker = for_worker(&folder).unwrap();
        let mut first = Spool::new("w1-1", &logs, &folder);
        first.drain();
        worker.write_all(b"a\nb\n").unwrap();
        first.drain();
        worker.write_all(&b"0123456789\n".repeat(2_000)).unwrap();
        first.drain();
        worker.write_all(b"c\nd").unwrap();
        let mut second = Spool::new("w1-1", &logs, &folder);
        second.finish();
        let texts: Vec<String> = logs.tail("w1-1", usize::MAX).into_iter().map(|line| line.text).collect();
        assert_eq!(texts.len(), 2_004);
        assert_eq!(
            (&texts[..2], &texts[2_002..]),
            (&["a".to_owned(), "b".into()][..], &["c".to_owned(), "d".into()][..])
        );
        let mut third = Spool::new("w1-1", &logs, &folder);
        third.finish();
        assert_eq!(logs.tail("w1-1", usize::MAX).len(), 2_004);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
