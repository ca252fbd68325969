//! The folder of a sweep: `sweep.json` says what it is, `points/` holds a small table per finished point, `sweep.parquet` all of
//! them in order once none is missing.
//!
//! Every file is written under another name and gets its own when it is whole, so a sweep that is cut off leaves nothing half
//! written; a point whose file cannot be read is run again. Several processes may fill one folder, a shard each.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use super::rows::{self, Rows};
use super::{Prepared, SweepError, means};
use crate::json;
use crate::results::OutputError;
use crate::results::reader;
use crate::results::sweep::{Manifest, Sweep};
use crate::results::tables::Table;

/// What a sweep is.
const MANIFEST: &str = "sweep.json";
/// Its table.
const TABLE: &str = "sweep.parquet";
/// Its finished points.
const POINTS: &str = "points";
/// Missing points that an error names.
const NAMED: usize = 10;

/// An open folder.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Opens the folder for `sweep`, makes it if it is not there.
    ///
    /// # Errors
    /// If it holds another sweep, or cannot be written.
    pub fn open(folder: &Path, sweep: &Prepared) -> Result<Store, SweepError> {
        let store = Store { folder: folder.to_owned() };
        fs::create_dir_all(folder.join(POINTS)).map_err(|error| failed(folder, error))?;
        match manifest_in(folder)? {
            None => store.put_manifest(sweep.manifest())?,
            Some(found) if found == *sweep.manifest() => {}
            Some(found) => {
                return Err(SweepError::Input(format!(
                    "{} holds another sweep ({}); give another --out, or remove it",
                    folder.display(),
                    difference(&found, sweep.manifest())
                )));
            }
        }
        Ok(store)
    }

    fn put_manifest(&self, manifest: &Manifest) -> Result<(), SweepError> {
        let document = serde_json::to_string_pretty(manifest).expect("the manifest is plain data with text keys");
        let path = self.folder.join(MANIFEST);
        let part = part(&path);
        fs::write(&part, document + "\n").map_err(|error| failed(&part, error))?;
        Ok(fs::rename(&part, &path).map_err(|error| failed(&path, error))?)
    }

    fn point(&self, number: usize) -> PathBuf {
        self.folder.join(POINTS).join(format!("{number:06}.parquet"))
    }

    /// A finished point; `None` if it is not there or not whole.
    pub fn load(&self, sweep: &Prepared, number: usize) -> Option<Rows> {
        load(&self.point(number), &sweep.paths(), sweep.manifest(), number)
    }

    /// Keeps a finished point.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, sweep: &Prepared, rows: &Rows) -> Result<(), SweepError> {
        let path = self.point(rows.point as usize);
        write(&path, &sweep.paths(), |table| rows.write(sweep.manifest(), table))
    }

    /// Writes the table if every point is there.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn complete(&self, sweep: &Prepared) -> Result<Option<Sweep>, SweepError> {
        let folders = std::slice::from_ref(&self.folder);
        gather(folders, &self.folder, sweep.manifest(), &sweep.paths()).map(Result::ok)
    }
}

/// As [`super::merge`].
pub fn merge(folders: &[PathBuf], out: &Path, force: bool) -> Result<Sweep, SweepError> {
    let mut manifest: Option<(Manifest, &PathBuf)> = None;
    for folder in folders {
        let found = manifest_in(folder)?;
        let found = found.ok_or_else(|| {
            SweepError::Input(format!("{}: no {MANIFEST} there; give the folders that sweeps wrote", folder.display()))
        })?;
        match &manifest {
            None => manifest = Some((found, folder)),
            Some((first, _)) if *first == found => {}
            Some((first, one)) => {
                return Err(SweepError::Input(format!(
                    "{} and {} are parts of different sweeps ({})",
                    one.display(),
                    folder.display(),
                    difference(first, &found)
                )));
            }
        }
    }
    let Some((manifest, _)) = manifest else { return Err(SweepError::Input("no folder to merge".to_owned())) };
    if out.join(TABLE).exists() && !force {
        let (directory, found) = (out.display().to_string(), TABLE.to_owned());
        return Err(OutputError::Exists { directory, found }.into());
    }
    fs::create_dir_all(out).map_err(|error| failed(out, error))?;
    let paths: Vec<String> =
        manifest.vary.iter().map(|typed| typed.split('=').next().unwrap_or("").trim().to_owned()).collect();
    match gather(folders, out, &manifest, &paths)? {
        Ok(sweep) => {
            Store { folder: out.to_owned() }.put_manifest(&manifest)?;
            Ok(sweep)
        }
        Err(missing) => {
            let named: Vec<String> = missing.iter().take(NAMED).map(usize::to_string).collect();
            let more = if missing.len() > NAMED { ", ..." } else { "" };
            Err(SweepError::Input(format!(
                "{} of {} points are missing ({}{more}); run the shards that hold them first",
                missing.len(),
                manifest.points,
                named.join(", ")
            )))
        }
    }
}

