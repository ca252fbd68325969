//! The thread of one worker: starts it, sees it end at once, carries out stops, and leaves nothing of it behind.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::super::{LaunchSpec, Report};
use super::procfs::{self, boot_id, kill_marked, start_ticks};
use super::record::Record;
use super::spool::Spool;
use super::{Shared, spawn};
use crate::scheduler::{ExitCause, StartStage, StopMode};

/// How often output is moved into the log when nothing else happens: the latest line of a live log is this old at most.
const TICK: Duration = Duration::from_secs(1);
/// How long the end of a worker may be reported late because something it started does not die.
const STRAGGLERS: Duration = Duration::from_secs(5);

/// A worker being watched.
pub(super) struct Watch {
    shared: Arc<Shared>,
    name: String,
    folder: PathBuf,
    pid: Pid,
    fd: OwnedFd,
    /// Only of a worker that this gateway started.
    child: Option<Child>,
    wake: Arc<OwnedFd>,
    grace: Duration,
    spool: Spool,
    term_sent: Option<Instant>,
    kill_sent: bool,
}

/// Starts a worker and watches it until its end. Body of its thread.
pub(super) fn launch(
    shared: &Arc<Shared>,
    spec: &LaunchSpec,
    gpus: &[String],
    ports: &[(u16, u16)],
    wake: Arc<OwnedFd>,
) {
    let folder = shared.folder_of(&spec.name);
    let grace = grace(spec.run.stop_grace_s);
    let started = spawn::spawn(spec, &folder, gpus, ports).and_then(|mut child| {
        let pid = Pid::from_child(&child);
        let watched = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| error.to_string()).and_then(|fd| {
            let record = Record {
                name: spec.name.clone(),
                host: spec.host.0,
                pid: pid.as_raw_nonzero().get(),
                // A process that ended meanwhile has no start any more, and needs none.
                start_ticks: start_ticks(pid).unwrap_or(0),
                boot_id: boot_id(),
                gpus: gpus.to_vec(),
                ports: ports.to_vec(),
                grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
            };
            record.write(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            Ok(fd)
        });
        match watched {
            Ok(fd) => Ok((child, pid, fd)),
            Err(error) => {
                let _ = kill_process_group(pid, Signal::KILL);
                let _ = child.wait();
                Err(error)
            }
        }
    });
    match started {
        Ok((child, pid, fd)) => {
            shared.logs.note(&spec.name, &format!("started as process {}", pid.as_raw_nonzero()));
            let worker = spec.name.clone();
            shared.reporter.report(Report::StageEnded { worker: worker.clone(), stage: StartStage::Container });
            if !ports.is_empty() {
                let ports = ports.iter().map(|(asked, local)| (*asked, format!("127.0.0.1:{local}"))).collect();
                shared.reporter.report(Report::Address { worker, ports });
            }
            Watch::new(shared, &spec.name, pid, fd, Some(child), wake, grace).run();
        }
        Err(detail) => shared.fail(&spec.name, detail),
    }
}

fn grace(seconds: f64) -> Duration {
    let default = Duration::from_secs(30);
    if seconds > 0.0 { Duration::try_from_secs_f64(seconds).unwrap_or(default) } else { default }
}

impl Watch {
    pub(super) fn new(
        shared: &Arc<Shared>,
        name: &str,
        pid: Pid,
        fd: OwnedFd,
        child: Option<Child>,
        wake: Arc<OwnedFd>,
        grace: Duration,
    ) -> Watch {
        let folder = shared.folder_of(name);
        Watch {
            shared: Arc::clone(shared),
            name: name.to_owned(),
            pid,
            fd,
            child,
            wake,
            grace,
            spool: Spool::new(name, &shared.logs, &folder),
            folder,
            term_sent: None,
            kill_sent: false,
        }
    }

    /// Until the worker has ended, or the gateway lets go of it.
    pub(super) fn run(mut self) {
        loop {
            self.carry_out_stop();
            let ended = self.wait();
            if self.shared.lock().detached {
                self.spool.finish();
                return;
            }
            if ended {
                return self.over();
            }
            self.spool.drain();
        }
    }

