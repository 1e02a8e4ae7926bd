//! The two queues shared with the kernel, and the one system call that moves them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Probe, cqueue, squeue};

use crate::capabilities::Capabilities;
use crate::config::RingConfig;
use crate::error::RingError;
use crate::operation::Tag;
use crate::receive_pool::{BUFFER_GROUP, ReceivePool};

/// Submission and completion queue of one ring.
pub(crate) struct KernelQueues {
    ring: IoUring,
    /// Operations that found the submission queue full, oldest first. Their number is bounded by
    /// what the streams, listeners and waits may each have under way.
    backlog: VecDeque<squeue::Entry>,
    /// Operations whose last completion is still to come.
    owed: usize,
    enter_flags: EnterFlags,
}

/// How long a system call may wait for a completion when there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    None,
    Bounded(Duration),
    Unbounded,
}

/// One answer of the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Completion {
    pub(crate) tag: Tag,
    /// A count or descriptor, or a negative errno.
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

impl Completion {
    /// The result as Rust has it.
    pub(crate) fn outcome(self) -> io::Result<u32> {
        u32::try_from(self.result).map_err(|_| io::Error::from_raw_os_error(-self.result))
    }

    /// Whether the operation goes on by itself.
    pub(crate) fn more(self) -> bool {
        cqueue::more(self.flags)
    }
}

impl KernelQueues {
    pub(crate) fn new(config: &RingConfig) -> Result<(Self, Capabilities), RingError> {
        let (entries, completions) = (config.entries, config.completions);
        assert!(entries.is_power_of_two() && completions.is_power_of_two(), "the kernel's rule");
        assert!(entries <= 1 << 15 && entries <= completions, "the kernel's rule");
        let (ring, direct_submission) = build(config)?;
        if !ring.params().is_feature_nodrop() || !ring.params().is_feature_ext_arg() {
            return Err(RingError::KernelTooOld { missing: "lossless completion queue" });
        }
        let mut probe = Probe::new();
        ring.submitter()
            .register_probe(&mut probe)
            .map_err(|error| RingError::system("io_uring_register(PROBE)", error))?;
        let capabilities = Capabilities::judge(&probe, config, direct_submission)?;
        let mut enter_flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        if ring.params().is_feature_no_iowait() {
            // A thread that waits for its peers is idle, not held up by a disk.
            enter_flags |= EnterFlags::NO_IOWAIT;
        }
        let backlog = VecDeque::new();
        Ok((Self { ring, backlog, owed: 0, enter_flags }, capabilities))
    }

    /// Queues an operation; the next [`enter`](Self::enter) submits it.
    ///
    /// # Safety
    /// All memory that the entry names stays where it is, valid and, where the kernel writes,
    /// untouched until the operation's last completion has been reaped, or until
    /// [`settle`](Self::settle) if it reports no success. Its user data is that of a [`Tag`].
    pub(crate) unsafe fn push(&mut self, entry: squeue::Entry) {
        let tag = Tag::from_user_data(entry.get_user_data()).expect("the caller tags its entries");
        self.owed += usize::from(tag.kind.is_owed());
        // Whoever waits in the backlog goes first: a cancel must not overtake what it cancels.
        // SAFETY: handed on from the caller.
        let is_full =
            !self.backlog.is_empty() || unsafe { self.ring.submission().push(&entry) }.is_err();
        if is_full {
            self.backlog.push_back(entry);
        }
    }

    /// An operation pushed without being asked to report success has succeeded.
    pub(crate) fn settle(&mut self) {
        self.owed = self.owed.checked_sub(1).expect("only what is owed is settled");
    }

    /// Whether operations wait for a system call.
    pub(crate) fn has_submissions(&mut self) -> bool {
        !self.backlog.is_empty() || !self.ring.submission().is_empty()
    }

