//! Tables of a run, written row by row as Parquet or CSV: memory stays bounded however long they get.
//!
//! Parquet is written in row groups of 65,536 rows (Snappy). In CSV a text that a spreadsheet would take for a formula gets an
//! apostrophe in front. Absent values are null in Parquet and empty in CSV.

use std::io::{self, Write};

use polars_error::PolarsError;

use super::parquet::GroupWriter;
use super::reader::Column;

/// Rows of one row group; also the most rows that are kept in memory.
const GROUP_ROWS: usize = 65_536;

/// How tables are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Apache Parquet.
    #[default]
    Parquet,
    /// Comma-separated values, UTF-8, header in the first line.
    Csv,
}

impl Format {
    /// The ending of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Parquet => "parquet",
            Format::Csv => "csv",
        }
    }
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers.
    Count,
    /// Seconds, dollars, shares.
    Number,
    /// Names and reasons.
    Text,
}

/// One value; `None` where there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// For a [`Kind::Count`] column.
    Count(Option<u64>),
    /// For a [`Kind::Number`] column.
    Number(Option<f64>),
    /// For a [`Kind::Text`] column.
    Text(Option<&'a str>),
}

impl From<u64> for Cell<'_> {
    fn from(value: u64) -> Self {
        Cell::Count(Some(value))
    }
}

impl From<u32> for Cell<'_> {
    fn from(value: u32) -> Self {
        Cell::Count(Some(u64::from(value)))
    }
}

impl From<f64> for Cell<'_> {
    fn from(value: f64) -> Self {
        Cell::Number(Some(value))
    }
}

impl From<Option<f64>> for Cell<'_> {
    fn from(value: Option<f64>) -> Self {
        Cell::Number(value)
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(value: &'a str) -> Self {
        Cell::Text(Some(value))
    }
}

impl<'a> From<Option<&'a str>> for Cell<'a> {
    fn from(value: Option<&'a str>) -> Self {
        Cell::Text(value)
    }
}

/// Why results cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The directory holds results already.
    #[error("{directory} already holds results ({found}); choose another directory, or overwrite them with --force")]
    Exists {
        /// The directory.
        directory: String,
        /// A file that is there.
        found: String,
    },
    /// A file or directory cannot be made or written.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// A table cannot be written.
    #[error("{path}: {error}")]
    Parquet {
        /// Which file.
        path: String,
        /// What the writer said.
        error: PolarsError,
    },
}

#[allow(clippy::large_enum_variant, reason = "a handful of tables per run, never moved once rows come")]
enum Sink<W: Write> {
    Parquet { writer: GroupWriter<W>, columns: Vec<Column> },
    Csv(csv::Writer<W>),
}

/// A table being written. The first error is kept and given back by [`Table::finish`]: rows come from recorders that cannot
/// stop the run.
pub struct Table<W: Write> {
    path: String,
    columns: usize,
    sink: Sink<W>,
    buffered: usize,
    rows: u64,
    error: Option<OutputError>,
}

impl<W: Write> Table<W> {
    /// A table with these columns; `path` names it in errors.
    pub fn new(
        writer: W,
        path: String,
        format: Format,
        names: &[(&'static str, Kind)],
    ) -> Result<Table<W>, OutputError> {
        let names: Vec<(String, Kind)> = names.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        Table::with_columns(writer, path, format, names)
    }

    /// The same with columns whose names are known only now.
    pub fn with_columns(
        writer: W,
        path: String,
        format: Format,
        names: Vec<(String, Kind)>,
    ) -> Result<Table<W>, OutputError> {
        let columns = names.len();
        let sink = match format {
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(writer);
                let header = writer.write_record(names.iter().map(|(name, _)| name));
                header.map_err(|error| OutputError::Io { path: path.clone(), error: error.into() })?;
                Sink::Csv(writer)
            }
            Format::Parquet => {
                let writer = GroupWriter::new(writer, &names);
                let writer = writer.map_err(|error| OutputError::Parquet { path: path.clone(), error })?;
                Sink::Parquet { writer, columns: names.iter().map(|(_, kind)| Column::new(*kind)).collect() }
            }
        };
        Ok(Table { path, columns, sink, buffered: 0, rows: 0, error: None })
    }

    /// One row: a cell for each column, of its kind.
    pub fn row(&mut self, cells: &[Cell<'_>]) {
        assert_eq!(cells.len(), self.columns, "a row of {} has a cell for each column", self.path);
        if self.error.is_some() {
            return;
        }
        self.rows += 1;
        match &mut self.sink {
            Sink::Csv(writer) => {
                let record = cells.iter().map(csv_text);
                if let Err(error) = writer.write_record(record) {
                    self.error = Some(OutputError::Io { path: self.path.clone(), error: error.into() });
                }
            }
            Sink::Parquet { columns, .. } => {
                columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell));
                self.buffered += 1;
                if self.buffered >= GROUP_ROWS {
                    self.write_group();
                }
            }
        }
    }

