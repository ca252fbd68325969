//! Requests put in order of time in bounded memory, and several files merged.
//!
//! Public traces are nearly sorted: by when requests ended, or with clocks that jump a little. A window of requests is held
//! back and the earliest goes out; one that comes later than the window allows is an error, not a wrong order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};

use crate::workload::WorkHint;
use crate::workload::error::FileError;

/// A request of a foreign trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// Microseconds on the source's own clock.
    pub at_us: i64,
    /// Index of the endpoint's name.
    pub endpoint: u32,
    /// What is known of its work.
    pub work: WorkHint,
}

/// A foreign trace, request by request, in its own order.
pub trait Source {
    /// The next request; `None` at the end.
    ///
    /// # Errors
    /// If the file cannot be read further or holds something unexpected.
    fn next(&mut self) -> Result<Option<Request>, FileError>;
}

/// One file in order of time.
struct Window {
    source: Box<dyn Source>,
    path: PathBuf,
    held: BinaryHeap<Reverse<Held>>,
    size: usize,
    read: u64,
    ended: bool,
    last_us: i64,
}

/// In order of time, then of the file.
struct Held(i64, u64, Request);

/// Several files in order of time, each held back by its own window.
pub struct Merge {
    windows: Vec<Window>,
    heads: Vec<Option<Request>>,
}

impl Merge {
    /// `size` requests are held back per file.
    ///
    /// # Errors
    /// If a file cannot be read, or is less sorted than the window makes good.
    pub fn new(sources: Vec<(PathBuf, Box<dyn Source>)>, size: usize) -> Result<Merge, FileError> {
        let window = |(path, source)| Window {
            source,
            path,
            held: BinaryHeap::new(),
            size,
            read: 0,
            ended: false,
            last_us: i64::MIN,
        };
        let mut windows: Vec<Window> = sources.into_iter().map(window).collect();
        let heads = windows.iter_mut().map(Window::next).collect::<Result<_, _>>()?;
        Ok(Merge { windows, heads })
    }

    /// The earliest request that is left; of equal ones, that of the first file.
    ///
    /// # Errors
    /// As for [`Merge::new`].
    pub fn next(&mut self) -> Result<Option<Request>, FileError> {
        let earliest = |(file, head): (usize, &Option<Request>)| head.as_ref().map(|request| (request.at_us, file));
        let Some((_, file)) = self.heads.iter().enumerate().filter_map(earliest).min() else {
            return Ok(None);
        };
        let next = self.windows[file].next()?;
        Ok(std::mem::replace(&mut self.heads[file], next))
    }
}

impl Window {
    fn next(&mut self) -> Result<Option<Request>, FileError> {
        while !self.ended && self.held.len() < self.size {
            match self.source.next()? {
                Some(request) if request.at_us < self.last_us => return Err(self.too_late()),
                Some(request) => {
                    self.held.push(Reverse(Held(request.at_us, self.read, request)));
                    self.read += 1;
                }
                None => self.ended = true,
            }
        }
        let next = self.held.pop().map(|held| held.0.2);
        self.last_us = next.map_or(self.last_us, |request| request.at_us);
        Ok(next)
    }

    fn too_late(&self) -> FileError {
        let what = format!("request {} is earlier than one that is {} requests before it", self.read + 1, self.size);
        let path: &Path = &self.path;
        FileError::new(path, what).help("sort the file by time, or hold more requests back with --window")
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Held) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Held) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Held) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct List(std::vec::IntoIter<i64>, u32);

    impl Source for List {
        fn next(&mut self) -> Result<Option<Request>, FileError> {
            let endpoint = self.1;
            Ok(self.0.next().map(|at_us| Request { at_us, endpoint, work: WorkHint::default() }))
        }
    }

    fn merged(lists: &[&[i64]], size: usize) -> Result<Vec<(i64, u32)>, FileError> {
        let source = |(file, list): (usize, &&[i64])| {
            let list = List(Vec::from(*list).into_iter(), file as u32);
            (PathBuf::from("f"), Box::new(list) as Box<dyn Source>)
        };
        let mut merge = Merge::new(lists.iter().enumerate().map(source).collect(), size)?;
        let mut all = Vec::new();
        while let Some(request) = merge.next()? {
            all.push((request.at_us, request.endpoint));
        }
        Ok(all)
    }

    #[test]
    fn files_are_sorted_and_merged() {
        let all = merged(&[&[3, 1, 2, 9], &[-5, 2]], 3).unwrap();
        assert_eq!(all, [(-5, 1), (1, 0), (2, 0), (2, 1), (3, 0), (9, 0)]);
        assert_eq!(merged(&[], 3).unwrap(), []);
    }

    #[test]
    fn what_the_window_cannot_mend_is_an_error() {
        let error = merged(&[&[5, 6, 7, 1]], 2).unwrap_err().to_string();
        assert!(error.contains("request 4 is earlier than one that is 2 requests before it"), "{error}");
        assert!(error.contains("--window"), "{error}");
    }
}
