//! The daemon's log, in the lines of the original (cluster management §9).
//!
//! ```text
//! shard ----+
//! shard ----+--> bounded queue --> thread "log" --> file, stderr or syslog
//! control --+    (full: dropped
//!                 and counted)
//! ```
//!
//! Nobody who logs ever waits for a disk. What was dropped is counted and told in the log itself
//! (`[Dropped 12 log messages]`) as soon as there is room again. Warnings and errors that one place in
//! the code repeats without end are left out after the first hundred in ten seconds, and counted.
//!
//! Messages are made with the macros of `tracing`; [`LogLevel`] says which macro is which level. A
//! message belongs to the program `ctdbd` unless its target starts with `ctdb-`:
//! `tracing::info!(target: "ctdb-recoverd", "Start election")`.

mod flood;
mod layer;
mod level;
mod line;
mod location;
mod output;
mod sink;

pub use level::{LogLevel, NotALevel};
pub use location::{LocationFault, LogLocation, Syslog};

use layer::LineLayer;
use line::{Line, Style};
use output::Output;
use sink::{QueueEnd, Sink};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use std::{panic, thread};
use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, reload};

/// A log that can be written to, but only synchronously: before the daemon has threads. It is
/// opened early, so that the caller of the daemon learns why it cannot be.
#[derive(Debug)]
pub struct OpenLog {
    sink: Arc<Sink>,
    style: Style,
}

/// The running log. Dropping it writes what is queued, for a second at most.
#[derive(Debug)]
pub struct Log {
    level: AtomicI32,
    filter: reload::Handle<LevelFilter, Registry>,
    queue: NonBlocking,
    dropped: ErrorCounter,
    sink: Arc<Sink>,
    _guard: WorkerGuard,
}

#[derive(Debug, thiserror::Error)]
pub enum LogFault {
    #[error("Unable to open log file '{path}': {error}", path = path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("the log is running already")]
    AlreadyRunning,
}

impl OpenLog {
    /// Opens the log. `host` is the host's name in the lines of a file
    /// ([`crate::paths::Paths::host_in_log`]). A syslog that does not listen yet is no error.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened for appending.
    pub fn open(location: &LogLocation, host: &str) -> Result<Self, LogFault> {
        let output = Output::open(location).map_err(|error| {
            let path = match location {
                LogLocation::File(path) => path.clone(),
                LogLocation::Syslog(_) | LogLocation::Stderr => PathBuf::new(),
            };
            LogFault::File { path, error }
        })?;
        Ok(Self { sink: Arc::new(Sink::new(output)), style: Style::of(location, host) })
    }

    /// Writes a message at once.
    ///
    /// # Errors
    ///
    /// Whatever the file reports.
    pub fn write(&self, level: LogLevel, text: &str) -> io::Result<()> {
        let mut output = self.sink.output.lock().unwrap_or_else(PoisonError::into_inner);
        write_to(&mut output, &self.style, level, text)
    }

    /// Starts the thread that writes, and makes this the log of the process. To be called when the
    /// daemon has become its own process, for threads do not survive a fork. At most
    /// `queue_lines_max` messages wait.
    ///
    /// # Errors
    ///
    /// When the process has a log already.
    pub fn start(self, level: LogLevel, queue_lines_max: usize) -> Result<Log, LogFault> {
        let style = self.style.clone();
        let (log, subscriber) = self.run(level, queue_lines_max);
        tracing::subscriber::set_global_default(subscriber)
            .map_err(|_| LogFault::AlreadyRunning)?;
        log_panics(Backlog::of(&log), style);
        Ok(log)
    }

    fn run(self, level: LogLevel, queue_lines_max: usize) -> (Log, impl Subscriber + use<>) {
        let end = QueueEnd::new(Arc::clone(&self.sink));
        let (queue, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(queue_lines_max)
            .lossy(true)
            .thread_name("log")
            .finish(end.writer(self.style.clone()));
        let dropped = queue.error_counter();
        end.count_drops_of(dropped.clone());
        let (filter, handle) = reload::Layer::new(level.filter());
        let layer = LineLayer::new(queue.clone(), self.style, Arc::clone(&self.sink));
        let subscriber = Registry::default().with(filter).with(layer);
        let log = Log {
            level: AtomicI32::new(level.number()),
            filter: handle,
            queue,
            dropped,
            sink: self.sink,
            _guard: guard,
        };
        (log, subscriber)
    }
}

impl Log {
    /// What GET_DEBUG answers.
    #[must_use]
    pub fn level(&self) -> LogLevel {
        LogLevel::from_number(self.level.load(Ordering::Relaxed))
            .expect("only numbers of levels are stored")
    }

    /// Changes the level for all threads at once, as SET_DEBUG asks.
    pub fn set_level(&self, level: LogLevel) {
        self.level.store(level.number(), Ordering::Relaxed);
        self.filter
            .modify(|filter| *filter = level.filter())
            .expect("the subscriber lives as long as the process");
    }

    /// Opens the log file anew, as SIGHUP asks after a rotation. The thread does it; when it
    /// fails, the old file goes on and has the reason.
    pub fn reopen(&self) {
        self.sink.ask_to_reopen();
        // An empty message wakes the thread without writing anything.
        let _ = self.queue.clone().write(&[]);
    }

    /// Waits until what was logged before is written, at most for `limit`. Returns whether it is.
    pub fn flush(&self, limit: Duration) -> bool {
        Backlog::of(self).wait(limit)
    }

    /// Messages lost so far, because the queue or the system's log was full.
    #[must_use]
    pub fn dropped_count(&self) -> u64 {
        self.dropped.dropped_lines() as u64 + self.sink.dropped_count()
    }
}

/// What is on its way through the queue.
struct Backlog {
    sink: Arc<Sink>,
    dropped: ErrorCounter,
}

impl Backlog {
    fn of(log: &Log) -> Self {
        Self { sink: Arc::clone(&log.sink), dropped: log.dropped.clone() }
    }

    fn wait(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let queued = self.sink.queued_count();
        while !self.sink.has_written(queued, self.dropped.dropped_lines() as u64) {
            if Instant::now() >= end {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

/// The last words of a panic go to the log, past the queue but behind what is in it: the release
/// profile aborts next.
fn log_panics(backlog: Backlog, style: Style) {
    /// A disk that hangs must not keep a broken daemon alive.
    const PATIENCE: Duration = Duration::from_millis(200);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        backlog.wait(PATIENCE);
        let name = thread::current().name().unwrap_or("?").to_owned();
        let text = format!("PANIC in thread {name}: {info}");
        // The thread that writes may be the one that panics, with the output locked.
        let written = match backlog.sink.output.try_lock() {
            Ok(mut output) => write_to(&mut output, &style, LogLevel::Error, &text).is_ok(),
            Err(_) => false,
        };
        if !written {
            before(info);
        }
    }));
}

fn write_to(output: &mut Output, style: &Style, level: LogLevel, text: &str) -> io::Result<()> {
    let line = Line { level, program: line::PROGRAM, text: line::printable(text) };
    let mut outcome = Ok(());
    style.render(&line, |message| {
        if outcome.is_ok() {
            outcome = output.write_message(message);
        }
    });
    outcome
}

#[cfg(test)]
mod tests;
