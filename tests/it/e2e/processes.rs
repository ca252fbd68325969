//! The process table, by /proc: which processes a test's server started, directly or not, and their end.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Pids of the processes (zombies left out) that carry `mark` in their environment.
pub fn marked(mark: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("there is a process table").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.windows(mark.len()).any(|part| part == mark.as_bytes()) && is_alive(pid) {
            found.push(pid);
        }
    }
    found
}

/// Whether a process runs (or is stopped): a zombie does not.
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Sends a signal; nothing happens if the process is gone.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Kills everything that carries `mark`, as often as it takes.
pub fn end_all(mark: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let left = marked(mark);
        if left.is_empty() || Instant::now() > deadline {
            return;
        }
        for pid in left {
            signal(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The processes of one worker: those that carry its name as `RUNPOD_POD_ID` and the test's mark.
pub fn of_worker(mark: &str, worker: &str) -> Vec<i32> {
    let named = marked(&format!("RUNPOD_POD_ID={worker}\0"));
    marked(mark).into_iter().filter(|pid| named.contains(pid)).collect()
}

/// Whether /proc tells what we ask of it.
pub fn readable() -> bool {
    Path::new("/proc/self/environ").exists()
}