/// Writes the table of all points into `out`; the numbers of missing points if there are any.
fn gather(
    folders: &[PathBuf],
    out: &Path,
    manifest: &Manifest,
    paths: &[String],
) -> Result<Result<Sweep, Vec<usize>>, SweepError> {
    let find = |number: usize| {
        folders.iter().find_map(|folder| {
            let path = Store { folder: folder.clone() }.point(number);
            load(&path, paths, manifest, number)
        })
    };
    // A cheap look first: most shards of a sweep end while others still run.
    let there = |number: &usize| folders.iter().any(|folder| Store { folder: folder.clone() }.point(*number).exists());
    let missing: Vec<usize> = (0..manifest.points as usize).filter(|number| !there(number)).collect();
    if !missing.is_empty() {
        return Ok(Err(missing));
    }
    let names: Vec<String> = manifest.policies.iter().map(|policy| policy.name.clone()).collect();
    let mut sweep = Sweep { manifest: manifest.clone(), paths: paths.to_vec(), points: Vec::new() };
    let mut unreadable = Vec::new();
    let path = out.join(TABLE);
    let table = write_if(&path, paths, |table| {
        for number in 0..manifest.points as usize {
            let Some(rows) = find(number) else {
                unreadable.push(number);
                continue;
            };
            rows.write(manifest, table);
            sweep.points.extend(means(&rows, &names));
        }
        unreadable.is_empty()
    });
    table?;
    Ok(if unreadable.is_empty() { Ok(sweep) } else { Err(unreadable) })
}

fn load(path: &Path, paths: &[String], manifest: &Manifest, number: usize) -> Option<Rows> {
    let columns = reader::table(path).ok()?;
    Rows::of_columns(&columns, paths, manifest).filter(|rows| rows.point == number as u64)
}

fn manifest_in(folder: &Path) -> Result<Option<Manifest>, SweepError> {
    let path = folder.join(MANIFEST);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&path, error).into()),
    };
    json::read(text.as_bytes())
        .map(Some)
        .map_err(|error| SweepError::Input(format!("{}: not the document of a sweep: {error}", path.display())))
}

/// The first thing in which two sweeps differ.
fn difference(found: &Manifest, wanted: &Manifest) -> String {
    let (found, wanted) = (serde_json::to_value(found), serde_json::to_value(wanted));
    let (Ok(found), Ok(wanted)) = (found, wanted) else { return "it differs".to_owned() };
    let fields = found.as_object().into_iter().flatten();
    let differs = fields.into_iter().find(|(key, value)| wanted.get(key.as_str()) != Some(value));
    differs.map_or_else(|| "it differs".to_owned(), |(key, value)| format!("`{key}` is {value} in {MANIFEST}"))
}

fn write(path: &Path, paths: &[String], fill: impl FnOnce(&mut Table<BufWriter<File>>)) -> Result<(), SweepError> {
    write_if(path, paths, |table| {
        fill(table);
        true
    })
}

/// Writes a table under another name and gives it its own if `fill` says so.
fn write_if(
    path: &Path,
    paths: &[String],
    fill: impl FnOnce(&mut Table<BufWriter<File>>) -> bool,
) -> Result<(), SweepError> {
    let part = part(path);
    let file = File::create(&part).map_err(|error| failed(&part, error))?;
    let mut table = rows::table(BufWriter::new(file), path.display().to_string(), paths)?;
    let wanted = fill(&mut table);
    table.finish()?;
    if wanted {
        fs::rename(&part, path).map_err(|error| failed(path, error))?;
    } else {
        fs::remove_file(&part).map_err(|error| failed(&part, error))?;
    }
    Ok(())
}

/// The name of a file that is not whole yet, different for every process.
fn part(path: &Path) -> PathBuf {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

fn failed(path: &Path, error: io::Error) -> OutputError {
    OutputError::Io { path: path.display().to_string(), error }
}
