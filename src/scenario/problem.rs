//! What is wrong with an application file, said so that it can be put right: place, field, what was found, what is allowed, a fix.

use std::fmt;

/// Most problems that are reported of one load; a file that is wrong throughout is better reread than listed.
pub const MOST: usize = 20;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `file:line:column`, or the `--set` it comes from; the file alone when there is no line.
    pub place: String,
    /// Field, such as `endpoints.sdxl.workers.max`; empty when it is about the whole file.
    pub path: String,
    /// What was found.
    pub found: String,
    /// What is allowed; may be empty.
    pub allowed: String,
    /// How to put it right; may be empty.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.found)?;
        if !self.allowed.is_empty() {
            write!(f, "; allowed: {}", self.allowed)?;
        }
        if !self.fix.is_empty() {
            write!(f, "; {}", self.fix)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a file, at most [`MOST`] of it listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    listed: Vec<Problem>,
    more: usize,
}

impl Problems {
    /// Adds one; beyond [`MOST`] they are only counted. The same mistake at the same place is listed once.
    pub fn push(&mut self, problem: Problem) {
        if self.listed.contains(&problem) {
            return;
        }
        if self.listed.len() < MOST {
            self.listed.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// Those listed, in the order in which they were found.
    pub fn listed(&self) -> &[Problem] {
        &self.listed
    }

    /// How many more there are.
    pub fn more(&self) -> usize {
        self.more
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// `Err` with the problems if there are any.
    pub fn check(self) -> Result<(), Problems> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems { listed: vec![problem], more: 0 }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.listed.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// "did you mean `x`?" when one of `known` is close to `typed`, else the list of what there is.
pub fn suggestion<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let lower = typed.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&lower, &name.to_lowercase());
    let (distance, name) = known.into_iter().map(|name| (distance(name), name)).min()?;
    // A third of the letters may differ, but never so many that the suggestion has nothing to do with what was typed.
    (distance <= 1.max(typed.chars().count() / 3).min(4)).then(|| format!("did you mean `{name}`?"))
}
