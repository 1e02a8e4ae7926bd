//! Programs inside a cell: run to their end within a bound, or kept in the background.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How a program ended and what it said.
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A program that runs beside the test. Dropping it kills it.
pub(crate) struct Background {
    child: Child,
    lines: Receiver<String>,
}

impl Outcome {
    pub(crate) fn success(&self) -> bool {
        self.status.success()
    }

    /// The exit code, or 128 plus the signal, as a shell says it.
    pub(crate) fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// The whole answer of a program that must have succeeded.
    #[track_caller]
    pub(crate) fn text(self) -> String {
        assert!(self.success(), "{self}");
        self.stdout
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nstdout: {}\nstderr: {}", self.status, self.stdout, self.stderr)
    }
}

impl Background {
    pub(crate) fn new(command: &mut Command) -> Background {
        // Both outputs in one, line by line: what a background program says is read for progress.
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let (sender, lines) = channel();
        forward(child.stdout.take(), sender.clone());
        forward(child.stderr.take(), sender);
        Background { child, lines }
    }

    /// The next line that `wanted` accepts.
    #[track_caller]
    pub(crate) fn line(&self, limit: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + limit;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if wanted(&line) => return line,
                Ok(line) => seen.push(line),
                Err(reason) => panic!("the line did not come ({reason}); seen: {seen:#?}"),
            }
        }
    }

    /// All lines up to the end of the program's output.
    #[track_caller]
    pub(crate) fn all_lines(&self, limit: Duration) -> Vec<String> {
        let deadline = Instant::now() + limit;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return seen,
                Err(RecvTimeoutError::Timeout) => panic!("no end after {limit:?}; seen: {seen:#?}"),
            }
        }
    }

    /// Writes a line to the program.
    pub(crate) fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("stdin is piped");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("the program listens");
    }

    /// Closes the program's input and waits for its end.
    pub(crate) fn finish(mut self, limit: Duration) -> ExitStatus {
        drop(self.child.stdin.take());
        wait_status(&mut self.child, limit).expect("the program ends after its input")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a program whose outputs are piped; one that takes too long is killed and fails the test.
#[track_caller]
pub(crate) fn wait_bounded(mut child: Child, limit: Duration) -> Outcome {
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let ended = wait_status(&mut child, limit);
    let outcome = |status| Outcome {
        status,
        stdout: stdout.join().expect("the reader ends with the pipe"),
        stderr: stderr.join().expect("the reader ends with the pipe"),
    };
    let Some(status) = ended else {
        let _ = child.kill();
        panic!("still running after {limit:?}: {child:?}");
    };
    outcome(status)
}

/// Passes on the lines of a pipe. It reads on when nobody listens any more: the program must not end by a broken pipe.
fn forward(pipe: Option<impl Read + Send + 'static>, sender: Sender<String>) {
    let Some(pipe) = pipe else { return };
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { break };
            let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

fn wait_status(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
