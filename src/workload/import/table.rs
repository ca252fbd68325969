//! A CSV file of somebody else's: columns found by name, fields read with a place for every mistake.

use std::borrow::Cow;
use std::path::Path;

use crate::workload::error::FileError;
use crate::workload::lines::{Field, Lines};

/// Functions 2019 has 1,444 columns.
const COLUMNS_MAX: usize = 2_000;

/// A table that is read row by row; columns that nobody asks for are ignored.
#[derive(Debug)]
pub struct Table {
    lines: Lines,
    names: &'static [&'static str],
    places: Vec<Option<usize>>,
    width: usize,
    fields: Vec<Field>,
}

impl Table {
    /// Opens a table and looks for `names` in its header; the first `required` of them must be there.
    ///
    /// # Errors
    /// If the file cannot be read, is empty or lacks a column.
    pub fn open(path: &Path, names: &'static [&'static str], required: usize) -> Result<Table, FileError> {
        let mut lines = Lines::open(path)?;
        if !lines.advance()? {
            return Err(FileError::new(path, "the file is empty").help(format!("expected columns {}", names.join(","))));
        }
        let mut fields = Vec::new();
        lines.split(COLUMNS_MAX, &mut fields)?;
        let place = |name: &&str| fields.iter().position(|field| *field.text(lines.line()) == *name.as_bytes());
        let places: Vec<Option<usize>> = names.iter().map(place).collect();
        if let Some(missing) = (0..required).find(|column| places[*column].is_none()) {
            let error = lines.error(format!("column {} is missing", names[missing])).found(lines.line());
            let needed = names[..required].join(",");
            return Err(error.help(format!("this format has the columns {needed}; is --format right?")));
        }
        Ok(Table { lines, names, places, width: fields.len(), fields })
    }

    /// Whether the file has this column.
    pub fn has(&self, column: usize) -> bool {
        self.places[column].is_some()
    }

    /// Goes to the next row; false at the end.
    ///
    /// # Errors
    /// If the file cannot be read further, or the row is not as wide as the header.
    pub fn advance(&mut self) -> Result<bool, FileError> {
        if !self.lines.advance()? {
            return Ok(false);
        }
        self.lines.split(COLUMNS_MAX, &mut self.fields)?;
        if self.fields.len() == self.width {
            return Ok(true);
        }
        let what = format!("the row has {} columns, the header {}", self.fields.len(), self.width);
        Err(self.lines.error(what).found(self.lines.line()))
    }

    /// The text of a column; empty if the file does not have it.
    pub fn text(&self, column: usize) -> Cow<'_, [u8]> {
        self.places[column].map_or(Cow::Borrowed(b""), |place| self.fields[place].text(self.lines.line()))
    }

    /// The text of a column as a name.
    ///
    /// # Errors
    /// If it is empty, not UTF-8, or holds control characters.
    pub fn name(&self, column: usize) -> Result<String, FileError> {
        let text = self.text(column);
        match std::str::from_utf8(&text) {
            Ok(name) if !name.is_empty() && !name.chars().any(char::is_control) => Ok(name.to_owned()),
            _ => Err(self.error(column, "is empty or not plain text")),
        }
    }

    /// A finite number that is not negative.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn number(&self, column: usize) -> Result<f64, FileError> {
        let text = self.text(column);
        let number: Option<f64> = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
        match number {
            Some(number) if number.is_finite() && number >= 0.0 => Ok(number),
            _ => Err(self.error(column, "is not a number of at least 0")),
        }
    }

    /// A whole number; one written as `12.0` is one too.
    ///
    /// # Errors
    /// If it is anything else, or larger than 32 bits hold.
    pub fn count(&self, column: usize) -> Result<u32, FileError> {
        let number = self.number(column)?;
        if number.fract() == 0.0 && number <= f64::from(u32::MAX) {
            return Ok(number as u32);
        }
        Err(self.error(column, "is not a whole number that fits 32 bits"))
    }

    /// An error about a column of the present row.
    pub fn error(&self, column: usize, what: &str) -> FileError {
        let what = format!("{} {what}", self.names[column]);
        match self.places[column] {
            Some(place) => self.lines.field_error(&self.fields[place], what),
            None => self.lines.error(what),
        }
    }
}
