//! Text files read line by line in bounded memory, plain or gzipped, and lines split into fields.
//!
//! In: a path. Out: lines without their ends, and errors that know line and column. A line is bounded before it is looked at,
//! so that a file without line ends, or a small gzip file that unpacks to terabytes, costs no more than any other.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::error::FileError;

/// Longest line that is read, in bytes.
pub const LINE_MAX: usize = 1 << 20;

/// A text file, one line at a time.
pub struct Lines {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    gzip: bool,
    line: Vec<u8>,
    number: u64,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("path", &self.path).field("number", &self.number).finish_non_exhaustive()
    }
}

impl Lines {
    /// Opens a regular file; gzip is recognised by its content.
    ///
    /// # Errors
    /// If there is no such file, it is a directory, a pipe or a device, or it cannot be read.
    pub fn open(path: &Path) -> Result<Lines, FileError> {
        // Looked at before it is opened: opening a pipe would wait for a writer.
        let metadata = std::fs::metadata(path).map_err(|error| cannot("open", path, &error))?;
        if !metadata.is_file() {
            let kind = if metadata.is_dir() { "is a directory" } else { "is a pipe or a device" };
            return Err(FileError::new(path, kind).help("give a regular .csv or .csv.gz file, which can be read twice"));
        }
        let mut input =
            BufReader::with_capacity(1 << 16, File::open(path).map_err(|error| cannot("open", path, &error))?);
        let start = input.fill_buf().map_err(|error| cannot("read", path, &error))?;
        let gzip = start.starts_with(&[0x1F, 0x8B]);
        let input: Box<dyn BufRead + Send> = if gzip {
            Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(input)))
        } else {
            Box::new(input)
        };
        Ok(Lines { path: path.to_owned(), input, gzip, line: Vec::new(), number: 0 })
    }

    /// Goes to the next line that is not empty; false at the end of the file.
    ///
    /// # Errors
    /// If the file cannot be read further, a line is too long, or a gzip stream is damaged or cut short.
    pub fn advance(&mut self) -> Result<bool, FileError> {
        loop {
            self.line.clear();
            self.number += 1;
            let limit = LINE_MAX as u64 + 2;
            let read = self.input.by_ref().take(limit).read_until(b'\n', &mut self.line);
            if read.map_err(|error| self.unreadable(&error))? == 0 {
                return Ok(false);
            }
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
            }
            if self.line.last() == Some(&b'\r') {
                self.line.pop();
            }
            if self.line.len() > LINE_MAX {
                let what = format!("the line is longer than {LINE_MAX} bytes");
                return Err(self.error(what).found(&self.line).help("is this a text file with one row per line?"));
            }
            if self.number == 1 {
                self.check_encoding()?;
            }
            if !self.line.is_empty() {
                return Ok(true);
            }
        }
    }

    /// The line, without its end.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// Its number, counted from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Where the lines come from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error about the whole line.
    pub fn error(&self, what: impl Into<String>) -> FileError {
        FileError::new(&self.path, what).at(self.number, 0)
    }

    /// An error about a field of the line.
    pub fn field_error(&self, field: &Field, what: impl Into<String>) -> FileError {
        let before = String::from_utf8_lossy(&self.line[..field.start]).chars().count() as u64;
        FileError::new(&self.path, what).at(self.number, before + 1).found(&field.text(&self.line))
    }

    /// Splits the line at `,`; a field may stand in double quotes, a doubled quote then means one.
    ///
    /// # Errors
    /// If a quote is not closed on the line or is followed by more text, or there are more than `most` fields.
    pub fn split(&self, most: usize, fields: &mut Vec<Field>) -> Result<(), FileError> {
        fields.clear();
        let mut start = 0;
        loop {
            if fields.len() == most {
                return Err(self.error(format!("more than {most} columns")).found(&self.line));
            }
            let field = self.field(start)?;
            let end = field.end + usize::from(field.quoted);
            fields.push(field);
            match self.line.get(end) {
                None => return Ok(()),
                Some(_) => start = end + 1,
            }
        }
    }

    fn field(&self, start: usize) -> Result<Field, FileError> {
        let rest = &self.line[start..];
        if rest.first() != Some(&b'"') {
            let length = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
            return Ok(Field { start, end: start + length, quoted: false });
        }
        let whole = Field { start, end: self.line.len(), quoted: false };
        let mut end = 1;
        loop {
            match rest[end..].iter().position(|byte| *byte == b'"') {
                None => {
                    let error = self.field_error(&whole, "a quote is not closed on its line");
                    return Err(error.help("line breaks inside a field are not supported"));
                }
                Some(length) => end += length,
            }
            match rest.get(end + 1) {
                None | Some(b',') => return Ok(Field { start: start + 1, end: start + end, quoted: true }),
                Some(b'"') => end += 2,
                Some(_) => return Err(self.field_error(&whole, "a closing quote is followed by more text")),
            }
        }
    }

    fn check_encoding(&mut self) -> Result<(), FileError> {
        if self.line.starts_with(&[0xFF, 0xFE]) || self.line.starts_with(&[0xFE, 0xFF]) {
            return Err(self.error("the file is UTF-16").help("save it as UTF-8"));
        }
        if self.line.starts_with(b"\xEF\xBB\xBF") {
            self.line.drain(..3);
        }
        Ok(())
    }

    fn unreadable(&self, error: &io::Error) -> FileError {
        let at = |error: FileError| error.at(self.number, 0);
        if !self.gzip {
            return at(cannot("read", &self.path, error));
        }
        let what = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the gzip file is cut short in this line".to_owned(),
            _ => format!("the gzip file is damaged in this line ({error})"),
        };
        at(FileError::new(&self.path, what).help("copy or download it again; `gzip -t FILE` tests it"))
    }
}

