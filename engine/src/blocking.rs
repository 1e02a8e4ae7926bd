//! Work that may block, on threads that may: waiting for fcntl locks, transactions with their
//! syncs. Shards hand it over and go on (design §3).

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Runs in a thread of the pool and reports its outcome by itself, through a channel it owns.
pub type Job = Box<dyn FnOnce() + Send>;

/// A bounded number of threads behind a bounded queue. Threads start on demand and end after
/// being idle for a while.
///
/// A job that panics takes only itself along: the thread reports it and serves on. Release builds
/// abort on any panic, so there a panicking job ends the daemon, as every broken invariant does.
///
/// Dropping the pool lets queued jobs run to their end, but does not wait for them: a thread may
/// sit on a file system that hangs.
pub struct BlockingPool {
    shared: Arc<Shared>,
}

/// The queue is full, or there is no thread to serve it: answer the client that caused the work
/// with an error, or try later. The job comes back.
#[derive(thiserror::Error)]
#[error("the pool of blocking work has no room")]
pub struct Full(pub Job);

struct Shared {
    name: &'static str,
    threads_max: usize,
    queue_max: usize,
    state: Mutex<State>,
    /// A job was queued, or the pool is gone.
    work: Condvar,
    /// A thread finished a job.
    done: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    /// Threads that wait for a job. One that was woken counts until it runs, as its job counts as
    /// queued until then.
    idle: usize,
    running: usize,
    closed: bool,
}

const IDLE_LIMIT: Duration = Duration::from_secs(10);

impl BlockingPool {
    /// `name` is the name of the threads; the system shows its first 15 bytes.
    #[must_use]
    pub fn new(name: &'static str, threads_max: usize, queue_max: usize) -> Self {
        assert!(threads_max > 0 && queue_max > 0, "a pool without room does no work");
        let state = Mutex::new(State::default());
        let (work, done) = (Condvar::new(), Condvar::new());
        Self { shared: Arc::new(Shared { name, threads_max, queue_max, state, work, done }) }
    }

    /// Queues a job; jobs start in the order in which they were submitted.
    ///
    /// # Errors
    ///
    /// [`Full`] when `queue_max` jobs wait already, or when not even a first thread can be made.
    pub fn submit(&self, job: Job) -> Result<(), Full> {
        let mut state = self.shared.lock();
        if state.queue.len() >= self.shared.queue_max {
            return Err(Full(job));
        }
        state.queue.push_back(job);
        if state.queue.len() <= state.idle {
            self.shared.work.notify_one();
            return Ok(());
        }
        if state.threads < self.shared.threads_max {
            match Shared::start_thread(&self.shared) {
                Ok(()) => state.threads += 1,
                Err(error) => {
                    let (name, threads) = (self.shared.name, state.threads);
                    tracing::error!("{name}: no thread beyond {threads} can be started: {error}");
                    if threads == 0 {
                        let job = state.queue.pop_back().expect("it was queued above");
                        return Err(Full(job));
                    }
                }
            }
        }
        Ok(())
    }

    /// Jobs that wait for a thread.
    #[must_use]
    pub fn queued_count(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Jobs being worked on.
    #[must_use]
    pub fn running_count(&self) -> usize {
        self.shared.lock().running
    }

    /// Waits until all jobs are done, at most for `limit`: for an orderly end of the daemon.
    /// Returns whether they are.
    #[must_use]
    pub fn drain(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.shared.lock();
        while !state.queue.is_empty() || state.running > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.done.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for BlockingPool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    /// No job runs while the state is locked, so a panic cannot leave it half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_thread(this: &Arc<Self>) -> std::io::Result<()> {
        let shared = Arc::clone(this);
        thread::Builder::new().name(this.name.into()).spawn(move || shared.serve()).map(drop)
    }

    fn serve(&self) {
        // Whoever started this thread may have a priority that its own work needs, not this.
        let _ = rustix::process::setpriority_process(None, 0);
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                state.running += 1;
                drop(state);
                self.run(job);
                state = self.lock();
                state.running -= 1;
                self.done.notify_all();
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let waited = self.work.wait_timeout(state, IDLE_LIMIT);
            let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = after;
            state.idle -= 1;
            // A job may have come in the very moment of the timeout; it is not left behind.
            if timeout.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }

    fn run(&self, job: Job) {
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(job)) {
            let text = panic
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            tracing::error!("{}: a job panicked: {}", self.name, text.unwrap_or("no text"));
        }
    }
}

