//! `launch.json` in a worker's folder: by what a later gateway recognises the process that an earlier one started.

use std::fs;
use std::io;
use std::path::Path;

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::procfs::{boot_id, start_ticks};

const FILE: &str = "launch.json";

/// A launch on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Name of the launch.
    pub name: String,
    /// Host it counts for.
    pub host: u32,
    /// Number of its first process, which is also its group's.
    pub pid: i32,
    /// Start of that process in clock ticks.
    pub start_ticks: u64,
    /// Run of the machine in which that is so.
    pub boot_id: String,
    /// GPUs it holds.
    pub gpus: Vec<String>,
    /// Local port per port asked for.
    pub ports: Vec<(u16, u16)>,
    /// Time from SIGTERM to SIGKILL in ms.
    pub grace_ms: u64,
}

impl Record {
    /// Written whole or not at all.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let new = folder.join("launch.json.new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        fs::rename(new, folder.join(FILE))
    }

    /// What a folder holds; `None` if there is nothing that makes sense.
    pub fn read(folder: &Path) -> Option<Record> {
        serde_json::from_slice(&fs::read(folder.join(FILE)).ok()?).ok()
    }

    /// The process, if it is still the one that was started.
    pub fn alive(&self) -> Option<Pid> {
        // The file may hold anything, and a negative number is no process.
        let pid = Pid::from_raw(self.pid.max(0))?;
        (self.boot_id == boot_id() && start_ticks(pid) == Some(self.start_ticks)).then_some(pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_used_again_is_another_process() {
        let pid = Pid::from_raw(std::process::id().cast_signed()).unwrap();
        let record = Record {
            name: "w1-1".into(),
            host: 0,
            pid: pid.as_raw_nonzero().get(),
            start_ticks: start_ticks(pid).unwrap(),
            boot_id: boot_id(),
            gpus: vec!["GPU-1".into()],
            ports: vec![(80, 4_000)],
            grace_ms: 30_000,
        };
        assert_eq!(record.alive(), Some(pid));
        assert_eq!(Record { start_ticks: record.start_ticks + 1, ..record.clone() }.alive(), None);
        assert_eq!(Record { boot_id: "other".into(), ..record.clone() }.alive(), None);
        assert_eq!(Record { pid: -1, ..record.clone() }.alive(), None);

        let folder = std::env::temp_dir().join(format!("thermocline-record-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(Record::read(&folder), None);
        record.write(&folder).unwrap();
        assert_eq!(Record::read(&folder), Some(record));
        fs::write(folder.join(FILE), "{\"name\":").unwrap();
        assert_eq!(Record::read(&folder), None);
        fs::remove_dir_all(folder).unwrap();
    }
}
