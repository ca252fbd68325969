//! What `/proc` tells of processes: when one started (a process number is used again, its start time is not), and which
//! processes carry a worker's mark in their environment, wherever they went.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Environment variable that marks everything a worker started: the absolute path of the worker's folder.
pub const MARK: &str = "THERMOCLINE_WORKER";

/// A process that carries the mark.
pub struct Marked {
    /// Folder named by the mark.
    pub folder: String,
    fd: OwnedFd,
}

impl Marked {
    /// Kills exactly this process, even if its number has been used again meanwhile.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.fd, Signal::KILL);
    }
}

/// Moment at which a process started, in clock ticks since the machine did (field 22 of `/proc/<pid>/stat`); `None` if there is
/// no such process or only its exit status is left of it.
pub fn start_ticks(pid: Pid) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name in parentheses may hold anything, spaces and parentheses included.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().collect();
    let state = *fields.first()?;
    if state == "Z" || state == "X" { None } else { fields.get(19)?.parse().ok() }
}

/// Names the run of the machine: process numbers and start times mean nothing after a reboot.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Every live process whose mark names a folder for which `wanted` holds.
pub fn marked(wanted: impl Fn(&str) -> bool) -> Vec<Marked> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let own = std::process::id().cast_signed();
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| {
            let pid = Pid::from_raw(pid)?;
            // First the descriptor, then the look: what is looked at is what the descriptor stands for, or already gone.
            let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
            let folder = mark_of(pid).filter(|folder| wanted(folder))?;
            start_ticks(pid)?;
            Some(Marked { folder, fd })
        })
        .collect()
}

/// Kills every process with the mark of `folder` and waits, at most for `patience`, until none is left. The exit of the first
/// process is not enough: the worker SDK pings from a process of its own, which would go on for ever.
pub fn kill_marked(folder: &str, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    loop {
        let left = marked(|mark| mark == folder);
        if left.is_empty() {
            return true;
        }
        left.iter().for_each(Marked::kill);
        for process in &left {
            wait(&process.fd, end.saturating_duration_since(Instant::now()));
        }
        if Instant::now() >= end {
            return marked(|mark| mark == folder).is_empty();
        }
    }
}

/// Waits for the end of a process, at most for `patience`; whether it has ended.
pub fn wait(fd: &OwnedFd, patience: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let timeout = Timespec::try_from(patience).ok();
    matches!(poll(&mut fds, timeout.as_ref()), Ok(1..))
}

fn mark_of(pid: Pid) -> Option<String> {
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).ok()?;
    let prefix = format!("{MARK}=");
    let value = environment.split(|b| *b == 0).find_map(|entry| entry.strip_prefix(prefix.as_bytes()))?;
    String::from_utf8(value.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_and_a_zombie_is_none() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let fd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        assert!(wait(&fd, Duration::from_secs(60)));
        assert_eq!(start_ticks(pid), None, "not reaped yet, but not alive");
        child.wait().unwrap();
        let own = Pid::from_raw(std::process::id().cast_signed()).unwrap();
        assert!(start_ticks(own).is_some() && !boot_id().is_empty());
        assert!(marked(|mark| mark == "/no/such/worker").is_empty());
    }
}