    /// Waits for the end, a wish, a deadline or the next tick; whether the worker has ended.
    fn wait(&self) -> bool {
        let mut patience = TICK;
        if let (Some(sent), false) = (self.term_sent, self.kill_sent) {
            patience = patience.min((sent + self.grace).saturating_duration_since(Instant::now()));
        }
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN), PollFd::new(&*self.wake, PollFlags::IN)];
        let timeout = Timespec::try_from(patience).ok();
        let _ = poll(&mut fds, timeout.as_ref());
        let [ended, woken] = fds.map(|fd| !fd.revents().is_empty());
        if woken {
            let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        }
        ended
    }

    fn carry_out_stop(&mut self) {
        let wish = self.shared.lock().launches.get(&self.name).and_then(|launch| launch.wish);
        let too_long = self.term_sent.is_some_and(|sent| sent.elapsed() >= self.grace);
        match wish {
            Some(StopMode::Kill) if !self.kill_sent => self.kill("asked to"),
            Some(StopMode::Sleep | StopMode::Freeze) if self.term_sent.is_none() => {
                self.shared.logs.note(&self.name, &format!("SIGTERM; SIGKILL follows in {:?}", self.grace));
                self.term_sent = Some(Instant::now());
                let _ = kill_process_group(self.pid, Signal::TERM);
            }
            Some(StopMode::Sleep | StopMode::Freeze) if too_long && !self.kill_sent => {
                self.kill("still here after its grace period");
            }
            _ => {}
        }
    }

    fn kill(&mut self, why: &str) {
        self.shared.logs.note(&self.name, &format!("SIGKILL: {why}"));
        self.kill_sent = true;
        let _ = kill_process_group(self.pid, Signal::KILL);
    }

    /// The first process has ended: what it started ends too, then everybody is told.
    fn over(mut self) {
        // Until it is waited for, its number (and so the group's) belongs to nobody else: no stranger is killed here.
        let status = self.child.take().and_then(|mut child| {
            let _ = kill_process_group(self.pid, Signal::KILL);
            child.wait().ok()
        });
        let mark = self.folder.display().to_string();
        let all_gone = kill_marked(&mark, STRAGGLERS);
        self.spool.finish();
        let (cause, mut detail) = verdict(status);
        self.shared.logs.note(&self.name, &detail);
        let words = self.shared.logs.last_words(&self.name);
        if !words.is_empty() {
            detail = format!("{detail}; last words: {words}");
        }
        if all_gone {
            let asked = self.shared.forget(&self.name);
            self.shared.tell(&self.name, asked, cause, detail);
            return;
        }
        // Its GPUs stay taken until nothing can use them any more.
        let asked = self.shared.lock().launches.get(&self.name).is_some_and(|launch| launch.wish.is_some());
        self.shared.tell(&self.name, asked, cause, detail);
        while !kill_marked(&mark, STRAGGLERS) && !self.shared.lock().detached {
            tracing::error!(worker = self.name, "processes that it started cannot be killed; its GPUs stay taken");
        }
        self.shared.forget(&self.name);
    }
}

/// What an exit means. Exit code 1 is what failed fitness checks give (worker SDK since 1.11); whether the worker had already
/// taken jobs, so that it is a crash after all, is known to the core alone.
fn verdict(status: Option<ExitStatus>) -> (ExitCause, String) {
    let Some(status) = status else {
        return (
            ExitCause::Crashed,
            "ended; its exit code is not known, as an earlier gateway had started it".to_owned(),
        );
    };
    match (status.code(), status.signal()) {
        (Some(0), _) => (ExitCause::Left, "exit code 0".to_owned()),
        (Some(1), _) => (ExitCause::Unfit, "exit code 1".to_owned()),
        (Some(126), _) => (ExitCause::StartFailed, "exit code 126: the command cannot be run".to_owned()),
        (Some(127), _) => (ExitCause::StartFailed, "exit code 127: the command was not found".to_owned()),
        (Some(code), _) => (ExitCause::Crashed, format!("exit code {code}")),
        (None, Some(signal)) => (ExitCause::Crashed, format!("killed by signal {signal}")),
        (None, None) => (ExitCause::Crashed, "ended".to_owned()),
    }
}

/// Whether the worker whose process is `pid` is still the one on record; its descriptor if so.
pub(super) fn open(record: &Record) -> Option<(Pid, OwnedFd)> {
    let pid = record.alive()?;
    let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Asked again with the descriptor in hand: now it cannot become another process.
    (record.alive().is_some() && !procfs::wait(&fd, Duration::ZERO)).then_some((pid, fd))
}
