//! The ring itself: one turn after the other.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::rc::Rc;
use std::time::{Duration, Instant};

use io_uring::{opcode, squeue, types::CancelBuilder};

use crate::aligned_bytes::AlignedBytes;
use crate::capabilities::Capabilities;
use crate::config::RingConfig;
use crate::connect::Connecting;
use crate::deadlines::Deadlines;
use crate::doorbell::Doorbell;
use crate::error::RingError;
use crate::event::Event;
use crate::exact_receive::ExactReceive;
use crate::futex_wait::FutexWait;
use crate::kernel_queues::{Completion, KernelQueues, Patience};
use crate::listener::Listener;
use crate::operation::{Kind, Tag};
use crate::poll_budget::PollBudget;
use crate::prompt_sends::{PromptSend, PromptSends};
use crate::receive_pool::ReceivePool;
use crate::slots::Slots;
use crate::stream::Stream;
use crate::token::StreamId;
use crate::watch::Watch;

/// An `io_uring` with everything that lives in it, made, used and dropped by one thread.
///
/// The loop around it is: [`turn`](Self::turn), then [`next_event`](Self::next_event) until
/// `None`, again and again. Nothing else makes a system call for data: sends, connects, waits and
/// cancels collect until the next turn, which submits them all at once.
pub struct Ring {
    // The order matters when all of this is dropped: the kernel's side goes first (see `Drop`).
    pub(crate) queues: KernelQueues,
    pub(crate) pool: Rc<ReceivePool>,
    pub(crate) capabilities: Capabilities,
    pub(crate) config: RingConfig,
    pub(crate) doorbell: Doorbell,
    /// Rings that this one has sent messages to.
    pub(crate) peers: Vec<Doorbell>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) deadlines: Deadlines,

    pub(crate) streams: Slots<Stream>,
    /// Streams with frames that no send has taken yet.
    pub(crate) unsent: Vec<StreamId>,
    pub(crate) prompt_sends: PromptSends,
    /// Streams whose receive found no buffer, in the order they will get one.
    pub(crate) starved: VecDeque<StreamId>,
    /// Send buffers that no stream needs at the moment.
    pub(crate) spare: Vec<AlignedBytes>,
    pub(crate) listeners: Slots<Listener>,
    pub(crate) connects: Slots<Connecting>,
    pub(crate) waits: Slots<FutexWait>,
    pub(crate) watches: Slots<Watch>,
    pub(crate) receives: Slots<ExactReceive>,

    pub(crate) poll_budget: PollBudget,
    pub(crate) completions: Vec<Completion>,
    /// The kernel takes submissions from one thread only.
    _not_send: PhantomData<*mut ()>,
}

impl Ring {
    /// Makes a ring for the calling thread.
    ///
    /// # Errors
    /// Says what forbids it or what the kernel lacks, and what to do about it.
    pub fn new(config: &RingConfig) -> Result<Self, RingError> {
        let (mut queues, capabilities) = KernelQueues::new(config)?;
        let pool = ReceivePool::new(config.buffers_count, config.buffer_size_bytes)?;
        // SAFETY: `Drop` unregisters the pool, or leaks it when that fails.
        unsafe { queues.register_pool(&pool)? };
        let ring_fd =
            queues.duplicate_fd().map_err(|error| RingError::system("fcntl(F_DUPFD)", error))?;
        let mut ring = Self {
            queues,
            pool,
            capabilities,
            config: config.clone(),
            doorbell: Doorbell::new(ring_fd)?,
            peers: Vec::new(),
            events: VecDeque::new(),
            deadlines: Deadlines::default(),
            streams: Slots::new(),
            unsent: Vec::new(),
            prompt_sends: PromptSends::default(),
            starved: VecDeque::new(),
            spare: Vec::new(),
            listeners: Slots::new(),
            connects: Slots::new(),
            waits: Slots::new(),
            watches: Slots::new(),
            receives: Slots::new(),
            poll_budget: PollBudget::default(),
            completions: Vec::with_capacity(config.completions_per_turn_max),
            _not_send: PhantomData,
        };
        ring.arm_bell();
        Ok(ring)
    }

    /// What this ring can and does use.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The next thing that happened, in the order of happening for each stream.
    pub fn next_event(&mut self) -> Option<Event> {
        while let Some(event) = self.events.pop_front() {
            match event {
                Event::Received { stream, .. } if !self.wants_input(stream) => {}
                Event::Closed { stream, .. } | Event::Detached { stream, .. } => {
                    self.streams.remove(stream.0);
                    return Some(event);
                }
                event => return Some(event),
            }
        }
        None
    }

    /// Asks the kernel to end an operation; the operation's own completion says whether it did.
    pub(crate) fn cancel(&mut self, tag: Tag) {
        let entry = opcode::AsyncCancel::new(tag.to_user_data())
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Tag::alone(Kind::Cancel).to_user_data());
        // SAFETY: a cancel names no memory, only the tag.
        unsafe { self.queues.push(entry) };
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Ring")
            .field("capabilities", &self.capabilities)
            .field("streams", &self.streams.count())
            .field("operations_owed", &self.queues.owed_count())
            .finish_non_exhaustive()
    }
}

impl Drop for Ring {
    /// Cancels everything, queued sends too, and waits for the kernel to let go of it; only then
    /// the buffers and addresses that it was using are freed. Should it not let go, they are
    /// leaked.
    fn drop(&mut self) {
        let everything = opcode::AsyncCancel2::new(CancelBuilder::any())
            .build()
            .user_data(Tag::alone(Kind::Cancel).to_user_data());
        // SAFETY: a cancel names no memory.
        unsafe { self.queues.push(everything) };
        let end = Instant::now() + LET_GO_MAX;
        let mut completions = Vec::new();
        while self.queues.owed_count() > 0 && Instant::now() < end {
            if self.queues.enter(Patience::Bounded(LET_GO_MAX)).is_err() {
                break;
            }
            if let Some(count) = self.queues.completions_of_everything() {
                self.prompt_sends.submitted(count);
            }
            self.queues.reap(&mut completions, usize::MAX);
            self.prompt_sends.handled(completions.len());
            for completion in completions.drain(..) {
                self.let_go(completion);
            }
            while let Some(PromptSend { stream, number }) = self.prompt_sends.pop_settled() {
                let silent = self.streams.get_mut(stream).and_then(|it| it.send.settle(number));
                silent.into_iter().for_each(|_| self.queues.settle());
            }
        }
        let let_go = self.queues.owed_count() == 0 && self.queues.unregister_pool().is_ok();
        if !let_go {
            mem::forget(Rc::clone(&self.pool));
            mem::forget(mem::replace(&mut self.streams, Slots::new()));
            mem::forget(mem::replace(&mut self.connects, Slots::new()));
            mem::forget(mem::replace(&mut self.receives, Slots::new()));
        }
    }
}

impl Ring {
    /// Takes what a last completion brings, so that it is freed.
    fn let_go(&mut self, completion: Completion) {
        match completion.tag.kind {
            Kind::Accept => drop(Self::accepted(completion)),
            Kind::Receive => drop(self.received(completion)),
            Kind::Knock => self.complete_knock(completion.tag.slot, completion),
            Kind::Send => drop(self.stream_mut(completion.tag.slot).send.abandon()),
            _ => {}
        }
    }
}

/// How long dropping a ring waits for the kernel.
const LET_GO_MAX: Duration = Duration::from_secs(5);
