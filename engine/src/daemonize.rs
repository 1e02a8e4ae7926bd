//! Becoming a daemon, and telling the caller how it went.
//!
//! ```text
//! caller ---fork---> daemon
//!   |                  |  session, directory, standard descriptors
//!   |   <--- pipe ---  |  ready, or exit code and reason
//! exit
//! ```
//!
//! The original's caller returns before the daemon has looked at its pid file, so a service
//! manager takes every start for a success. Ours returns when the socket accepts.
//!
//! Here is the engine's only `unsafe`: `fork`, and what runs between `fork` and `exec`.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::process::{Pid, Signal, WaitOptions};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Which of the two processes goes on here.
#[derive(Debug)]
pub enum Side {
    /// The one that was started: it ends with this.
    Caller(Outcome),
    /// The new one.
    Daemon(Readiness),
}

/// How the start went, as the caller learned it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub exit_code: u8,
    /// For stderr; empty after a success.
    pub text: String,
}

/// Whether the daemon gets a session of its own. In test mode the original stays in its caller's,
/// and keeps its standard input, so that a test harness can end all of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    New,
    Inherited,
}

/// The daemon's duty to report. Dropped without a word it reports a failure.
#[derive(Debug)]
pub struct Readiness {
    /// `None` in the foreground: nobody waits.
    caller: Option<File>,
}

#[derive(Debug, thiserror::Error)]
pub enum DetachFault {
    #[error("{count} threads run already; a fork would lose all but one")]
    Threads { count: usize },
    #[error("{call}: {error}")]
    Sys { call: &'static str, error: io::Error },
}

/// A longer reason is cut.
const TEXT_SIZE_BYTES_MAX: usize = 4096;

/// Makes this process the caller of a new one, which is the daemon. The caller waits for its
/// report, at most for `limit`.
///
/// # Errors
///
/// When the process has threads, or the system refuses. Then nothing has been started.
pub fn detach(session: Session, limit: Duration) -> Result<Side, DetachFault> {
    let count = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if count != 1 {
        return Err(DetachFault::Threads { count });
    }
    let (report, caller) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|error| DetachFault::Sys { call: "pipe", error: error.into() })?;
    let daemon = fork().map_err(|error| DetachFault::Sys { call: "fork", error })?;
    if let Some(daemon) = daemon {
        drop(caller);
        return Ok(Side::Caller(await_report(report.into(), daemon, limit)));
    }
    drop(report);
    let readiness = Readiness { caller: Some(caller.into()) };
    match leave_caller(session) {
        Ok(()) => Ok(Side::Daemon(readiness)),
        Err((call, error)) => {
            // The caller prints it; here nobody is left to read it.
            let _ = readiness.failed(1, &format!("{call}: {error}"));
            Err(DetachFault::Sys { call, error })
        }
    }
}

/// A descriptor to watch in test mode: the daemon ends when its standard input is a pipe that
/// closes (cluster management §1.2). [`Session::Inherited`] leaves it open.
#[must_use]
pub fn stdin_pipe() -> Option<OwnedFd> {
    let stdin = io::stdin();
    let kind = rustix::fs::fstat(&stdin).ok().map(|stat| FileType::from_raw_mode(stat.st_mode));
    if kind != Some(FileType::Fifo) {
        return None;
    }
    stdin.as_fd().try_clone_to_owned().ok()
}

/// Has the system send SIGTERM to the program when the thread that starts it ends, however that
/// comes about.
pub fn end_with_this_thread(command: &mut Command) {
    let parent = rustix::process::getpid();
    let arrange = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        // The signal is not sent for a parent that is gone already.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(rustix::io::Errno::SRCH.into())
        }
    };
    #[expect(unsafe_code, reason = "there is no other way to set the signal between fork and exec")]
    // SAFETY: the closure makes two system calls and touches neither memory nor locks that
    // another thread may have held when the process was forked.
    unsafe {
        command.pre_exec(arrange);
    }
}

impl Readiness {
    /// For a daemon in the foreground.
    #[must_use]
    pub fn foreground() -> Self {
        Self { caller: None }
    }

