//! The cluster lock: whoever holds it may lead (cluster management §2.9).
//!
//! ```text
//!              wanted                start, stop, kill
//! control  ------------>  thread  -------------------->  holder: a thread with an fcntl lock,
//! thread   <------------  "lock"  <--------------------          or a helper process
//!              events                   reports
//! ```
//!
//! A cluster file system may hang for minutes. Neither taking nor checking nor releasing the lock
//! ever makes the control thread wait.

mod conduct;
mod file;
mod process;

use crate::command_line::{CommandLine, FileOrCommand};
use conduct::{Conduct, Effect, Input};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct LockConfig {
    pub source: FileOrCommand,
    /// For helpers, beyond what they inherit.
    pub environment: Vec<(&'static str, OsString)>,
    pub timing: LockTiming,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockTiming {
    /// An attempt without an answer is given up after this.
    pub take_limit: Duration,
    /// Pause between two looks at a lock file that is held.
    pub recheck_interval: Duration,
    /// A lock file that cannot be looked at for so long is lost: another node's file system may
    /// have given it away. `None` waits, as stock does.
    pub stall_limit: Option<Duration>,
    /// A helper that does not end so long after SIGTERM is killed.
    pub release_limit: Duration,
}

/// What became of an attempt. Only [`LockEvent::Taken`] is followed by another event:
/// [`LockEvent::Lost`]. A release has no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockEvent {
    Taken,
    /// Another node holds it.
    Contended,
    /// No answer in [`LockTiming::take_limit`], or the helper gave up.
    TimedOut,
    Error(String),
    /// It was held and no longer is; why.
    Lost(String),
}

/// Number of an attempt to take the lock. Events carry it: after a release and a new attempt, an
/// event of the old one may still be under way, and must not be taken for one of the new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt(u64);

/// The lock as the control thread sees it. Dropping it releases the lock without waiting.
#[derive(Debug)]
pub struct ClusterLock {
    shared: Arc<Shared>,
    wake: Sender<Signal>,
    attempts_count: u64,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The attempt that is wanted; 0 when the lock is not. The newest wish counts, so no queue of
    /// wishes can fill up.
    wanted: AtomicU64,
    ended: AtomicBool,
}

/// To the thread "lock".
#[derive(Debug)]
enum Signal {
    /// Look at [`Shared`].
    Wake,
    Report(Attempt, Report),
}

/// From a holder.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Report {
    Taken,
    Contended,
    TimedOut,
    /// The attempt failed.
    Failed(String),
    /// What is held was looked at and is in order.
    Alive,
    /// What was held no longer is.
    Ended(String),
    /// Nothing is left of the holder. Its last report.
    Gone,
}

/// One attempt in progress, or the lock that came of it. Its reports come through a channel.
trait Holder: Send {
    /// Gives the lock back in order. [`Report::Gone`] follows, unless something hangs.
    fn stop(&mut self);

    /// Ends what did not end in order.
    fn kill(&mut self);
}

/// Reports of one holder: a handful at a time. A holder waits when the queue is full, which is at
/// most until the thread "lock" has handed its events on.
const SIGNALS_COUNT_MAX: usize = 16;

impl LockConfig {
    #[must_use]
    pub fn new(source: FileOrCommand) -> Self {
        Self { source, environment: Vec::new(), timing: LockTiming::default() }
    }

    /// Lets `program` take the lock of a plain file, as it does for ctdbd when
    /// `CTDB_CLUSTER_MUTEX_HELPER` names it. A lock with a program of its own keeps that.
    #[must_use]
    pub fn with_helper(mut self, program: Option<OsString>) -> Self {
        if let (FileOrCommand::File(path), Some(program)) = (&self.source, program) {
            let arguments = vec![path.clone().into_os_string()];
            self.source = FileOrCommand::Command(CommandLine { program, arguments });
        }
        self
    }
}

impl Default for LockTiming {
    /// Stock's times.
    fn default() -> Self {
        Self {
            take_limit: Duration::from_mins(2),
            recheck_interval: Duration::from_secs(5),
            stall_limit: None,
            release_limit: Duration::from_secs(5),
        }
    }
}

