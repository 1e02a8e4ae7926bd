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
use crate::config::{RingConfig, Wait};
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

    completions: Vec<Completion>,
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

    /// Submits everything that collected and takes in what has completed, waiting as `wait` says
    /// when there is nothing. It may come back early and without an event.
    ///
    /// # Errors
    /// [`RingError::System`] when the kernel refuses the ring as such; the ring is of no further
    /// use.
    pub fn turn(&mut self, wait: Wait) -> Result<(), RingError> {
        self.fire_deadlines();
        self.feed_the_starved();
        // While some sends are neither heard of nor settled, what collected behind them waits:
        // that is soon over, and until then is no time to sleep.
        let wait = if self.prompt_sends.is_empty() { wait } else { Wait::No };
        self.start_sends();
        loop {
            let came_to_wait = self.enter(wait)?;
            self.take_completions()?;
            if self.doorbell.bell().take() {
                self.events.push_back(Event::Knocked);
            }
            // Completions without news for the caller (a send is done) are no reason to come back.
            let goes_on = came_to_wait
                && self.events.is_empty()
                && self.unsent.is_empty()
                && self.starved.is_empty()
                && self.deadlines.earliest().is_none()
                && matches!(wait, Wait::Forever | Wait::Until(_))
                && wait.until().is_none_or(|until| Instant::now() < until);
            if !goes_on {
                return Ok(());
            }
        }
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

    /// Makes at most one system call, plus one before going to sleep after polling. `true` when
    /// the caller may be kept waiting further.
    fn enter(&mut self, wait: Wait) -> Result<bool, RingError> {
        let is_idle = self.events.is_empty()
            && !self.queues.has_completions()
            && !self.queues.has_deferred_work()
            && !self.doorbell.bell().is_rung();
        if wait == Wait::No || !is_idle {
            if self.queues.has_submissions() || self.queues.has_deferred_work() {
                self.queues.enter(Patience::None)?;
            }
            return Ok(false);
        }
        if let Wait::Poll { for_at_most, .. } = wait
            && self.poll_awake(for_at_most)?
        {
            return Ok(false);
        }
        let patience = match [wait.until(), self.deadlines.earliest()].into_iter().flatten().min() {
            Some(at) => Patience::Bounded(at.saturating_duration_since(Instant::now())),
            None => Patience::Unbounded,
        };
        if !self.doorbell.bell().doze() {
            // Somebody rang in the last moment: submit, and look.
            self.queues.enter(Patience::None)?;
            return Ok(false);
        }
        let result = self.queues.enter(patience);
        self.doorbell.bell().wake();
        result.map(|()| true)
    }

    /// Looks for completions without sleeping. `true` when there is something.
    fn poll_awake(&mut self, for_at_most: Duration) -> Result<bool, RingError> {
        if self.queues.has_submissions() {
            self.queues.enter(Patience::None)?;
        }
        let end = Instant::now() + for_at_most;
        loop {
            if self.queues.has_deferred_work() {
                self.queues.enter(Patience::None)?;
            }
            if self.queues.has_completions() || self.doorbell.bell().is_rung() {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            (0..POLL_PAUSES).for_each(|_| std::hint::spin_loop());
        }
    }

    fn take_completions(&mut self) -> Result<(), RingError> {
        // A caller that does not take its events gets no more of them.
        let room = self.config.completions_per_turn_max.saturating_sub(self.events.len());
        if let Some(count) = self.queues.completions_of_everything() {
            self.prompt_sends.submitted(count);
        }
        let mut completions = mem::take(&mut self.completions);
        self.queues.reap(&mut completions, room);
        self.prompt_sends.handled(completions.len());
        for completion in completions.drain(..) {
            self.dispatch(completion)?;
        }
        self.completions = completions;
        while let Some(send) = self.prompt_sends.pop_settled() {
            self.settle_send(send);
        }
        Ok(())
    }

    fn dispatch(&mut self, completion: Completion) -> Result<(), RingError> {
        let Tag { kind, slot } = completion.tag;
        match kind {
            Kind::Accept => self.complete_accept(slot, completion),
            Kind::Receive => self.complete_receive(slot, completion),
            Kind::Send => self.complete_send(slot, completion),
            Kind::Connect => self.complete_connect(slot, completion),
            Kind::FutexWait => self.complete_futex_wait(slot, completion),
            Kind::Watch => self.complete_watch(slot, completion),
            Kind::ExactReceive => self.complete_exact_receive(slot, completion),
            Kind::Bell => self
                .complete_bell(completion)
                .map_err(|error| RingError::system("polling the doorbell", error))?,
            Kind::Knock => self.complete_knock(slot, completion),
            // A message's meaning is in the bell; a cancel's is in what it cancelled.
            Kind::Knocked | Kind::Cancel => {}
        }
        Ok(())
    }

    fn fire_deadlines(&mut self) {
        if self.deadlines.earliest().is_none() {
            return;
        }
        let now = Instant::now();
        while let Some(Tag { kind, slot }) = self.deadlines.pop_due(now) {
            match kind {
                Kind::Accept => self.resume_accept(slot),
                Kind::Send => self.give_up_flush(slot),
                Kind::Connect => self.time_out_connect(slot),
                Kind::ExactReceive => self.time_out_exact_receive(slot),
                other => unreachable!("{other:?} has no deadline"),
            }
        }
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
    /// Cancels everything and waits for the kernel to let go of it; only then the buffers and
    /// addresses that it was using are freed. Should it not let go, they are leaked.
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

/// Pauses between two looks while polling: about 100 ns, so that the queue's cache line is not
/// taken from the kernel all the time.
const POLL_PAUSES: usize = 4;
