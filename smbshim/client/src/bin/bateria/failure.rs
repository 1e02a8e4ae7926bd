//! Why a command could not do its work: what, where, by which rule, and what to do next.

use crate::colours::{Colours, Role};
use bateria_tdb::{TdbError, TransferError};
use serde::Serialize;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A failed command.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Failure {
    /// The whole message, with file and offset where there are any.
    message: String,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lossy")]
    file: Option<PathBuf>,
    /// Logical offset in the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u32>,
    /// The rule that was broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'static str>,
    /// A command, or a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_step: Option<String>,
    #[serde(skip)]
    kind: Kind,
    /// The file was read and not taken for a database, with this `errno`.
    #[serde(skip)]
    refused: Option<i32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// The work failed, or the file is damaged.
    #[default]
    Work,
    /// The command line asks for what cannot be, or the file cannot be opened.
    Request,
    /// Whoever read our output has gone: nothing to say.
    ClosedPipe,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// What was asked for cannot be.
    pub(crate) fn of_request(message: impl Into<String>) -> Self {
        Self { kind: Kind::Request, ..Self::new(message) }
    }

    pub(crate) fn next_step(mut self, step: impl Into<String>) -> Self {
        self.next_step = Some(step.into());
        self
    }

    /// A file that cannot be opened. Damage that shows at open is damage all the same.
    pub(crate) fn of_open(path: &Path, error: TdbError) -> Self {
        let step = match &error {
            TdbError::Sys { errno, .. } => step_for_errno(*errno).map(str::to_owned),
            TdbError::Refused { .. } => Some(format!(
                "if it was a database: {}, or put a backup in its place",
                rescue(path)
            )),
            error if error.is_damage() => Some(rescue(path)),
            _ => None,
        };
        let damaged = error.is_damage();
        let mut failure = Self::of_tdb(path, error);
        failure.kind = if damaged { Kind::Work } else { Kind::Request };
        failure.next_step = step;
        failure
    }

    /// An operation on an open database that failed.
    pub(crate) fn of_tdb(path: &Path, error: TdbError) -> Self {
        let (offset, rule) = match &error {
            TdbError::Corrupt { offset, rule, .. } => (Some(*offset), Some(*rule)),
            TdbError::OutOfRange { offset, .. } => (Some(*offset), Some("reaches beyond the end")),
            TdbError::Refused { offset, rule, .. } => (*offset, Some(*rule)),
            TdbError::Lock { rule, .. }
            | TdbError::OutOfSpace { rule, .. }
            | TdbError::Invalid { rule, .. } => (None, Some(*rule)),
            _ => (None, None),
        };
        let step = match &error {
            TdbError::OutOfSpace { .. } => Some("free some space".to_owned()),
            TdbError::Sys { errno, .. } => step_for_errno(*errno).map(str::to_owned),
            error if error.is_damage() => Some(format!("bateria tdb check {}", quoted(path))),
            _ => None,
        };
        let refused = match &error {
            TdbError::Refused { errno, .. } => Some(*errno),
            _ => None,
        };
        Self {
            message: error.to_string(),
            file: Some(path.to_owned()),
            offset,
            rule,
            next_step: step,
            kind: Kind::Work,
            refused,
        }
    }

    /// The same on a new file that has another name until it is finished: a name that says nothing to
    /// anybody.
    pub(crate) fn of_new_file(target: &Path, unfinished: &Path, error: TdbError) -> Self {
        let mut failure = Self::of_tdb(target, error);
        let (for_now, for_good) = (unfinished.display().to_string(), target.display().to_string());
        failure.message = failure.message.replace(&for_now, &for_good);
        failure
    }

    /// A transfer between the database at `path` and standard output.
    pub(crate) fn of_transfer_out(path: &Path, error: TransferError) -> Self {
        match error {
            TransferError::Database(error) => Self::of_tdb(path, error),
            TransferError::Stream(error) => Self::of_output(error),
            other => Self::of_file(path, &other),
        }
    }

    /// Standard output.
    pub(crate) fn of_output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { kind: Kind::ClosedPipe, ..Self::default() };
        }
        let step = error.raw_os_error().and_then(step_for_errno).map(str::to_owned);
        Self { next_step: step, ..Self::new(format!("standard output: {error}")) }
    }

    /// Anything about one file.
    pub(crate) fn of_file(path: &Path, error: &dyn fmt::Display) -> Self {
        let message = format!("{}: {error}", path.display());
        Self { file: Some(path.to_owned()), ..Self::new(message) }
    }

    /// A system call about one file.
    pub(crate) fn of_io(path: &Path, error: &io::Error) -> Self {
        let step = error.raw_os_error().and_then(step_for_errno).map(str::to_owned);
        Self { next_step: step, ..Self::of_file(path, error) }
    }

    /// The same, as a failure of the work.
    pub(crate) fn blame_work(mut self) -> Self {
        self.kind = if self.is_closed_pipe() { self.kind } else { Kind::Work };
        self
    }

    /// The same, as the fault of the command line.
    pub(crate) fn blame_request(mut self) -> Self {
        self.kind = Kind::Request;
        self
    }

    /// Where the file is damaged and by which rule, if that is why it cannot be opened.
    pub(crate) fn damage(&self) -> Option<(u32, &'static str)> {
        self.offset.zip(self.rule).filter(|_| self.kind == Kind::Work)
    }

    /// The rule that was broken, and where, as far as that is known.
    pub(crate) fn broken_rule(&self) -> (Option<u32>, Option<&'static str>) {
        (self.offset, self.rule)
    }

    /// The file can be read, but not opened: it may still have records in it.
    pub(crate) fn leaves_records(&self) -> bool {
        self.refused.is_some() || self.damage().is_some()
    }

    /// The `errno` with which the content of a file was refused.
    pub(crate) fn refused(&self) -> Option<i32> {
        self.refused
    }

    pub(crate) fn is_closed_pipe(&self) -> bool {
        self.kind == Kind::ClosedPipe
    }

    /// Says what happened, on standard error and, for programs, on standard output; returns the
    /// exit code.
    pub(crate) fn report(self, json: bool) -> ExitCode {
        if self.kind == Kind::ClosedPipe {
            return crate::standard_output::end_by_closed_pipe();
        }
        self.tell(json);
        ExitCode::from(self.exit_code())
    }

    pub(crate) fn exit_code(&self) -> u8 {
        if self.kind == Kind::Request { 2 } else { 1 }
    }

    pub(crate) fn tell(&self, json: bool) {
        let colours = Colours::of_stderr();
        eprintln!("{} {}", colours.paint(Role::Bad, "error:"), self.message);
        if let Some(step) = &self.next_step {
            eprintln!("{} {step}", colours.paint(Role::Hint, "next:"));
        }
        if json {
            // Nothing more can be done if even this fails.
            let _ = crate::standard_output::print_json(&serde_json::json!({ "error": self }));
        }
    }
}