    /// Whether a completion can be reaped without a system call.
    pub(crate) fn has_completions(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// Whether the kernel has completions that only a system call brings forth.
    pub(crate) fn has_deferred_work(&mut self) -> bool {
        let queue = self.ring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Operations whose last completion is still to come.
    pub(crate) const fn owed_count(&self) -> usize {
        self.owed
    }

    /// The system call: submits what is queued, runs deferred work, and waits as `patience` says
    /// for one completion. Returns early when a signal arrives.
    pub(crate) fn enter(&mut self, patience: Patience) -> Result<(), RingError> {
        self.refill();
        // The rest of a long backlog goes at once. The kernel takes at least one entry each time
        // or says that it cannot before completions are reaped, so this ends.
        while !self.backlog.is_empty() {
            if !self.enter_once(Patience::None)? {
                return Ok(());
            }
            self.refill();
        }
        self.enter_once(patience)?;
        Ok(())
    }

    /// How many completions wait, if everything pushed is submitted and the kernel holds none
    /// back: among them are all that the submission itself gave rise to.
    pub(crate) fn completions_of_everything(&mut self) -> Option<usize> {
        let submissions = self.ring.submission();
        let is_everything =
            self.backlog.is_empty() && submissions.is_empty() && !submissions.cq_overflow();
        drop(submissions);
        is_everything.then(|| self.ring.completion().len())
    }

    /// Takes up to `max` completions.
    pub(crate) fn reap(&mut self, into: &mut Vec<Completion>, max: usize) {
        for entry in self.ring.completion().take(max) {
            // Nothing else knows this ring's descriptor, so a foreign tag is a bug of ours.
            let tag = Tag::from_user_data(entry.user_data()).expect("every operation is tagged");
            let completion = Completion { tag, result: entry.result(), flags: entry.flags() };
            if tag.kind.is_owed() && !completion.more() {
                self.owed = self.owed.checked_sub(1).expect("one last completion per operation");
            }
            into.push(completion);
        }
    }

    /// Makes the pool known to the kernel.
    ///
    /// # Safety
    /// The pool stays alive until [`unregister_pool`](Self::unregister_pool) or the end of the
    /// kernel's ring.
    pub(crate) unsafe fn register_pool(&mut self, pool: &ReceivePool) -> Result<(), RingError> {
        let submitter = self.ring.submitter();
        // SAFETY: the pool's mapping starts with `count` entries, and the caller keeps it alive.
        unsafe {
            submitter.register_buf_ring_with_flags(
                pool.ring_address(),
                pool.count(),
                BUFFER_GROUP,
                0,
            )
        }
        .map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => RingError::KernelTooOld { missing: "provided buffer rings" },
            _ => RingError::system("io_uring_register(PBUF_RING)", error),
        })
    }

    pub(crate) fn unregister_pool(&mut self) -> io::Result<()> {
        self.ring.submitter().unregister_buf_ring(BUFFER_GROUP)
    }

    /// A second descriptor of the ring, for others to send messages to.
    pub(crate) fn duplicate_fd(&self) -> io::Result<OwnedFd> {
        use std::os::fd::AsRawFd;
        // SAFETY: the ring's descriptor is open as long as `self`, and the borrow ends here.
        let borrowed = unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) };
        borrowed.as_fd().try_clone_to_owned()
    }

    fn refill(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        let mut queue = self.ring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: `push` was promised the entry's memory until its last completion.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            self.backlog.pop_front();
        }
    }

    /// `false` when the kernel took nothing because completions have to be reaped first.
    fn enter_once(&mut self, patience: Patience) -> Result<bool, RingError> {
        let (submitter, submissions, _) = self.ring.split();
        let count = u32::try_from(submissions.len()).expect("the queue is counted in 32 bits");
        drop(submissions);
        let (want, timespec) = match patience {
            Patience::None => (0, None),
            Patience::Bounded(duration) => (1, Some(Timespec::from(duration))),
            Patience::Unbounded => (1, None),
        };
        let mut arguments = SubmitArgs::new();
        if let Some(timespec) = &timespec {
            arguments = arguments.timespec(timespec);
        }
        let flags = self.enter_flags.bits();
        // SAFETY: the extended argument is the structure that EXT_ARG asks for and, with the
        // timespec it points to, outlives the call.
        let result = unsafe { submitter.enter(count, want, flags, Some(&arguments)) };
        match result {
            Ok(_) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR) => Ok(true),
                Some(libc::EBUSY | libc::EAGAIN) => Ok(false),
                _ => Err(RingError::system("io_uring_enter", error)),
            },
        }
    }
}

fn build(config: &RingConfig) -> Result<(IoUring, bool), RingError> {
    let mut builder = IoUring::builder();
    builder
        .dontfork()
        .setup_cqsize(config.completions)
        .setup_submit_all()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag();
    let mut direct = builder.clone();
    match direct.setup_no_sqarray().build(config.entries) {
        Ok(ring) => Ok((ring, true)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            builder.build(config.entries).map(|ring| (ring, false)).map_err(explain)
        }
        Err(error) => Err(explain(error)),
    }
}

fn explain(error: io::Error) -> RingError {
    let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    RingError::explain_setup(error, sysctl.as_deref())
}
