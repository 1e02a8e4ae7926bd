//! A helper process as holder, by the contract that etcd and RADOS helpers follow as well.

use super::{Holder, Report, Reporter};
use crate::command_line::CommandLine;
use crate::daemonize;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Stdio};
use std::sync::Arc;
use std::thread;

struct HelperHolder {
    /// Unlike its number, this cannot come to mean another process.
    process: Arc<OwnedFd>,
}

/// Starts the helper and a thread that attends to it. Called by the thread "lock": when that one
/// ends, with the daemon or before, the system ends the helper.
pub(super) fn start(
    line: &CommandLine,
    environment: &[(&'static str, OsString)],
    reporter: Reporter,
) -> io::Result<Box<dyn Holder>> {
    let mut command = line.command();
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A Ctrl-C at a daemon in the foreground is the daemon's business: it releases in order.
    command.process_group(0);
    daemonize::end_with_this_thread(&mut command);
    let mut child = command.spawn().map_err(|error| {
        let program = line.program.display();
        io::Error::new(error.kind(), format!("cluster lock helper {program}: {error}"))
    })?;
    let attended = attend(&mut child, reporter);
    attended.inspect_err(|_| {
        let _ = child.kill();
        let _ = child.wait();
    })
}

/// On an error the child is left to the caller.
fn attend(child: &mut Child, reporter: Reporter) -> io::Result<Box<dyn Holder>> {
    let process = Arc::new(pidfd_open(Pid::from_child(child), PidfdFlags::empty())?);
    let attendance = Attendance {
        process: Arc::clone(&process),
        stdout: child.stdout.take(),
        stderr: child.stderr.take(),
        answered: false,
        complaint: Complaint::default(),
        reporter,
    };
    thread::Builder::new().name("lock-helper".into()).spawn(move || attendance.run())?;
    Ok(Box::new(HelperHolder { process }))
}

impl Holder for HelperHolder {
    fn stop(&mut self) {
        // One that has ended by itself is being reported.
        let _ = pidfd_send_signal(&self.process, Signal::TERM);
    }

    fn kill(&mut self) {
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }
}

/// The thread's side: listens until the process ends.
struct Attendance {
    process: Arc<OwnedFd>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// The status has come, or it is clear that it will not.
    answered: bool,
    complaint: Complaint,
    reporter: Reporter,
}

impl Attendance {
    fn run(mut self) {
        while !self.listen() {}
        // What the helper started may keep the pipes open for ever; they are not waited for.
        let options = rustix::process::WaitIdOptions::EXITED;
        let id = rustix::process::WaitId::PidFd(self.process.as_fd());
        let status = rustix::process::waitid(id, options).ok().flatten();
        let how = status.and_then(|status| {
            let signal = status.terminating_signal().map(|signal| format!("signal {signal}"));
            signal.or_else(|| status.exit_status().map(|code| format!("exit status {code}")))
        });
        let how = how.as_deref().unwrap_or("unknown status");
        self.end(format!("Cluster lock helper terminated ({how})"));
        self.reporter.report(Report::Gone);
    }

    /// Waits for whatever comes next. Returns whether the process has ended.
    fn listen(&mut self) -> bool {
        let nobody = self.process.as_fd();
        let stdout = self.stdout.as_ref().map_or(nobody, AsFd::as_fd);
        let stderr = self.stderr.as_ref().map_or(nobody, AsFd::as_fd);
        let mut watched =
            [nobody, stdout, stderr].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        if let Err(error) = poll(&mut watched, None) {
            // Interrupted; anything else would be a mistake of ours, and end this at once.
            assert_eq!(error, rustix::io::Errno::INTR, "three valid descriptors can be polled");
            return false;
        }
        let [ended, status, complaint] = watched.map(|fd| !fd.revents().is_empty());
        // What was written before the end counts.
        if status {
            self.read_status();
        }
        if complaint {
            self.read_complaint();
        }
        ended
    }

    fn read_status(&mut self) {
        let Some(stdout) = &mut self.stdout else { return };
        let mut buffer = [0; 4096];
        match stdout.read(&mut buffer) {
            Ok(0) | Err(_) => {
                self.stdout = None;
                self.end("Cluster lock helper closed its output".into());
            }
            // Further output is ignored.
            Ok(_) if self.answered => {}
            Ok(_) => {
                self.answered = true;
                self.reporter.report(match buffer[0] {
                    b'0' => Report::Taken,
                    b'1' => Report::Contended,
                    b'2' => Report::TimedOut,
                    b'3' => Report::Failed("cluster lock helper reports an error".into()),
                    other => {
                        let other = char::from(other).escape_default();
                        Report::Failed(format!("cluster lock helper: unknown status '{other}'"))
                    }
                });
            }
        }
    }

    fn read_complaint(&mut self) {
        let Some(stderr) = &mut self.stderr else { return };
        let mut buffer = [0; 4096];
        match stderr.read(&mut buffer) {
            Ok(0) | Err(_) => self.stderr = None,
            Ok(size) => self.complaint.hear(&buffer[..size]),
        }
    }

    /// Without a status this is the answer, with one the end of what was held.
    fn end(&mut self, text: String) {
        let answered = std::mem::replace(&mut self.answered, true);
        self.reporter.report(if answered { Report::Ended(text) } else { Report::Failed(text) });
    }
}

/// Standard error, line by line into the log.
#[derive(Default)]
struct Complaint {
    line: Vec<u8>,
    lines_count: u32,
}

impl Complaint {
    /// A helper that floods the log is cut off.
    const LINES_COUNT_MAX: u32 = 100;
    const LINE_SIZE_BYTES_MAX: usize = 1024;

    fn hear(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte != b'\n' && self.line.len() < Self::LINE_SIZE_BYTES_MAX {
                self.line.push(*byte);
            } else {
                self.tell();
            }
        }
    }

    fn tell(&mut self) {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        self.lines_count = self.lines_count.saturating_add(1);
        if self.lines_count < Self::LINES_COUNT_MAX {
            tracing::warn!("cluster lock helper: {line}");
        } else if self.lines_count == Self::LINES_COUNT_MAX {
            tracing::warn!("cluster lock helper: further messages are not shown");
        }
    }
}

impl Drop for Complaint {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.tell();
        }
    }
}
