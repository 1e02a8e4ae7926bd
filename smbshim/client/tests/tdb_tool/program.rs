//! Running programs, and directories to run them in.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Goes with the test, also with one that fails.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("bateria-tool-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Names of all files in it, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a program did, as text.
#[derive(Debug)]
pub(crate) struct Done {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

pub(crate) fn bateria() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bateria"));
    command.arg("tdb").stdin(Stdio::null());
    command
}

/// `bateria tdb` with these arguments.
pub(crate) fn tdb(arguments: &[&dyn AsRef<OsStr>]) -> Done {
    run(&mut bateria(), arguments)
}

/// One of the original tools.
pub(crate) fn original(name: &str, arguments: &[&dyn AsRef<OsStr>]) -> Done {
    run(Command::new(name).stdin(Stdio::null()), arguments)
}

pub(crate) fn run(command: &mut Command, arguments: &[&dyn AsRef<OsStr>]) -> Done {
    command.args(arguments.iter().map(AsRef::as_ref)).output().unwrap().into()
}

/// Runs with `input` on standard input.
pub(crate) fn feed(command: &mut Command, input: &[u8]) -> Done {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that has seen enough does not read the rest.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap().into()
}
