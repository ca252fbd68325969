//! How deeply a file is nested, found without parsing it: the parser and the compiler call themselves once per level, so that a
//! file of ten thousand brackets would end the program instead of being refused.

use super::StarlarkError;
use super::limits::SOURCE_BYTES_MAX;

/// Levels of one expression: open brackets, and operators that stand between two commas. Far more than anybody reads.
const LEVELS_MAX: u32 = 200;
/// Spaces and tabs before a statement.
const INDENT_MAX: usize = 160;
/// Branches of one kind in a file.
const ELIF_MAX: u32 = 100;

/// Where in a text the scan is.
struct Outline<'a> {
    file: &'a str,
    line: u32,
    line_start: usize,
    /// Operators since the last comma, per open bracket.
    levels: Vec<u32>,
    elifs: u32,
}

/// Refuses what is too large or too deeply nested to be parsed.
///
/// # Errors
/// The place at which it becomes too much.
pub fn check(file: &str, text: &str) -> Result<(), StarlarkError> {
    if text.len() > SOURCE_BYTES_MAX {
        let message = format!("{} bytes, at most {SOURCE_BYTES_MAX} are read", text.len());
        return Err(StarlarkError::of_file(file, message));
    }
    nesting(file, text)
}

/// Refuses what is nested too deeply to be parsed, however long it is.
///
/// # Errors
/// The place at which it becomes too much.
pub(super) fn nesting(file: &str, text: &str) -> Result<(), StarlarkError> {
    let mut outline = Outline { file, line: 1, line_start: 0, levels: vec![0], elifs: 0 };
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        at = outline.step(bytes, at)?;
    }
    Ok(())
}

impl Outline<'_> {
    /// Looks at what begins at `at`; gives where the next thing begins.
    fn step(&mut self, bytes: &[u8], at: usize) -> Result<usize, StarlarkError> {
        match bytes[at] {
            b'\n' => {
                self.line += 1;
                self.line_start = at + 1;
                if self.levels.len() == 1 {
                    self.levels[0] = 0;
                }
                let indent = bytes[at + 1..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
                if indent > INDENT_MAX {
                    return Err(self.refuse(at + 1, format!("more than {INDENT_MAX} spaces before a statement")));
                }
                Ok(at + 1)
            }
            b'#' => Ok(at + bytes[at..].iter().take_while(|byte| **byte != b'\n').count()),
            quote @ (b'"' | b'\'') => Ok(self.text(bytes, at, quote)),
            b'(' | b'[' | b'{' => {
                self.levels.push(0);
                self.deep(at)
            }
            b')' | b']' | b'}' => {
                if self.levels.len() > 1 {
                    self.levels.pop();
                }
                Ok(at + 1)
            }
            b',' => {
                *self.top() = 0;
                Ok(at + 1)
            }
            byte if byte.is_ascii_alphanumeric() || byte == b'_' => self.word(bytes, at),
            byte if byte.is_ascii_punctuation() => {
                *self.top() += 1;
                self.deep(at)
            }
            _ => Ok(at + 1),
        }
    }

    fn top(&mut self) -> &mut u32 {
        self.levels.last_mut().expect("the outermost level is never closed")
    }

    fn deep(&self, at: usize) -> Result<usize, StarlarkError> {
        let levels = self.levels.iter().sum::<u32>() + self.levels.len() as u32;
        if levels > LEVELS_MAX {
            let message = format!("an expression of more than {LEVELS_MAX} operators and brackets: split it");
            return Err(self.refuse(at, message));
        }
        Ok(at + 1)
    }

    fn word(&mut self, bytes: &[u8], at: usize) -> Result<usize, StarlarkError> {
        let rest = &bytes[at..];
        let end = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        match &rest[..end] {
            b"not" | b"if" | b"else" | b"for" | b"in" | b"lambda" | b"and" | b"or" => {
                *self.top() += 1;
                self.deep(at)?;
            }
            b"elif" => {
                self.elifs += 1;
                if self.elifs > ELIF_MAX {
                    return Err(self.refuse(at, format!("more than {ELIF_MAX} times `elif`")));
                }
            }
            _ => {}
        }
        Ok(at + end)
    }

    /// The end of the text that begins at `at`: of one or three quotes, with `\` before what does not end it.
    fn text(&mut self, bytes: &[u8], at: usize, quote: u8) -> usize {
        let long = bytes[at..].starts_with(&[quote; 3]);
        let mut next = at + if long { 3 } else { 1 };
        while next < bytes.len() {
            match bytes[next] {
                b'\\' => next += 1,
                b'\n' if !long => return next,
                b'\n' => {
                    self.line += 1;
                    self.line_start = next + 1;
                }
                byte if byte == quote && !long => return next + 1,
                byte if byte == quote && bytes[next..].starts_with(&[quote; 3]) => return next + 3,
                _ => {}
            }
            next += 1;
        }
        bytes.len()
    }

    fn refuse(&self, at: usize, message: String) -> StarlarkError {
        let column = (at - self.line_start) as u32 + 1;
        StarlarkError { place: Some((self.line, column)), ..StarlarkError::of_file(self.file, message) }
    }
}