    /// The socket accepts: lets the caller end with success.
    pub fn ready(mut self) {
        self.report(0, "");
    }

    /// The start failed: lets the caller end with this code and print the text. In the foreground
    /// the log has said it, or it is printed here when there is no log yet. Returns the code to
    /// end with.
    #[must_use]
    pub fn failed(mut self, exit_code: u8, text: &str) -> ExitCode {
        assert!(exit_code != 0, "0 is success");
        if self.caller.is_none() && !tracing::dispatcher::has_been_set() {
            eprintln!("{text}");
        }
        self.report(exit_code, text);
        ExitCode::from(exit_code)
    }

    /// ```text
    /// offset  size  field
    ///      0     1  exit code
    ///      1     …  text, to the end of the pipe
    /// ```
    fn report(&mut self, exit_code: u8, text: &str) {
        let Some(mut caller) = self.caller.take() else { return };
        let mut bytes = vec![exit_code];
        bytes.extend_from_slice(text.as_bytes());
        bytes.truncate(TEXT_SIZE_BYTES_MAX);
        // A caller that was killed does not care.
        let _ = caller.write_all(&bytes);
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        self.report(1, "the start was given up");
    }
}

impl Outcome {
    /// Prints the text and returns the code for `main` to end with.
    #[must_use]
    pub fn finish(self) -> ExitCode {
        if !self.text.is_empty() {
            eprintln!("{}", self.text);
        }
        ExitCode::from(self.exit_code)
    }
}

/// The child's pid, or `None` in the child.
fn fork() -> io::Result<Option<Pid>> {
    #[expect(unsafe_code, reason = "a daemon is a child whose parent ends")]
    // SAFETY: this is the only thread of the process (checked by the caller), so no lock is held
    // by anybody who does not exist in the child.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Lets go of everything that ties a process to who started it.
fn leave_caller(session: Session) -> Result<(), (&'static str, io::Error)> {
    if session == Session::New {
        rustix::process::setsid().map_err(|error| ("setsid", error.into()))?;
    }
    rustix::process::chdir("/").map_err(|error| ("chdir", error.into()))?;
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| ("open /dev/null", error.into()))?;
    if session == Session::New {
        rustix::stdio::dup2_stdin(&null).map_err(|error| ("dup2", error.into()))?;
    }
    // Whoever waits for the end of our output must not wait for the daemon.
    rustix::stdio::dup2_stdout(&null)
        .and_then(|()| rustix::stdio::dup2_stderr(&null))
        .map_err(|error| ("dup2", error.into()))
}

fn await_report(mut pipe: File, daemon: Pid, limit: Duration) -> Outcome {
    let end = Instant::now() + limit;
    let mut bytes = Vec::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("a limit is hours at most");
        match poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&left)) {
            Ok(0) => {
                let text = format!(
                    "the daemon, PID {}, is not ready after {} s; it goes on by itself",
                    daemon.as_raw_nonzero(),
                    limit.as_secs()
                );
                return Outcome { exit_code: 1, text };
            }
            Ok(_) => {}
            Err(error) if error == rustix::io::Errno::INTR => continue,
            Err(error) => return Outcome { exit_code: 1, text: format!("poll: {error}") },
        }
        let mut buffer = [0; TEXT_SIZE_BYTES_MAX];
        match pipe.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(size) => bytes.extend_from_slice(&buffer[..size]),
        }
    }
    match bytes.split_first() {
        Some((exit_code, text)) => {
            Outcome { exit_code: *exit_code, text: String::from_utf8_lossy(text).into_owned() }
        }
        None => Outcome { exit_code: 1, text: epitaph(daemon) },
    }
}

/// The pipe closed without a word: the process is gone.
fn epitaph(daemon: Pid) -> String {
    let status = rustix::process::waitpid(Some(daemon), WaitOptions::empty()).ok().flatten();
    let how = status.and_then(|(_, status)| {
        let signal = status.terminating_signal().map(|signal| format!("signal {signal}"));
        signal.or_else(|| status.exit_status().map(|code| format!("exit code {code}")))
    });
    format!("the daemon ended before it was ready: {}", how.as_deref().unwrap_or("unknown reason"))
}
