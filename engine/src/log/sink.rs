//! The end of the queue: batches of lines for files, single messages for syslog, and the report
//! of what was dropped.

use super::LogLevel;
use super::line::{Line, PROGRAM, Style};
use super::output::Output;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tracing_appender::non_blocking::ErrorCounter;

/// What the writing thread shares with the rest of the process.
#[derive(Debug)]
pub(super) struct Sink {
    /// Locked by the writing thread for each batch, and by a panic for its last words.
    pub(super) output: Mutex<Output>,
    reopen: AtomicBool,
    /// Messages that the output did not take.
    dropped: AtomicU64,
    /// Messages given to the queue, and those that have left it for the output.
    queued: AtomicU64,
    finished: AtomicU64,
}

/// Makes the writer that belongs to a queue which does not exist before its writer.
#[derive(Debug)]
pub(super) struct QueueEnd {
    sink: Arc<Sink>,
    queue_drops: Arc<OnceLock<ErrorCounter>>,
}

/// Runs in the writing thread.
#[derive(Debug)]
pub(super) struct QueueWriter {
    sink: Arc<Sink>,
    style: Style,
    queue_drops: Arc<OnceLock<ErrorCounter>>,
    reported: u64,
    is_stream: bool,
    batch: Vec<u8>,
    /// Messages in the batch.
    batch_count: u64,
}

/// A batch is written when it has reached this size, or when the queue is empty.
const BATCH_SIZE_BYTES: usize = 64 * 1024;

impl Sink {
    pub(super) fn new(output: Output) -> Self {
        Self {
            output: Mutex::new(output),
            reopen: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            finished: AtomicU64::new(0),
        }
    }

    pub(super) fn count_queued(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether all of `queued` messages, less those the queue dropped, have reached the output.
    pub(super) fn has_written(&self, queued: u64, dropped_by_queue: u64) -> bool {
        self.finished.load(Ordering::Acquire) + dropped_by_queue >= queued
    }

    pub(super) fn queued_count(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    pub(super) fn ask_to_reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }

    pub(super) fn dropped_count(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn write(&self, messages: &[u8]) -> io::Result<()> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).write_message(messages)
    }

    fn is_stream(&self) -> bool {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).is_stream()
    }
}

impl QueueEnd {
    pub(super) fn new(sink: Arc<Sink>) -> Self {
        Self { sink, queue_drops: Arc::default() }
    }

    pub(super) fn writer(&self, style: Style) -> QueueWriter {
        QueueWriter {
            sink: Arc::clone(&self.sink),
            style,
            queue_drops: Arc::clone(&self.queue_drops),
            reported: 0,
            is_stream: self.sink.is_stream(),
            batch: Vec::with_capacity(BATCH_SIZE_BYTES),
            batch_count: 0,
        }
    }

    pub(super) fn count_drops_of(&self, counter: ErrorCounter) {
        self.queue_drops.set(counter).expect("an end belongs to one queue");
    }
}

impl QueueWriter {
    /// Tells how much is missing, where it is missing.
    fn report_drops(&mut self) {
        let in_queue = self.queue_drops.get().map_or(0, ErrorCounter::dropped_lines) as u64;
        let dropped = in_queue + self.sink.dropped_count();
        let missing = dropped.saturating_sub(self.reported);
        if missing == 0 {
            return;
        }
        let text = format!("[Dropped {missing} log messages]").into();
        let line = Line { level: LogLevel::Warning, program: PROGRAM, text };
        let mut told = true;
        let (style, sink, batch) = (&self.style, &self.sink, &mut self.batch);
        if self.is_stream {
            style.render(&line, |message| batch.extend_from_slice(message));
        } else {
            style.render(&line, |message| told = sink.write(message).is_ok());
        }
        if told {
            self.reported = dropped;
        }
    }

    fn write_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if self.sink.write(&self.batch).is_err() {
            // A full disk. The queue must not pile up behind it; what is lost is counted.
            self.sink.dropped.fetch_add(self.batch_count, Ordering::Relaxed);
        }
        self.batch.clear();
        self.sink.finished.fetch_add(self.batch_count, Ordering::Release);
        self.batch_count = 0;
    }

    fn reopen(&mut self) {
        let outcome = self.sink.output.lock().unwrap_or_else(PoisonError::into_inner).reopen();
        if let Err(error) = outcome {
            tracing::error!("Unable to reopen the log file, the old one goes on: {error}");
        }
    }
}

impl Write for QueueWriter {
    /// Takes one message of the queue.
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        self.report_drops();
        if self.is_stream {
            self.batch.extend_from_slice(message);
            self.batch_count += 1;
            if self.batch.len() >= BATCH_SIZE_BYTES {
                self.write_batch();
            }
        } else {
            if self.sink.write(message).is_err() {
                self.sink.dropped.fetch_add(1, Ordering::Relaxed);
            }
            self.sink.finished.fetch_add(1, Ordering::Release);
        }
        Ok(message.len())
    }

    /// Called when the queue is empty.
    fn flush(&mut self) -> io::Result<()> {
        self.report_drops();
        self.write_batch();
        if self.sink.reopen.swap(false, Ordering::Relaxed) {
            self.reopen();
        }
        Ok(())
    }
}
