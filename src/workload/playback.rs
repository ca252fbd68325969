//! A trace as a source of requests: filtered by endpoint, sliced, scaled in time and rate, spread, and played again.
//!
//! In: the rows of the file in order, and a generator for thinning, copies and spreading. Out: requests in order of time, in
//! memory that does not grow with the file: only requests that may still be overtaken wait, those of one `spread_s` (or of one
//! second, where rows are copied).

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use rand::Rng;

use super::deviate::{chance, uniform};
use super::error::{FileError, printable};
use super::{TraceReader, TraceRow, TraceSource, WorkHint, WorkloadError};
use crate::units::{Span, Time};

/// How far copies are moved, in seconds of the trace: short enough to leave the trace's lulls alone.
const COPY_JITTER_S: f64 = 1.0;
/// Most requests that wait to be put in order.
const PENDING_MAX: usize = 1 << 20;
/// Endpoint names that an error lists.
const NAMES_SHOWN: usize = 10;

/// A trace that is being played.
#[derive(Debug)]
pub struct Playback {
    source: TraceSource,
    reader: TraceReader,
    row: TraceRow,
    /// When the present play began.
    start: Time,
    /// Plays after this one; `None` = for ever.
    plays_left: Option<u32>,
    span: Slice,
    pending: BinaryHeap<Reverse<Pending>>,
    /// Requests up to here cannot be overtaken any more.
    frontier: Time,
}

/// What the first play tells of the slice.
#[derive(Debug, Default)]
struct Slice {
    rows: u64,
    first_s: f64,
    last_s: f64,
    kept: u64,
    names: BTreeSet<String>,
    complete: bool,
}

/// A request that waits; in order of time, then of the file.
#[derive(Clone, Copy, Debug)]
struct Pending {
    at: Time,
    order: u64,
    work: WorkHint,
}

impl Playback {
    /// Opens the trace; its time 0 (or `from_s`) is `start`.
    ///
    /// # Errors
    /// If an option is out of range, or the file cannot be read or is not a trace.
    pub fn open(source: &TraceSource, start: Time) -> Result<Playback, WorkloadError> {
        source.options.check().map_err(WorkloadError::Spec)?;
        Ok(Playback {
            source: source.clone(),
            reader: TraceReader::open(&source.path)?,
            row: TraceRow::default(),
            start,
            plays_left: source.options.repeat.checked_sub(1),
            span: Slice::default(),
            pending: BinaryHeap::new(),
            frontier: Time::ZERO,
        })
    }

    /// The next request, or `None` at the end.
    ///
    /// # Errors
    /// If the file cannot be read further or holds something unexpected, or no row at all is left by filter and slice.
    pub fn next(&mut self, rng: &mut impl Rng) -> Result<Option<(Time, WorkHint)>, WorkloadError> {
        let (rate, spread_s) = (self.source.options.rate_scale, self.source.options.spread_s);
        if rate == 1.0 && spread_s == 0.0 {
            return Ok(self.next_row()?.then(|| (self.at(0.0), self.work())));
        }
        loop {
            if let Some(Reverse(pending)) = self.pending.peek()
                && pending.at <= self.frontier
            {
                let request = (pending.at, pending.work);
                self.pending.pop();
                return Ok(Some(request));
            }
            if self.frontier == Time::MAX {
                return Ok(None);
            }
            if !self.next_row()? {
                self.frontier = Time::MAX;
                continue;
            }
            self.frontier = self.at(0.0);
            let copies = rate as u32 + u32::from(chance(rate.fract(), rng));
            for copy in 0..copies {
                let moved_s = match copy {
                    _ if spread_s > 0.0 => spread_s * uniform(rng),
                    0 => 0.0,
                    _ => COPY_JITTER_S * uniform(rng),
                };
                self.hold(moved_s)?;
            }
        }
    }

    fn hold(&mut self, moved_s: f64) -> Result<(), FileError> {
        if self.pending.len() == PENDING_MAX {
            let what = format!("more than {PENDING_MAX} requests within spread_s wait to be put in order");
            let error = FileError::new(&self.source.path, what).at(self.reader.line(), 0);
            return Err(error.help("use a smaller spread_s or rate_scale"));
        }
        let order = self.reader.line();
        self.pending.push(Reverse(Pending { at: self.at(moved_s), order, work: self.work() }));
        Ok(())
    }

