//! One daemon per node: the pid file and its lock (cluster management §1.1).

use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_lock, ftruncate};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{process, thread};

/// The locked pid file of this process.
///
/// ```text
/// "8957\n"    a write lock on the whole file, classic fcntl
/// ```
///
/// The same lock as the original's, so that neither starts beside the other; a file without its
/// lock is a leftover and is taken over. The lock belongs to the process: it must be taken after
/// the last fork, and the process must never open this file again, for closing it would drop the
/// lock.
#[derive(Debug)]
pub struct PidFile {
    _locked: File,
    path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum PidFileFault {
    /// The pid is missing when the other one has not written it yet.
    #[error(
        "Failed to create PID file {path}: a daemon is running already{pid}",
        path = path.display(),
        pid = pid.map(|pid| format!(" with PID {pid}")).unwrap_or_default(),
    )]
    Running { path: PathBuf, pid: Option<u32> },
    #[error("Failed to create PID file {path}: {error}", path = path.display())]
    Sys { path: PathBuf, error: io::Error },
}

impl PidFile {
    /// The original's exit code for either fault.
    pub const EXIT_CODE: u8 = 11;

    /// Creates the file or takes over a leftover.
    ///
    /// # Errors
    ///
    /// See [`PidFileFault`].
    pub fn create(path: &Path) -> Result<Self, PidFileFault> {
        let fault = |error| PidFileFault::Sys { path: path.to_owned(), error };
        let until = Instant::now() + ENDING_TIME_MAX;
        loop {
            if let Some(file) = lock(path).map_err(fault)? {
                let text = format!("{}\n", process::id());
                (&file).write_all(text.as_bytes()).map_err(fault)?;
                ftruncate(&file, text.len() as u64).map_err(|e| fault(e.into()))?;
                return Ok(Self { _locked: file, path: path.to_owned() });
            }
            let pid = pid_in(path);
            if pid.is_some_and(is_running) || Instant::now() >= until {
                return Err(PidFileFault::Running { path: path.to_owned(), pid });
            }
            thread::sleep(RETRY_INTERVAL);
        }
    }
}

/// A process that was killed holds its locks until the last of its threads has ended, though its
/// pid is a zombie's, or nobody's, by then.
const ENDING_TIME_MAX: Duration = Duration::from_secs(2);
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

impl Drop for PidFile {
    /// A daemon that ends in order leaves no file behind. The name goes before the lock, so that
    /// nobody else's file can be meant.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The file, locked and still under its name. `None`: somebody else has the lock, or has just taken
/// the name away.
fn lock(path: &Path) -> io::Result<Option<File>> {
    // Not to hang where somebody put a pipe under that name.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let file: File = rustix::fs::open(path, flags, mode)?.into();
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::AGAIN | Errno::ACCESS) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    // A daemon that ended between the two calls has taken the name away: this lock would keep
    // nobody from starting.
    let (ours, named) = (file.metadata()?, fs::metadata(path));
    let is_named = named.is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino()));
    Ok(is_named.then_some(file))
}

/// Whether a process of that number exists and has not begun to end.
fn is_running(pid: u32) -> bool {
    // proc(5): "pid (name) state ...", and the name may hold anything.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

fn pid_in(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    /// Another process that holds the lock as the original does, until it is dropped.
    struct Other(Child);

    impl Other {
        fn lock(path: &Path, pid: &str) -> Self {
            let code = "import fcntl,os,sys\n\
                        f=os.open(sys.argv[1],os.O_RDWR|os.O_CREAT)\n\
                        fcntl.lockf(f,fcntl.LOCK_EX)\n\
                        os.write(f,sys.argv[2].encode())\n\
                        print(flush=True)\nsys.stdin.read()";
            let mut command = Command::new("python3");
            command.args(["-c", code]).arg(path).arg(pid);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().expect("python3 is installed with python3-tdb");
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line, "\n", "the lock is taken");
            Self(child)
        }
    }

    impl Drop for Other {
        fn drop(&mut self) {
            drop(self.0.stdin.take());
            let _ = self.0.wait();
        }
    }

    #[test]
    fn the_file_holds_the_pid_and_goes_with_the_process() {
        let scratch = Scratch::new();
        let path = scratch.path().join("pid");
        let pid_file = PidFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", process::id()));
        drop(pid_file);
        assert!(!path.exists());
    }

    #[test]
    fn a_leftover_is_taken_over() {
        let scratch = Scratch::new();
        let path = scratch.file("pid", "123456789012345\n");
        let _pid_file = PidFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", process::id()));
    }

    #[test]
    fn a_running_daemon_is_named_and_left_alone() {
        let scratch = Scratch::new();
        let path = scratch.path().join("pid");
        let pid = process::id();
        let other = Other::lock(&path, &format!("{pid}\n"));
        let fault = PidFile::create(&path).unwrap_err();
        assert!(matches!(fault, PidFileFault::Running { pid: Some(named), .. } if named == pid));
        let last = format!("a daemon is running already with PID {pid}");
        assert!(fault.to_string().ends_with(&last));
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{pid}\n"));
        drop(other);
        let _pid_file = PidFile::create(&path).unwrap();
    }

    #[test]
    fn a_daemon_whose_process_has_ended_is_waited_for() {
        let scratch = Scratch::new();
        let path = scratch.path().join("pid");
        // No process has that number, yet the lock is held: threads of a killed one end last.
        let other = Other::lock(&path, "2147483647\n");
        let ending = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            drop(other);
        });
        let _pid_file = PidFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", process::id()));
        ending.join().unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let fault = PidFile::create(Path::new("/nonexistent/ctdbd.pid")).unwrap_err();
        let text = fault.to_string();
        assert!(text.starts_with("Failed to create PID file /nonexistent/ctdbd.pid: "), "{text}");
    }
}