/// How to go on when a file is damaged beyond mending.
pub(crate) fn rescue(path: &Path) -> String {
    let mut name = path.as_os_str().to_owned();
    name.push(".rescued");
    format!("bateria tdb rescue {} {}", quoted(path), quoted(Path::new(&name)))
}

/// A file name as a shell takes it.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./,:@%+=".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn step_for_errno(errno: i32) -> Option<&'static str> {
    use rustix::io::Errno;
    match Errno::from_raw_os_error(errno) {
        Errno::NOENT | Errno::NOTDIR => Some("check the name"),
        Errno::ACCESS | Errno::PERM => Some("run as the owner of the file, or as root"),
        Errno::NOSPC | Errno::DQUOT => Some("free some space"),
        Errno::ROFS => Some("the file system is read-only: try on a copy, or with --no-lock"),
        Errno::ISDIR => Some("name a file"),
        _ => None,
    }
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn lossy<S: serde::Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_some(&path.as_ref().map(|path| path.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn names_are_quoted_for_a_shell() {
        assert_eq!(quoted(Path::new("/var/lib/a-1.tdb")), "/var/lib/a-1.tdb");
        assert_eq!(quoted(Path::new("a b")), "'a b'");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
        assert_eq!(quoted(Path::new("")), "''");
    }

    #[test]
    fn damage_names_file_offset_rule_and_next_step() {
        let path = Path::new("x.tdb");
        let error =
            TdbError::Corrupt { path: Arc::from(path), offset: 172, rule: "this is no record" };
        let failure = Failure::of_tdb(path, error);
        assert_eq!(failure.exit_code(), 1);
        let json = serde_json::to_value(&failure).unwrap();
        assert_eq!(json["file"], "x.tdb");
        assert_eq!(json["offset"], 172);
        assert_eq!(json["rule"], "this is no record");
        assert_eq!(json["next_step"], "bateria tdb check x.tdb");
        assert_eq!(json["message"], "x.tdb: offset 0xac: this is no record");
    }

    #[test]
    fn a_missing_file_is_the_fault_of_the_request() {
        let path = Path::new("x.tdb");
        let error = TdbError::Sys { path: Arc::from(path), call: "open", errno: 2 };
        let failure = Failure::of_open(path, error);
        assert_eq!(failure.exit_code(), 2);
        assert_eq!(failure.next_step.as_deref(), Some("check the name"));
    }
}