/// A field of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    start: usize,
    end: usize,
    quoted: bool,
}

impl Field {
    /// Its text within `line`, without quotes and surrounding blanks.
    pub fn text<'a>(&self, line: &'a [u8]) -> Cow<'a, [u8]> {
        let text = &line[self.start..self.end];
        if !self.quoted {
            return Cow::Borrowed(text.trim_ascii());
        }
        if !text.contains(&b'"') {
            return Cow::Borrowed(text);
        }
        let mut plain = Vec::with_capacity(text.len());
        let mut bytes = text.iter();
        while let Some(&byte) = bytes.next() {
            plain.push(byte);
            if byte == b'"' {
                // The second of a doubled quote.
                bytes.next();
            }
        }
        Cow::Owned(plain)
    }
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> FileError {
    FileError::new(path, format!("cannot {verb} the file ({error})"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::workload::testing::TempFile;

    fn lines_of(content: &[u8]) -> Result<Vec<String>, FileError> {
        let file = TempFile::new(content);
        let mut lines = Lines::open(file.path())?;
        let mut all = Vec::new();
        while lines.advance()? {
            all.push(format!("{} {}", lines.number(), String::from_utf8_lossy(lines.line())));
        }
        Ok(all)
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn split(line: &str) -> Result<Vec<String>, FileError> {
        let file = TempFile::new(line.as_bytes());
        let mut lines = Lines::open(file.path())?;
        lines.advance()?;
        let mut fields = Vec::new();
        lines.split(4, &mut fields)?;
        Ok(fields.iter().map(|field| String::from_utf8_lossy(&field.text(lines.line())).into_owned()).collect())
    }

    #[test]
    fn line_ends_marks_and_blank_lines_are_taken_away() {
        assert_eq!(lines_of(b"\xEF\xBB\xBFa,b\r\n\r\n1,2\n\n3").unwrap(), ["1 a,b", "3 1,2", "5 3"]);
        assert_eq!(lines_of(b"").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn gzip_is_recognised_by_content_even_in_several_members() {
        let twice = [gzip(b"a\nb\n"), gzip(b"c\n")].concat();
        assert_eq!(lines_of(&twice).unwrap(), ["1 a", "2 b", "3 c"]);
    }

    #[test]
    fn damaged_gzip_files_say_so() {
        let whole = gzip("a,b\n".repeat(1_000).as_bytes());
        let cut = lines_of(&whole[..whole.len() - 6]).unwrap_err().to_string();
        assert!(cut.contains("cut short") && cut.contains("gzip -t"), "{cut}");
        let mut damaged = whole;
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0xFF;
        let damaged = lines_of(&damaged).unwrap_err().to_string();
        assert!(damaged.contains("damaged") || damaged.contains("cut short"), "{damaged}");
    }

    #[test]
    fn a_line_has_a_longest_length() {
        let longest = vec![b'x'; LINE_MAX];
        assert_eq!(lines_of(&[&longest[..], b"\r\nb\n"].concat()).unwrap().len(), 2);
        // Zeros compress a thousandfold: a bomb is stopped at the first megabyte.
        let error = lines_of(&gzip(&vec![0; 64 * LINE_MAX])).unwrap_err().to_string();
        assert!(error.contains(":1: the line is longer than 1048576 bytes") && error.len() < 600, "{error}");
    }

    #[test]
    fn only_regular_files_are_opened() {
        let directory = Lines::open(&std::env::temp_dir()).unwrap_err().to_string();
        assert!(directory.contains("is a directory"), "{directory}");
        let device = Lines::open(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(device.contains("is a pipe or a device"), "{device}");
        let absent = Lines::open(Path::new("no/such/file.csv")).unwrap_err().to_string();
        assert!(absent.starts_with("no/such/file.csv: cannot open the file (No such file"), "{absent}");
        let utf16 = lines_of(b"\xFF\xFEa\0,\0").unwrap_err().to_string();
        assert!(utf16.contains("UTF-16") && utf16.contains("save it as UTF-8"), "{utf16}");
    }

    #[test]
    fn quoted_fields_may_hold_commas_and_quotes() {
        assert_eq!(split("a, b ,").unwrap(), ["a", "b", ""]);
        assert_eq!(split(r#""a,b","say ""hi""",c"#).unwrap(), ["a,b", r#"say "hi""#, "c"]);
        assert_eq!(split(r#"a,"""#).unwrap(), ["a", ""]);
    }

    #[test]
    fn broken_quotes_and_too_many_columns_have_a_place() {
        let open = split("ä,\"b").unwrap_err();
        assert_eq!((open.line(), open.column()), (1, 3));
        assert!(open.to_string().contains("not closed"));
        assert!(split(r#"a,"b"c"#).unwrap_err().to_string().contains("followed by more text"));
        assert!(split("1,2,3,4,5").unwrap_err().to_string().contains("more than 4 columns"));
    }
}
