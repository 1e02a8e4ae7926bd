//! Saying so when a command waits for a lock: silence looks like a hang.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// While this lives, standing still for a while is reported, once.
#[derive(Debug)]
pub(crate) struct Patience {
    /// Even while the database is worked on, odd while the caller does something else.
    turns: Arc<AtomicU64>,
    /// Its end ends the thread that watches.
    _end: Sender<()>,
}

impl Patience {
    /// Watches over an operation on the database at `path` that may have to wait for others.
    pub(crate) fn with(path: &Path) -> Self {
        let turns = Arc::new(AtomicU64::new(0));
        let (end, ended) = channel();
        let watched = turns.clone();
        let note = format!(
            "note: waiting for a process that has locked {} (commands that only read can go without: --no-lock)",
            path.display()
        );
        // Without the thread there is no note, and no harm.
        let _ = std::thread::Builder::new().name("patience".to_owned()).spawn(move || {
            let mut before = 0;
            while ended.recv_timeout(STILL_TIME) == Err(RecvTimeoutError::Timeout) {
                let now = watched.load(Ordering::Relaxed);
                if now == before && now.is_multiple_of(2) {
                    eprintln!("{note}");
                    return;
                }
                before = now;
            }
        });
        Self { turns, _end: end }
    }

    /// What `body` waits for is no lock: output, perhaps.
    pub(crate) fn aside<T>(&self, body: impl FnOnce() -> T) -> T {
        self.turns.fetch_add(1, Ordering::Relaxed);
        let value = body();
        self.turns.fetch_add(1, Ordering::Relaxed);
        value
    }
}

/// Locks are held for less than this in a healthy cluster.
const STILL_TIME: Duration = Duration::from_millis(700);
