//! How other threads wake a ring that sleeps.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use io_uring::types::Fd;
use io_uring::{opcode, squeue};
use rustix::event::{EventfdFlags, eventfd};

use crate::bell::Bell;
use crate::error::RingError;
use crate::kernel_queues::Completion;
use crate::operation::{Kind, Tag};
use crate::ring::Ring;
use crate::slots::SlotKey;

/// Wakes one ring, from any thread; the ring then reports [`crate::Event::Knocked`].
///
/// First publish (push into the mailbox), then ring. Rings that come while the owner is awake cost
/// no system call and no message; any number of them make one event.
#[derive(Clone)]
pub struct Doorbell(Arc<Shared>);

struct Shared {
    bell: Bell,
    eventfd: OwnedFd,
    /// Keeps the number of the ring's descriptor from naming something else.
    ring: OwnedFd,
}

impl Doorbell {
    /// Rings from a thread that has no ring of its own, or none at hand: when the owner sleeps,
    /// one write to an eventfd.
    pub fn ring(&self) {
        if self.0.bell.ring() {
            self.wake();
        }
    }

    pub(crate) fn new(ring: OwnedFd) -> Result<Self, RingError> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| RingError::system("eventfd", error))?;
        Ok(Self(Arc::new(Shared { bell: Bell::new(), eventfd, ring })))
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.0.bell
    }

    /// Makes the sleeper's poll report. The counter is never read: the poll reports each write
    /// once, and 2^64 of them do not happen.
    fn wake(&self) {
        let result = rustix::io::write(&self.0.eventfd, &1_u64.to_ne_bytes());
        assert!(result.is_ok(), "an eventfd far from its limit takes a write: {result:?}");
    }

    /// The poll that [`wake`](Self::wake) makes report.
    pub(crate) fn poll(&self) -> squeue::Entry {
        let readable = u32::from(libc::POLLIN.cast_unsigned());
        opcode::PollAdd::new(Fd(self.0.eventfd.as_raw_fd()), readable)
            .multi(true)
            .build()
            .user_data(Tag::alone(Kind::Bell).to_user_data())
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Doorbell").field(&self.0.bell).finish()
    }
}

impl Ring {
    /// The doorbell of this ring, to be given to other threads.
    #[must_use]
    pub fn doorbell(&self) -> Doorbell {
        self.doorbell.clone()
    }

    /// Rings another ring's doorbell: when its owner sleeps, by a message that travels with this
    /// ring's next submission.
    pub fn knock(&mut self, doorbell: &Doorbell) {
        if !doorbell.bell().ring() {
            return;
        }
        if !self.capabilities.ring_messages || doorbell.is(&self.doorbell) {
            doorbell.wake();
            return;
        }
        let index = self.peer_index(doorbell);
        let knock = Tag::new(Kind::Knock, SlotKey { index, generation: 0 });
        let knocked = Tag::alone(Kind::Knocked).to_user_data();
        let entry = opcode::MsgRingData::new(Fd(doorbell.0.ring.as_raw_fd()), 0, knocked, None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(knock.to_user_data());
        // SAFETY: a message names no memory, and `peers` keeps its descriptor open.
        unsafe { self.queues.push(entry) };
    }

    /// A message could not be delivered (the other ring's queue is full, or its kernel side is
    /// gone): the eventfd wakes as well.
    pub(crate) fn complete_knock(&mut self, slot: SlotKey, completion: Completion) {
        if completion.result < 0 {
            self.peers[slot.index as usize].wake();
        }
    }

    /// The poll of the own eventfd reported. What it means is read off the bell.
    pub(crate) fn complete_bell(&mut self, completion: Completion) -> io::Result<()> {
        completion.outcome()?;
        if !completion.more() {
            self.arm_bell();
        }
        Ok(())
    }

    pub(crate) fn arm_bell(&mut self) {
        // SAFETY: a poll names no memory; the doorbell lives as long as the ring.
        unsafe { self.queues.push(self.doorbell.poll()) };
    }

    /// Peers are few, one per shard, and stay: a plain list serves.
    fn peer_index(&mut self, doorbell: &Doorbell) -> u32 {
        let known = self.peers.iter().position(|peer| peer.is(doorbell));
        let index = known.unwrap_or_else(|| {
            self.peers.push(doorbell.clone());
            self.peers.len() - 1
        });
        u32::try_from(index).expect("one peer per shard")
    }
}