impl std::fmt::Debug for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Full")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{self, Sender};

    const LONG: Duration = Duration::from_secs(20);

    /// A job that says it has begun and goes on when its sender is dropped.
    fn held(begun: &Sender<()>) -> (Job, Sender<()>) {
        let (release, released) = mpsc::channel::<()>();
        let begun = begun.clone();
        let job: Job = Box::new(move || {
            begun.send(()).unwrap();
            let _ = released.recv();
        });
        (job, release)
    }

    #[test]
    fn jobs_run_in_named_threads() {
        let pool = BlockingPool::new("lock-waiter", 2, 8);
        let (send, recv) = mpsc::channel();
        pool.submit(Box::new(move || {
            send.send(thread::current().name().map(str::to_owned)).unwrap();
        }))
        .unwrap();
        assert_eq!(recv.recv_timeout(LONG).unwrap().as_deref(), Some("lock-waiter"));
        assert!(pool.drain(LONG));
    }

    #[test]
    fn threads_are_started_up_to_the_limit_and_the_rest_waits() {
        let pool = BlockingPool::new("p", 2, 8);
        let (begun, begins) = mpsc::channel();
        let (jobs, releases): (Vec<Job>, Vec<_>) = (0..3).map(|_| held(&begun)).unzip();
        jobs.into_iter().for_each(|job| pool.submit(job).unwrap());
        begins.recv_timeout(LONG).unwrap();
        begins.recv_timeout(LONG).unwrap();
        assert_eq!((pool.running_count(), pool.queued_count()), (2, 1));
        drop(releases);
        begins.recv_timeout(LONG).unwrap();
        assert!(pool.drain(LONG));
    }

    #[test]
    fn a_full_queue_gives_the_job_back() {
        let pool = BlockingPool::new("p", 1, 1);
        let (begun, begins) = mpsc::channel();
        let (first, _release) = held(&begun);
        pool.submit(first).unwrap();
        begins.recv_timeout(LONG).unwrap();
        pool.submit(Box::new(|| {})).unwrap();
        let (send, recv) = mpsc::channel();
        let Full(job) = pool.submit(Box::new(move || send.send(7).unwrap())).unwrap_err();
        job();
        assert_eq!(recv.recv_timeout(LONG), Ok(7));
    }

    #[test]
    fn an_idle_thread_takes_the_next_job() {
        let pool = BlockingPool::new("p", 4, 8);
        for _ in 0..50 {
            let (send, recv) = mpsc::channel();
            pool.submit(Box::new(move || send.send(()).unwrap())).unwrap();
            recv.recv_timeout(LONG).unwrap();
            assert!(pool.drain(LONG));
        }
        assert!(pool.shared.lock().threads <= 2, "one at work, one about to be idle");
    }

    #[test]
    fn a_panic_takes_only_its_job_along() {
        let pool = BlockingPool::new("p", 1, 8);
        let (send, recv) = mpsc::channel();
        pool.submit(Box::new(|| panic!("on purpose"))).unwrap();
        pool.submit(Box::new(move || send.send(()).unwrap())).unwrap();
        recv.recv_timeout(LONG).unwrap();
        assert!(pool.drain(LONG));
    }

    #[test]
    fn draining_ends_at_its_limit() {
        let pool = BlockingPool::new("p", 1, 8);
        let (begun, begins) = mpsc::channel();
        let (job, release) = held(&begun);
        pool.submit(job).unwrap();
        begins.recv_timeout(LONG).unwrap();
        assert!(!pool.drain(Duration::from_millis(1)));
        drop(release);
        assert!(pool.drain(LONG));
    }

    #[test]
    fn jobs_queued_before_the_end_are_still_run() {
        let pool = BlockingPool::new("p", 1, 8);
        let (begun, begins) = mpsc::channel();
        let (job, release) = held(&begun);
        pool.submit(job).unwrap();
        begins.recv_timeout(LONG).unwrap();
        let (send, recv) = mpsc::channel();
        pool.submit(Box::new(move || send.send(()).unwrap())).unwrap();
        drop(pool);
        drop(release);
        recv.recv_timeout(LONG).unwrap();
    }
}
