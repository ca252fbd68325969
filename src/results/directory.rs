//! A directory of results: everything is written under a temporary name first and gets its own name at the end, so that a
//! run that is cut off never leaves half a file behind. Results that are there already are overwritten only if told so.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::tables::{Format, OutputError};

/// The files that a run may leave, without the endings of tables.
const DOCUMENTS: [&str; 3] = ["summary.json", "transcript.txt", "transcript.jsonl"];
const TABLES: [&str; 5] = ["timeline", "workers", "placements", "hosts", "jobs"];

/// A directory that is being filled.
pub struct Directory {
    path: PathBuf,
    pending: Vec<&'static str>,
    format: Format,
}

impl Directory {
    /// Makes the directory if it is not there.
    ///
    /// # Errors
    /// If it holds results and `force` is not set, or cannot be made.
    pub fn create(path: &Path, format: Format, force: bool) -> Result<Directory, OutputError> {
        if let Some(found) = results_in(path).into_iter().next()
            && !force
        {
            return Err(OutputError::Exists { directory: path.display().to_string(), found });
        }
        fs::create_dir_all(path).map_err(|error| failed(path, error))?;
        Ok(Directory { path: path.to_owned(), pending: Vec::new(), format })
    }

    /// A new file for `name` (a table's without ending, a document's with it), and its path for messages.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn file(&mut self, name: &'static str) -> Result<(BufWriter<File>, String), OutputError> {
        let part = self.part(name);
        let file = File::create(&part).map_err(|error| failed(&part, error))?;
        self.pending.push(name);
        Ok((BufWriter::new(file), self.target(name).display().to_string()))
    }

    /// Writes a whole document.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn document(&mut self, name: &'static str, text: &str) -> Result<(), OutputError> {
        let (mut file, _) = self.file(name)?;
        file.write_all(text.as_bytes()).and_then(|()| file.flush()).map_err(|error| failed(&self.target(name), error))
    }

    /// Removes the results of an earlier run and gives the new files their names; the paths of those.
    ///
    /// # Errors
    /// If a file cannot be renamed.
    pub fn commit(mut self) -> Result<Vec<PathBuf>, OutputError> {
        for old in results_in(&self.path) {
            let old = self.path.join(old);
            fs::remove_file(&old).map_err(|error| failed(&old, error))?;
        }
        let mut paths = Vec::new();
        for name in std::mem::take(&mut self.pending) {
            let target = self.target(name);
            fs::rename(self.part(name), &target).map_err(|error| failed(&target, error))?;
            paths.push(target);
        }

        Ok(paths)
    }

    fn target(&self, name: &str) -> PathBuf {
        match TABLES.contains(&name) {
            true => self.path.join(format!("{name}.{}", self.format.extension())),
            false => self.path.join(name),
        }
    }

    fn part(&self, name: &str) -> PathBuf {
        self.path.join(format!(".{name}.part"))
    }
}

impl Drop for Directory {
    /// Whatever was not committed goes; there is nobody left to tell about a failure to do so.
    fn drop(&mut self) {
        for name in &self.pending {
            let _ = fs::remove_file(self.part(name));
        }
    }
}

fn results_in(path: &Path) -> Vec<String> {
    let tables = TABLES
        .iter()
        .flat_map(|table| [Format::Parquet, Format::Csv].map(|format| format!("{table}.{}", format.extension())));
    let names = DOCUMENTS.iter().map(|name| (*name).to_owned()).chain(tables);
    names.filter(|name| path.join(name).exists()).collect()
}

fn failed(path: &Path, error: io::Error) -> OutputError {
    OutputError::Io { path: path.display().to_string(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own for each test, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("thermocline-directory-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Scratch(path)
        }

        fn files(&self) -> Vec<String> {
            let mut names: Vec<String> =
                fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_appear_all_at_once_at_the_end() {
        let scratch = Scratch::new("commit");
        let mut directory = Directory::create(&scratch.0, Format::Csv, false).unwrap();
        directory.file("jobs").unwrap().0.write_all(b"job\n").unwrap();
        directory.document("summary.json", "{}").unwrap();
        assert_eq!(scratch.files(), [".jobs.part", ".summary.json.part"]);
        directory.commit().unwrap();
        assert_eq!(scratch.files(), ["jobs.csv", "summary.json"]);
    }

    #[test]
    fn results_are_overwritten_only_by_force_and_leave_nothing_stale() {
        let scratch = Scratch::new("force");
        let fill = |format, force| -> Result<(), OutputError> {
            let mut directory = Directory::create(&scratch.0, format, force)?;
            directory.file("jobs")?;
            directory.commit().map(|_| ())
        };
        fill(Format::Csv, false).unwrap();
        fs::write(scratch.0.join("notes.txt"), "mine").unwrap();
        let error = fill(Format::Parquet, false).unwrap_err().to_string();
        assert!(error.contains("jobs.csv") && error.contains("--force"), "{error}");
        fill(Format::Parquet, true).unwrap();
        assert_eq!(scratch.files(), ["jobs.parquet", "notes.txt"]);
    }

    #[test]
    fn a_run_that_is_cut_off_leaves_the_old_results() {
        let scratch = Scratch::new("cut");
        let mut first = Directory::create(&scratch.0, Format::Csv, false).unwrap();
        first.document("summary.json", "old").unwrap();
        first.commit().unwrap();
        let mut second = Directory::create(&scratch.0, Format::Csv, true).unwrap();
        second.document("summary.json", "new").unwrap();
        drop(second);
        assert_eq!(scratch.files(), ["summary.json"]);
        assert_eq!(fs::read_to_string(scratch.0.join("summary.json")).unwrap(), "old");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let scratch = Scratch::new("file");
        fs::write(&scratch.0, "a file").unwrap();
        let error = Directory::create(&scratch.0.join("below"), Format::Csv, false).err().unwrap();
        assert!(error.to_string().contains("below"), "{error}");
        fs::remove_file(&scratch.0).unwrap();
    }
}