    /// The row's time on the clock of the run, moved by `moved_s` seconds of the trace.
    fn at(&self, moved_s: f64) -> Time {
        let options = &self.source.options;
        self.start + Span::from_secs((self.row.arrival_s - options.from_s + moved_s) * options.time_scale)
    }

    fn work(&self) -> WorkHint {
        WorkHint {
            service_s: self.row.service_s,
            input_tokens: self.row.input_tokens,
            output_tokens: self.row.output_tokens,
        }
    }

    /// Reads on to a row that filter and slice let through, through as many plays as there are; false when all is played.
    fn next_row(&mut self) -> Result<bool, FileError> {
        loop {
            while self.read_in_slice()? {
                let wanted = self.source.options.endpoint.as_ref().is_none_or(|name| *name == self.row.endpoint);
                if !self.span.complete {
                    self.span.note(&self.row, wanted);
                }
                if wanted {
                    return Ok(true);
                }
            }
            self.span.complete = true;
            if self.span.kept == 0 {
                return Err(self.nothing_left());
            }
            match &mut self.plays_left {
                Some(0) => return Ok(false),
                Some(left) => *left -= 1,
                None => {}
            }
            self.rewind()?;
        }
    }

    fn read_in_slice(&mut self) -> Result<bool, FileError> {
        let (from_s, until_s) = (self.source.options.from_s, self.source.options.until_s);
        while self.reader.read(&mut self.row)? {
            if until_s.is_some_and(|until_s| self.row.arrival_s >= until_s) {
                return Ok(false);
            }
            if self.row.arrival_s >= from_s {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn rewind(&mut self) -> Result<(), FileError> {
        let options = &self.source.options;
        let until_s = options.until_s.unwrap_or_else(|| self.span.end_s());
        let length = Span::from_secs((until_s - options.from_s) * options.time_scale);
        if length.is_zero() {
            let error = FileError::new(&self.source.path, "a trace without length cannot be repeated");
            return Err(error.help("say with until_s how long one play is"));
        }
        self.start = self.start + length;
        // Reopened rather than kept: memory stays bounded however long the file is.
        self.reader = TraceReader::open(&self.source.path)?;
        Ok(())
    }

    fn nothing_left(&self) -> FileError {
        let options = &self.source.options;
        let until = options.until_s.map_or("the end".to_owned(), |until_s| format!("{until_s} s"));
        let endpoint = options.endpoint.as_ref();
        let of = endpoint.map_or(String::new(), |name| format!(" of endpoint \"{}\"", printable(name.as_bytes())));
        let error = FileError::new(&self.source.path, format!("no row{of} from {} s to {until}", options.from_s));
        if self.span.names.is_empty() {
            return error.help("check from_s and until_s");
        }
        let names: Vec<String> = self.span.names.iter().map(|name| printable(name.as_bytes())).collect();
        let more = if names.len() == NAMES_SHOWN { " and perhaps more" } else { "" };
        error.help(format!("the endpoints there are {}{more}", names.join(", ")))
    }
}

impl Slice {
    fn note(&mut self, row: &TraceRow, wanted: bool) {
        if self.rows == 0 {
            self.first_s = row.arrival_s;
        }
        self.last_s = row.arrival_s;
        self.rows += 1;
        self.kept += u64::from(wanted);
        if self.kept == 0 && self.names.len() < NAMES_SHOWN && !self.names.contains(&row.endpoint) {
            self.names.insert(row.endpoint.clone());
        }
    }

    /// One mean gap after the last row.
    fn end_s(&self) -> f64 {
        let gaps = self.rows.saturating_sub(1).max(1) as f64;
        self.last_s + (self.last_s - self.first_s) / gaps
    }
}

impl PartialEq for Pending {
    fn eq(&self, other: &Pending) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Pending {}

impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Pending) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pending {
    fn cmp(&self, other: &Pending) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::TraceOptions;
    use crate::workload::testing::{TempFile, Words, assert_near};

    const SMALL: &str = "arrival_s,endpoint,service_s\n1,a,10\n2,b,20\n4,a,\n7,b,40\n";

    fn play(content: &str, options: TraceOptions, most: usize) -> Result<Vec<(f64, WorkHint)>, WorkloadError> {
        let file = TempFile::new(content.as_bytes());
        let source = TraceSource { path: file.path().to_owned(), options };
        let mut playback = Playback::open(&source, Time::from_secs(100.0))?;
        let mut rng = Words::new(4);
        let mut requests = Vec::new();
        while requests.len() < most
            && let Some((at, work)) = playback.next(&mut rng)?
        {
            requests.push((at.as_secs() - 100.0, work));
        }
        Ok(requests)
    }

    fn times(content: &str, options: TraceOptions) -> Vec<f64> {
        play(content, options, 20).unwrap().iter().map(|request| request.0).collect()
    }

    #[test]
    fn rows_come_in_order_with_what_is_known_of_them() {
        let all = play(SMALL, TraceOptions::default(), 20).unwrap();
        assert_eq!(all.iter().map(|request| request.0).collect::<Vec<_>>(), [1.0, 2.0, 4.0, 7.0]);
        assert_eq!((all[1].1.service_s, all[2].1.service_s), (Some(20.0), None));
    }

    #[test]
    fn slices_filters_and_time_scales_combine() {
        let endpoint = Some("a".to_owned());
        assert_eq!(times(SMALL, TraceOptions { endpoint: endpoint.clone(), ..TraceOptions::default() }), [1.0, 4.0]);
        let slice = TraceOptions { from_s: 2.0, until_s: Some(7.0), time_scale: 0.5, ..TraceOptions::default() };
        assert_eq!(times(SMALL, slice), [0.0, 1.0]);
    }

    #[test]
    fn loops_keep_the_endpoints_of_a_file_in_step() {
        // One play ends one mean gap (2 s) after the last row of the file: 9 s, for either endpoint.
        let twice =
            |endpoint: &str| TraceOptions { endpoint: Some(endpoint.to_owned()), repeat: 2, ..TraceOptions::default() };
        assert_eq!(times(SMALL, twice("a")), [1.0, 4.0, 10.0, 13.0]);
        assert_eq!(times(SMALL, twice("b")), [2.0, 7.0, 11.0, 16.0]);
        let slice = TraceOptions { from_s: 1.0, until_s: Some(3.0), repeat: 0, ..TraceOptions::default() };
        assert_eq!(play(SMALL, slice, 5).unwrap().iter().map(|r| r.0).collect::<Vec<_>>(), [0.0, 1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn a_slice_that_cannot_be_played_is_an_error() {
        let error = |options| play(SMALL, options, 9).unwrap_err().to_string();
        let absent = error(TraceOptions { endpoint: Some("c".to_owned()), ..TraceOptions::default() });
        assert!(
            absent.contains("no row of endpoint \"c\" from 0 s to the end; the endpoints there are a, b"),
            "{absent}"
        );
        let empty = error(TraceOptions { from_s: 50.0, repeat: 0, ..TraceOptions::default() });
        assert!(empty.contains("check from_s and until_s"), "{empty}");
        let one = play("arrival_s,endpoint\n0,a\n", TraceOptions { repeat: 3, ..TraceOptions::default() }, 9);
        assert!(one.unwrap_err().to_string().contains("how long one play is"));
    }

    fn many() -> String {
        let rows: String = (0..20_000).map(|i| format!("{},a\n", i / 4)).collect();
        format!("arrival_s,endpoint\n{rows}")
    }

    #[test]
    fn the_rate_scales_on_average_and_order_is_kept() {
        for rate_scale in [0.25, 2.5] {
            let requests = play(&many(), TraceOptions { rate_scale, ..TraceOptions::default() }, usize::MAX).unwrap();
            let share: f64 = rate_scale % 1.0;
            let error = (20_000.0 * share * (1.0 - share)).sqrt();
            assert_near("requests", (requests.len() as f64, error), 20_000.0 * rate_scale, 0.02);
            assert!(requests.is_sorted_by(|a, b| a.0 <= b.0));
        }
    }

    #[test]
    fn coarse_instants_are_spread_evenly() {
        let options = TraceOptions { spread_s: 1.0, ..TraceOptions::default() };
        let requests = play(&many(), options, usize::MAX).unwrap();
        assert_eq!(requests.len(), 20_000);
        assert!(requests.is_sorted_by(|a, b| a.0 <= b.0));
        let mean = requests.iter().map(|request| request.0.fract()).sum::<f64>() / 20_000.0;
        // A uniform deviate has standard deviation 0.289.
        assert_near("place within the second", (mean, 0.289 / 20_000f64.sqrt()), 0.5, 0.01);
    }
}
