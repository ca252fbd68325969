//! What is wrong with a policy's file, or went wrong in it: place, offending text, and a sentence.

use std::fmt;

use starlark::codemap::Span;
use starlark::syntax::AstModule;

/// Longest piece of the file that a message quotes, in characters.
const EXCERPT_MAX: usize = 60;
/// Longest sentence, in characters: the evaluator quotes values at any length.
const MESSAGE_MAX: usize = 400;

/// A mistake in a policy's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StarlarkError {
    /// Name of the file.
    pub file: String,
    /// Line and column from 1, where it is about a place.
    pub place: Option<(u32, u32)>,
    /// The offending text; empty if it is about the whole file.
    pub excerpt: String,
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl StarlarkError {
    /// About the whole file.
    pub fn of_file(file: &str, message: impl Into<String>) -> StarlarkError {
        StarlarkError { file: file.to_owned(), place: None, excerpt: String::new(), message: shortened(message.into()) }
    }

    /// About `span` of a parsed file.
    pub(super) fn at(ast: &AstModule, span: Span, message: impl Into<String>) -> StarlarkError {
        let place = ast.file_span(span);
        let at = place.resolve_span().begin;
        StarlarkError {
            file: place.filename().to_owned(),
            place: Some((at.line as u32 + 1, at.column as u32 + 1)),
            excerpt: excerpt(place.source_span()),
            message: shortened(message.into()),
        }
    }

    /// What the parser or the evaluator says.
    pub(super) fn of_evaluator(file: &str, error: &starlark::Error) -> StarlarkError {
        let mut message = error.without_diagnostic().to_string();
        if message.contains("ticks has been exceeded") || message.contains("Heap memory limit") {
            message = super::limits::TOO_MUCH.to_owned();
        } else if matches!(error.kind(), starlark::ErrorKind::StackOverflow(_)) {
            message = format!("functions call each other more than {} deep", super::limits::CALLS_DEEP_MAX);
        }
        let mut found = StarlarkError::of_file(file, message);
        if let Some(span) = error.span() {
            let at = span.resolve_span().begin;
            found.place = Some((at.line as u32 + 1, at.column as u32 + 1));
            found.excerpt = excerpt(span.source_span());
        }
        found
    }

    /// The place as `file:line:column`, or the file alone.
    pub fn place(&self) -> String {
        match self.place {
            Some((line, column)) => format!("{}:{line}:{column}", self.file),
            None => self.file.clone(),
        }
    }

    /// The message with the offending text, without the place.
    pub fn what(&self) -> String {
        if self.excerpt.is_empty() { self.message.clone() } else { format!("{}: `{}`", self.message, self.excerpt) }
    }
}

impl fmt::Display for StarlarkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.what())
    }
}

impl std::error::Error for StarlarkError {}

/// The first line of a piece of the file, cut to a length that fits a message.
pub(super) fn excerpt(text: &str) -> String {
    let mut lines = text.trim().lines();
    let first = lines.next().unwrap_or_default().trim_end();
    let cut: String = first.chars().map(|c| if c.is_control() { ' ' } else { c }).take(EXCERPT_MAX).collect();
    let more = lines.next().is_some() || cut.chars().count() < first.chars().count();
    if more { format!("{cut} ...") } else { cut }
}

fn shortened(message: String) -> String {
    let line = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(MESSAGE_MAX) {
        Some((at, _)) => format!("{} ...", &line[..at]),
        None => line,
    }
}