impl ClusterLock {
    /// Starts the thread; the lock is not taken yet. `on_event` is called by that thread, and must
    /// not block for long.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn spawn(
        config: LockConfig,
        on_event: impl Fn(Attempt, LockEvent) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (wake, signals) = bounded(SIGNALS_COUNT_MAX);
        let keeper = Keeper {
            conduct: Conduct::new(config.timing),
            config,
            shared: Arc::clone(&shared),
            signals,
            reports: wake.clone(),
            holder: None,
            on_event,
        };
        let thread = thread::Builder::new().name("lock".into()).spawn(move || keeper.run())?;
        Ok(Self { shared, wake, attempts_count: 0, thread })
    }

    /// Tries to take the lock. Exactly one event tells what became of it, unless
    /// [`ClusterLock::release`] comes first.
    pub fn take(&mut self) -> Attempt {
        self.attempts_count += 1;
        self.want(self.attempts_count);
        Attempt(self.attempts_count)
    }

    /// Gives the lock back, or gives up the attempt to take it.
    pub fn release(&mut self) {
        self.want(0);
    }

    /// Whether an event belongs to the attempt that is wanted now. Others are to be dropped.
    #[must_use]
    pub fn is_current(&self, attempt: Attempt) -> bool {
        self.shared.wanted.load(Ordering::Acquire) == attempt.0
    }

    /// Releases the lock for good and waits until it is free, at most for `limit`. Returns whether
    /// it is.
    #[must_use]
    pub fn close(self, limit: Duration) -> bool {
        self.end();
        let end = Instant::now() + limit;
        while !self.thread.is_finished() && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        self.thread.is_finished()
    }

    fn want(&self, attempt: u64) {
        self.shared.wanted.store(attempt, Ordering::Release);
        // A full queue wakes the thread as well.
        let _ = self.wake.try_send(Signal::Wake);
    }

    fn end(&self) {
        self.shared.ended.store(true, Ordering::Release);
        self.want(0);
    }
}

impl Drop for ClusterLock {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread "lock".
struct Keeper<F> {
    config: LockConfig,
    conduct: Conduct,
    shared: Arc<Shared>,
    signals: Receiver<Signal>,
    reports: Sender<Signal>,
    holder: Option<Box<dyn Holder>>,
    on_event: F,
}

impl<F: Fn(Attempt, LockEvent)> Keeper<F> {
    fn run(mut self) {
        loop {
            self.advance();
            if self.shared.ended.load(Ordering::Acquire) && self.conduct.is_idle() {
                return;
            }
            let signal = match self.conduct.deadline() {
                Some(deadline) => self.signals.recv_deadline(deadline).ok(),
                None => self.signals.recv().ok(),
            };
            if let Some(Signal::Report(attempt, report)) = signal {
                self.step(Input::Report(attempt, report));
                if self.conduct.is_idle() {
                    self.holder = None;
                }
            }
        }
    }

    fn advance(&mut self) {
        let wanted = self.shared.wanted.load(Ordering::Acquire);
        self.step(Input::Wanted((wanted != 0).then_some(Attempt(wanted))));
    }

    fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.conduct.step(Instant::now(), input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Start(attempt) => self.start(attempt),
                Effect::Stop => self.holder.iter_mut().for_each(|holder| holder.stop()),
                Effect::Kill => self.holder.iter_mut().for_each(|holder| holder.kill()),
                Effect::Tell(attempt, event) => (self.on_event)(attempt, event),
            }
        }
    }

    fn start(&mut self, attempt: Attempt) {
        let started = match &self.config.source {
            FileOrCommand::File(path) => {
                file::start(path, self.config.timing, self.reporter(attempt))
            }
            FileOrCommand::Command(line) => {
                process::start(line, &self.config.environment, self.reporter(attempt))
            }
        };
        match started {
            Ok(holder) => self.holder = Some(holder),
            Err(error) => {
                self.step(Input::Report(attempt, Report::Failed(error.to_string())));
                self.step(Input::Report(attempt, Report::Gone));
            }
        }
    }

    fn reporter(&self, attempt: Attempt) -> Reporter {
        Reporter { attempt, reports: self.reports.clone() }
    }
}

/// A holder's way to report.
struct Reporter {
    attempt: Attempt,
    reports: Sender<Signal>,
}

impl Reporter {
    fn report(&self, report: Report) {
        // The thread "lock" ends before its holders only when something hangs.
        let _ = self.reports.send(Signal::Report(self.attempt, report));
    }
}