    fn write_group(&mut self) {
        let Sink::Parquet { writer, columns } = &mut self.sink else { return };
        let written = writer.write(self.buffered, columns.iter_mut().map(Column::take).collect());
        self.buffered = 0;
        if let Err(error) = written {
            self.error = Some(OutputError::Parquet { path: self.path.clone(), error });
        }
    }

    /// Writes what is left; the number of rows, or the first error.
    pub fn finish(mut self) -> Result<u64, OutputError> {
        if self.buffered > 0 {
            self.write_group();
        }
        if let Some(error) = self.error {
            return Err(error);
        }
        let path = self.path;
        match self.sink {
            Sink::Csv(mut writer) => writer.flush().map_err(|error| OutputError::Io { path, error })?,
            Sink::Parquet { writer, .. } => writer.finish().map_err(|error| OutputError::Parquet { path, error })?,
        }
        Ok(self.rows)
    }
}

impl Column {
    fn new(kind: Kind) -> Column {
        match kind {
            Kind::Count => Column::Count(Vec::new()),
            Kind::Number => Column::Number(Vec::new()),
            Kind::Text => Column::Text(Vec::new()),
        }
    }

    fn push(&mut self, cell: &Cell<'_>) {
        match (self, cell) {
            (Column::Count(values), Cell::Count(value)) => values.push(*value),
            (Column::Number(values), Cell::Number(value)) => values.push(*value),
            (Column::Text(values), Cell::Text(value)) => values.push(value.map(str::to_owned)),
            (_, cell) => panic!("{cell:?} is not what this column holds"),
        }
    }

    /// The values so far, leaving none.
    fn take(&mut self) -> Column {
        match self {
            Column::Count(values) => Column::Count(std::mem::take(values)),
            Column::Number(values) => Column::Number(std::mem::take(values)),
            Column::Text(values) => Column::Text(std::mem::take(values)),
        }
    }
}

fn csv_text(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Count(Some(value)) => value.to_string(),
        Cell::Number(Some(value)) => value.to_string(),
        Cell::Text(Some(text)) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
        Cell::Text(Some(text)) => (*text).to_owned(),
        Cell::Count(None) | Cell::Number(None) | Cell::Text(None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parquet::read;
    use super::*;

    const COLUMNS: &[(&str, Kind)] = &[("job", Kind::Count), ("wait_s", Kind::Number), ("outcome", Kind::Text)];

    #[derive(Clone, Default)]
    struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: Format, rows: u64) -> Vec<u8> {
        let shared = Shared::default();
        let mut table = Table::new(shared.clone(), "jobs".to_owned(), format, COLUMNS).unwrap();
        for row in 0..rows {
            let outcome = if row % 2 == 0 { Some("=1+1") } else { None };
            table.row(&[row.into(), (row as f64 / 4.0).into(), outcome.into()]);
        }
        assert_eq!(table.finish().unwrap(), rows);
        shared.0.lock().unwrap().clone()
    }

    #[test]
    fn parquet_comes_back_over_several_row_groups() {
        let rows = GROUP_ROWS as u64 + 3;
        let bytes = written(Format::Parquet, rows);
        let (columns, groups) = read(bytes).unwrap();
        assert_eq!((columns.len(), groups), (3, 2));
        let (Column::Count(job), Column::Number(wait_s), Column::Text(outcome)) =
            (&columns[0].1, &columns[1].1, &columns[2].1)
        else {
            panic!("{:?}", columns.iter().map(|(name, _)| name).collect::<Vec<_>>());
        };
        assert_eq!((job.len() as u64, job[65_537], wait_s[2]), (rows, Some(65_537), Some(0.5)));
        assert_eq!((outcome[0].as_deref(), outcome[1].as_deref()), (Some("=1+1"), None));
    }

    #[test]
    fn equal_tables_have_equal_bytes() {
        assert_eq!(written(Format::Parquet, 1_000), written(Format::Parquet, 1_000));
    }

    #[test]
    fn an_empty_table_is_a_table() {
        let (columns, groups) = read(written(Format::Parquet, 0)).unwrap();
        assert_eq!((columns.len(), groups), (3, 0));
    }

    #[test]
    fn csv_defuses_formulas_and_leaves_absent_values_empty() {
        let text = String::from_utf8(written(Format::Csv, 3)).unwrap();
        assert_eq!(text, "job,wait_s,outcome\n0,0,'=1+1\n1,0.25,\n2,0.5,'=1+1\n");
    }

    #[test]
    fn the_first_error_is_kept() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::other("disk full"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut table = Table::new(Full, "jobs.csv".to_owned(), Format::Csv, COLUMNS).unwrap();
        table.row(&[1_u64.into(), 0.5.into(), "COMPLETED".into()]);
        assert_eq!(table.finish().unwrap_err().to_string(), "jobs.csv: disk full");
    }
}
