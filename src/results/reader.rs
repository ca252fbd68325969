//! Tables read back from Parquet, column by column.

use std::fs::File;
use std::path::Path;

use polars::prelude::{DataType, ParquetReader, PolarsError, SerReader};

use super::tables::OutputError;

/// The values of a column, `None` where there is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Whole numbers.
    Count(Vec<Option<u64>>),
    /// Numbers.
    Number(Vec<Option<f64>>),
    /// Texts.
    Text(Vec<Option<String>>),
}

/// A table in memory: names and columns, in the order of the file.
pub type Columns = Vec<(String, Column)>;

/// Reads the table at `path`.
///
/// # Errors
/// If it cannot be opened, is not Parquet, or has a column that is neither a count, a number nor a text.
pub fn parquet(path: &Path) -> Result<Columns, OutputError> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|error| OutputError::Io { path: shown.clone(), error })?;
    columns(file).map_err(|error| OutputError::Parquet { path: shown, error })
}

fn columns(file: File) -> Result<Columns, PolarsError> {
    let frame = ParquetReader::new(file).finish()?;
    let mut all = Vec::with_capacity(frame.width());
    for column in frame.columns() {
        let values = match column.dtype() {
            DataType::UInt64 => Column::Count(column.u64()?.iter().collect()),
            DataType::String => Column::Text(column.str()?.iter().map(|text| text.map(str::to_owned)).collect()),
            _ => Column::Number(column.f64()?.iter().collect()),
        };
        all.push((column.name().to_string(), values));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Format;
    use crate::results::tables::{Cell, Kind, Table};

    #[test]
    fn a_table_comes_back_as_it_was() {
        let path = std::env::temp_dir().join(format!("thermocline-reader-{}.parquet", std::process::id()));
        let columns = [("seed", Kind::Count), ("usd", Kind::Number), ("policy", Kind::Text)];
        let names = columns.map(|(name, kind)| (name.to_owned(), kind)).to_vec();
        let file = File::create(&path).unwrap();
        let mut table = Table::with_columns(file, path.display().to_string(), Format::Parquet, names).unwrap();
        table.row(&[7_u64.into(), 0.1.into(), "a".into()]);
        table.row(&[8_u64.into(), Cell::Number(None), Cell::Text(None)]);
        table.finish().unwrap();
        let expected = vec![
            ("seed".to_owned(), Column::Count(vec![Some(7), Some(8)])),
            ("usd".to_owned(), Column::Number(vec![Some(0.1), None])),
            ("policy".to_owned(), Column::Text(vec![Some("a".to_owned()), None])),
        ];
        assert_eq!(parquet(&path).unwrap(), expected);
        std::fs::write(&path, "PAR1 but not really").unwrap();
        assert!(parquet(&path).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
