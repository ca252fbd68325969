//! The transcript of a live system: what the scheduler was told and what it asked for, as JSON lines in a folder.
//!
//! Files are numbered (`transcript-00000012.jsonl`) and begin with the scheduler's state, so each can be replayed without the ones
//! before it ([`replay`](crate::scheduler::replay)). A file that is large enough is followed by the next one; the oldest beyond the
//! limit go. It is a record, not a store: nothing depends on it, a `kill -9` may cost its last lines, and where it cannot be written
//! the gateway goes on and a new file is tried after a minute.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::scheduler::transcript_json::{Header, JsonTranscript, TRANSCRIPT_FORMAT};
use crate::scheduler::{Command, Event, Recorder, Scheduler};
use crate::units::{Span, Time};

/// How long after an error a new file is tried.
const TRY_AGAIN_AFTER: Span = Span::from_whole_secs(60);
/// What was recorded is handed to the operating system at least this often while something happens.
const FLUSH_EVERY: Span = Span::SECOND;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A file that has this many bytes is the last but one. Default 64 MiB.
    pub file_bytes: u64,
    /// Files kept, the one being written included; at least 1. Default 8.
    pub files: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { file_bytes: 64 << 20, files: 8 }
    }
}

/// Records into a folder. Tell it `event` before the scheduler handles it, each `command` as it is fetched, and `settled` after the
/// last one: files change only there.
pub struct LiveTranscript {
    folder: PathBuf,
    name: String,
    limits: Limits,
    /// Number of the next file.
    next_file: u64,
    /// Number of the next record.
    seq: u64,
    file: Option<JsonTranscript<Counted>>,
    /// While there is no file: when one is tried again.
    try_at: Time,
    flushed: Time,
}

/// A buffered file that knows how much was written to it.
struct Counted {
    file: BufWriter<File>,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl LiveTranscript {
    /// Begins a file in `folder` (made if it is not there) after those that are there. `name` is for people. Where that is not
    /// possible it says so in the log and tries again later.
    pub fn open(folder: &Path, name: &str, limits: Limits, now: Time, scheduler: &Scheduler) -> LiveTranscript {
        let mut transcript = LiveTranscript {
            folder: folder.to_owned(),
            name: name.to_owned(),
            limits,
            next_file: 1,
            seq: 0,
            file: None,
            try_at: now,
            flushed: now,
        };
        transcript.begin(now, scheduler);
        transcript
    }

    /// Hands what was recorded to the operating system: before a pause, and at the end.
    pub fn flush(&mut self) {
        let failed = self.file.as_mut().and_then(|file| file.flush().err());
        if let Some(error) = failed {
            self.give_up(&error);
        }
    }

    fn begin(&mut self, now: Time, scheduler: &Scheduler) {
        match self.begin_file(scheduler) {
            Ok(file) => self.file = Some(file),
            Err(error) => {
                self.try_at = now;
                self.give_up(&error);
            }
        }
    }

    fn begin_file(&mut self, scheduler: &Scheduler) -> io::Result<JsonTranscript<Counted>> {
        fs::create_dir_all(&self.folder)?;
        let mut there = numbers(&self.folder)?;
        self.next_file = self.next_file.max(there.last().map_or(1, |last| last + 1));
        there.truncate((there.len() + 1).saturating_sub(self.limits.files.max(1)));
        for number in there {
            fs::remove_file(path(&self.folder, number))?;
        }
        let state = scheduler.snapshot();
        let header = Header {
            thermocline_transcript: TRANSCRIPT_FORMAT,
            name: self.name.clone(),
            seed: None,
            scheduler: state.config().clone(),
            snapshot: Some(Box::new(state)),
            first_seq: self.seq,
        };
        let file = File::options().write(true).create_new(true).open(path(&self.folder, self.next_file))?;
        self.next_file += 1;
        let mut file =
            JsonTranscript::new(Counted { file: BufWriter::with_capacity(1 << 16, file), bytes: 0 }, &header);
        file.flush()?;
        Ok(file)
    }

    /// Stops recording for a while. Said once, for nothing is recorded until there is a new file.
    fn give_up(&mut self, error: &io::Error) {
        tracing::warn!(folder = %self.folder.display(), %error, "the transcript cannot be written; nothing else stops");
        self.file = None;
        self.try_at = self.try_at.max(self.flushed) + TRY_AGAIN_AFTER;
    }
}

impl Recorder for LiveTranscript {
    fn event(&mut self, now: Time, event: &Event) {
        if let Some(file) = &mut self.file {
            file.event(now, event);
        }
        self.seq += 1;
    }

    fn command(&mut self, now: Time, command: &Command) {
        if let Some(file) = &mut self.file {
            file.command(now, command);
        }
        self.seq += 1;
    }

