//! Tables read back from Parquet, column by column.

use std::path::Path;

use super::parquet;
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
pub fn table(path: &Path) -> Result<Columns, OutputError> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| OutputError::Io { path: shown.clone(), error })?;
    let read = parquet::read(bytes).map_err(|error| OutputError::Parquet { path: shown, error });
    Ok(read?.0)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::results::Format;
    use crate::results::tables::{Cell, Kind, Table};

    #[test]
    fn a_table_comes_back_as_it_was() {
        let path = std::env::temp_dir().join(format!("thermocline-reader-{}.parquet", std::process::id()));
        let columns = [("seed", Kind::Count), ("usd", Kind::Number), ("policy", Kind::Text)];
        let names = columns.map(|(name, kind)| (name.to_owned(), kind)).to_vec();
        let file = File::create(&path).unwrap();
        let mut written = Table::with_columns(file, path.display().to_string(), Format::Parquet, names).unwrap();
        written.row(&[7_u64.into(), 0.1.into(), "a".into()]);
        written.row(&[8_u64.into(), Cell::Number(None), Cell::Text(None)]);
        written.finish().unwrap();
        let expected = vec![
            ("seed".to_owned(), Column::Count(vec![Some(7), Some(8)])),
            ("usd".to_owned(), Column::Number(vec![Some(0.1), None])),
            ("policy".to_owned(), Column::Text(vec![Some("a".to_owned()), None])),
        ];
        assert_eq!(table(&path).unwrap(), expected);
        std::fs::write(&path, "PAR1 but not really").unwrap();
        assert!(table(&path).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
