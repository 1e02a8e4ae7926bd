//! What is wrong with a configuration file, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// One finding in a configuration file, shown as `/etc/ctdb/ctdb.conf:12: what is wrong`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    /// Counted from 1; `None` when the file as a whole is meant.
    pub line: Option<u32>,
    pub severity: Severity,
    pub text: String,
}

/// Whether the daemon can go on with what it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The original accepts it silently, so we accept it too, and say what we make of it.
    Warning,
    /// The daemon does not start.
    Error,
}

/// All findings of a start, in the order in which they were met.
///
/// The administrator wants to mend a file once, so nothing stops at the first mistake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    found: Vec<Problem>,
    left_out_count: usize,
}

/// A file whose findings are being collected.
#[derive(Debug)]
pub struct Complaints<'a> {
    file: &'a Path,
    problems: &'a mut Problems,
}

impl Problems {
    /// A file of garbage has a problem in every line; nobody reads more of them than this.
    pub const COUNT_MAX: usize = 200;

    pub fn about<'a>(&'a mut self, file: &'a Path) -> Complaints<'a> {
        Complaints { file, problems: self }
    }

    /// Adds a finding. Beyond [`Self::COUNT_MAX`] findings are counted only; an error takes the
    /// place of a warning then, so that the reason of a refusal is always among those shown.
    pub fn push(&mut self, problem: Problem) {
        if self.found.len() < Self::COUNT_MAX {
            self.found.push(problem);
            return;
        }
        self.left_out_count += 1;
        if problem.severity == Severity::Error && !self.has_errors() {
            self.found.pop();
            self.found.push(problem);
        }
    }

    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.found.iter().any(|problem| problem.severity == Severity::Error)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }

    /// Findings that were counted but not kept.
    #[must_use]
    pub fn left_out_count(&self) -> usize {
        self.left_out_count
    }
}

impl Complaints<'_> {
    pub fn error(&mut self, line: u32, text: impl Into<String>) {
        self.push(Some(line), Severity::Error, text.into());
    }

    pub fn warning(&mut self, line: u32, text: impl Into<String>) {
        self.push(Some(line), Severity::Warning, text.into());
    }

    pub fn error_of_file(&mut self, text: impl Into<String>) {
        self.push(None, Severity::Error, text.into());
    }

    pub fn warning_of_file(&mut self, text: impl Into<String>) {
        self.push(None, Severity::Warning, text.into());
    }

    #[must_use]
    pub fn file(&self) -> &Path {
        self.file
    }

    fn push(&mut self, line: Option<u32>, severity: Severity, text: String) {
        self.problems.push(Problem { file: self.file.to_owned(), line, severity, text });
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_file_and_line() {
        let mut problems = Problems::default();
        let mut complaints = problems.about(Path::new("/etc/ctdb/ctdb.conf"));
        complaints.error(12, "empty value");
        complaints.warning_of_file("not there");
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["/etc/ctdb/ctdb.conf:12: empty value", "/etc/ctdb/ctdb.conf: not there"]
        );
    }

    #[test]
    fn warnings_alone_are_no_error() {
        let mut problems = Problems::default();
        problems.about(Path::new("f")).warning(1, "w");
        assert!(!problems.has_errors());
        problems.about(Path::new("f")).error(2, "e");
        assert!(problems.has_errors());
    }

    #[test]
    fn a_file_of_garbage_costs_bounded_memory_and_still_shows_its_error() {
        let mut problems = Problems::default();
        let mut complaints = problems.about(Path::new("f"));
        for line in 0..1_000 {
            complaints.warning(line, "w");
        }
        complaints.error(1_000, "e");
        assert_eq!(problems.iter().count(), Problems::COUNT_MAX);
        assert_eq!(problems.left_out_count(), 801);
        assert!(problems.has_errors());
    }
}