    fn settled(&mut self, now: Time, scheduler: &Scheduler) {
        let Some(file) = &self.file else {
            if now >= self.try_at {
                self.begin(now, scheduler);
            }
            return;
        };
        let full = file.get_ref().bytes >= self.limits.file_bytes;
        if full || now.since(self.flushed) >= FLUSH_EVERY {
            self.flushed = now;
            self.flush();
        }
        if full && self.file.is_some() {
            self.begin(now, scheduler);
        }
    }
}

impl Drop for LiveTranscript {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Numbers of the transcript files of a folder, oldest first. Anything else there is left alone.
fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix("transcript-")?.strip_suffix(".jsonl"));
        let number: Option<u64> = digits.and_then(|digits| digits.parse().ok());
        let number = number.filter(|number| path(folder, *number).file_name() == Some(&name));
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("transcript-{number:08}.jsonl"))
}

/// The transcript files of a folder, oldest first.
///
/// # Errors
/// If the folder cannot be read.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(numbers(folder)?.into_iter().map(|number| path(folder, number)).collect())
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;
    use crate::policy::PolicyChoice;
    use crate::scheduler::replay::replay;
    use crate::scheduler::script::{classes, host_spec};
    use crate::scheduler::{EndpointSpec, GpuClassId, JobPolicy, SchedulerConfig};
    use crate::units::{EndpointId, ImageId};

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let folder = std::env::temp_dir().join(format!("thermocline-transcript-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            Folder(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn scheduler() -> Scheduler {
        let config =
            SchedulerConfig { gpu_classes: classes(), images: Vec::new(), eviction: PolicyChoice::named("lru") };
        Scheduler::new(config).unwrap()
    }

    fn tell(scheduler: &mut Scheduler, transcript: &mut LiveTranscript, now: Time, event: &Event) {
        transcript.event(now, event);
        scheduler.handle(now, event);
        while let Some(command) = scheduler.poll_command() {
            transcript.command(now, &command);
        }
        transcript.settled(now, scheduler);
    }

    fn endpoint() -> Event {
        let spec = Box::new(EndpointSpec::with_defaults("e", ImageId(0), GpuClassId(0)));
        Event::EndpointCreated { spec }
    }

    fn submitted(client_ref: u64) -> Event {
        Event::JobSubmitted { endpoint: EndpointId(0), client_ref, policy: JobPolicy::default() }
    }

    #[test]
    fn every_file_that_is_kept_replays_and_old_ones_go() {
        let folder = Folder::new("rotation");
        let mut scheduler = scheduler();
        let limits = Limits { file_bytes: 20_000, files: 3 };
        let mut transcript = LiveTranscript::open(&folder.0, "live", limits, Time::ZERO, &scheduler);
        tell(&mut scheduler, &mut transcript, Time::ZERO, &Event::HostAdded { host: Box::new(host_spec(0)) });
        tell(&mut scheduler, &mut transcript, Time::ZERO, &endpoint());
        for n in 1..2_000 {
            tell(&mut scheduler, &mut transcript, Time(n * 10_000), &submitted(n));
            if n % 3 == 0 {
                tell(
                    &mut scheduler,
                    &mut transcript,
                    Time(n * 10_000),
                    &Event::PurgeRequested { endpoint: EndpointId(0) },
                );
            }
        }
        drop(transcript);
        let kept = files(&folder.0).unwrap();
        assert_eq!(kept.len(), 3);
        assert!(!kept[0].ends_with("transcript-00000001.jsonl"), "{kept:?}");
        for file in &kept {
            let replayed = replay(BufReader::new(File::open(file).unwrap())).unwrap();
            assert_eq!((replayed.difference, replayed.torn), (None, false), "{}", file.display());
            assert!(replayed.events > 10 || file == &kept[2], "{}: {}", file.display(), replayed.events);
        }
        // The next run goes on after the last file, and keeps as many.
        let again = LiveTranscript::open(&folder.0, "live", limits, Time(1), &scheduler);
        drop(again);
        let after = files(&folder.0).unwrap();
        assert_eq!((after.len(), &after[0]), (3, &kept[1]));
        assert_eq!(replay(BufReader::new(File::open(&after[2]).unwrap())).unwrap().events, 0);
    }

    #[test]
    fn a_folder_that_cannot_be_written_stops_nothing_and_is_tried_again() {
        let folder = Folder::new("refused");
        fs::write(&folder.0, "in the way").unwrap();
        let mut scheduler = scheduler();
        let mut transcript =
            LiveTranscript::open(&folder.0.join("below"), "live", Limits::default(), Time::ZERO, &scheduler);
        tell(&mut scheduler, &mut transcript, Time::from_secs(1.0), &endpoint());
        fs::remove_file(&folder.0).unwrap();
        tell(&mut scheduler, &mut transcript, Time::from_secs(59.0), &submitted(1));
        assert!(transcript.file.is_none());
        tell(&mut scheduler, &mut transcript, Time::from_secs(60.0), &submitted(2));
        tell(&mut scheduler, &mut transcript, Time::from_secs(61.0), &submitted(3));
        drop(transcript);
        let kept = files(&folder.0.join("below")).unwrap();
        let replayed = replay(BufReader::new(File::open(&kept[0]).unwrap())).unwrap();
        assert_eq!((replayed.events, replayed.difference), (1, None));
    }
}
