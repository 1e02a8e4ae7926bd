//! Settings that name a file or, behind a `!`, a program (cluster management §1.4 and §2.9).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{self, Path, PathBuf};
use std::process::Command;

/// Value of `nodes list` and of `cluster lock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileOrCommand {
    /// Absolute.
    File(PathBuf),
    Command(CommandLine),
}

/// A program and its arguments, split at blanks and tabs. There is no quoting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    pub program: OsString,
    pub arguments: Vec<OsString>,
}

/// A `!` with nothing behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no program behind the \"!\"")]
pub struct NoProgram;

impl FileOrCommand {
    /// # Errors
    ///
    /// When a `!` has no program behind it.
    pub fn parse(text: &OsStr) -> Result<Self, NoProgram> {
        let Some(command) = text.as_bytes().strip_prefix(b"!") else {
            let path = Path::new(text);
            return Ok(Self::File(path::absolute(path).unwrap_or_else(|_| path.to_owned())));
        };
        let words = command.split(|byte| matches!(byte, b' ' | b'\t'));
        let mut words = words.filter(|word| !word.is_empty()).map(OsStr::from_bytes);
        let program = words.next().ok_or(NoProgram)?.to_owned();
        Ok(Self::Command(CommandLine { program, arguments: words.map(OsString::from).collect() }))
    }
}

impl CommandLine {
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_made_absolute() {
        assert_eq!(FileOrCommand::parse("/a b".as_ref()), Ok(FileOrCommand::File("/a b".into())));
        let FileOrCommand::File(path) = FileOrCommand::parse("x".as_ref()).unwrap() else {
            panic!("a path");
        };
        assert!(path.is_absolute());
    }

    #[test]
    fn a_command_is_split_at_blanks_without_quoting() {
        let FileOrCommand::Command(line) = FileOrCommand::parse("! /p  'a\tb'".as_ref()).unwrap()
        else {
            panic!("a command");
        };
        assert_eq!(line.program, "/p");
        assert_eq!(line.arguments, ["'a", "b'"]);
    }

    #[test]
    fn a_command_needs_a_program() {
        for text in ["!", "! ", "!\t"] {
            assert_eq!(FileOrCommand::parse(text.as_ref()), Err(NoProgram));
        }
    }
}
