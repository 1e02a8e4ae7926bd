//! Receiving an exact count of bytes, and not one more: how a greeting is read before a connection
//! is handed to the thread that will serve it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::opcode;
use io_uring::types::Fd;

use crate::deadlines::Deadline;
use crate::event::Event;
use crate::kernel_queues::Completion;
use crate::operation::{Kind, Tag};
use crate::ring::Ring;
use crate::slots::SlotKey;
use crate::stream::make_blocking;
use crate::token::{ReceiveId, Token};

/// Most bytes that one exact receive may ask for.
pub const EXACT_RECEIVE_BYTES_MAX: usize = 64 * 1024;

/// A receive under way: the kernel writes into `bytes` from `received` on.
#[derive(Debug)]
pub(crate) struct ExactReceive {
    fd: OwnedFd,
    bytes: Vec<u8>,
    received: usize,
    token: Token,
    deadline: Deadline,
    given_up: Option<io::ErrorKind>,
}

impl Ring {
    /// Receives exactly `count` bytes, then gives bytes and socket back; what follows them is
    /// still in the socket, for another receive here or a stream of another thread's ring.
    ///
    /// Ends with [`Event::ReceivedExactly`] or [`Event::ReceiveFailed`].
    ///
    /// # Errors
    /// When `fd` is no descriptor that can be made blocking.
    pub fn receive_exactly(
        &mut self,
        fd: OwnedFd,
        count: usize,
        token: Token,
        timeout: Duration,
    ) -> io::Result<ReceiveId> {
        assert!((1..=EXACT_RECEIVE_BYTES_MAX).contains(&count), "greetings are short");
        make_blocking(fd.as_fd())?;
        let slot = self.receives.insert_with(|slot| {
            let tag = Tag::new(Kind::ExactReceive, slot);
            let deadline = self.deadlines.insert(Instant::now() + timeout, tag);
            let bytes = vec![0; count];
            ExactReceive { fd, bytes, received: 0, token, deadline, given_up: None }
        });
        self.arm_exact_receive(slot);
        Ok(ReceiveId(slot))
    }

    /// Gives a receive up; it still ends with its one event.
    pub fn cancel_receive(&mut self, receive: ReceiveId) {
        self.give_up_exact_receive(receive.0, io::ErrorKind::Interrupted);
    }

    pub(crate) fn complete_exact_receive(&mut self, slot: SlotKey, completion: Completion) {
        let entry = self.receives.get_mut(slot).expect("a receive outlives its operation");
        let error = match (completion.outcome(), entry.given_up) {
            (_, Some(why)) => why.into(),
            (Ok(0), None) => io::ErrorKind::UnexpectedEof.into(),
            (Ok(count), None) => {
                entry.received += count as usize;
                if entry.received < entry.bytes.len() {
                    self.arm_exact_receive(slot);
                    return;
                }
                let entry = self.receives.remove(slot).expect("it was there");
                self.deadlines.remove(entry.deadline);
                self.events.push_back(Event::ReceivedExactly {
                    receive: ReceiveId(slot),
                    token: entry.token,
                    fd: entry.fd,
                    bytes: entry.bytes,
                });
                return;
            }
            (Err(error), None) if error.kind() == io::ErrorKind::Interrupted => {
                self.arm_exact_receive(slot);
                return;
            }
            (Err(error), None) => error,
        };
        let entry = self.receives.remove(slot).expect("it was there");
        self.deadlines.remove(entry.deadline);
        let (receive, token) = (ReceiveId(slot), entry.token);
        self.events.push_back(Event::ReceiveFailed { receive, token, error });
    }

    pub(crate) fn time_out_exact_receive(&mut self, slot: SlotKey) {
        self.give_up_exact_receive(slot, io::ErrorKind::TimedOut);
    }

    fn give_up_exact_receive(&mut self, slot: SlotKey, why: io::ErrorKind) {
        let Some(entry) = self.receives.get_mut(slot) else { return };
        if entry.given_up.is_none() {
            entry.given_up = Some(why);
            self.deadlines.remove(entry.deadline);
            self.cancel(Tag::new(Kind::ExactReceive, slot));
        }
    }

    fn arm_exact_receive(&mut self, slot: SlotKey) {
        let entry = self.receives.get_mut(slot).expect("only a receive receives");
        let room = &mut entry.bytes[entry.received..];
        let len = u32::try_from(room.len()).expect("greetings are short");
        let receive = opcode::Recv::new(Fd(entry.fd.as_raw_fd()), room.as_mut_ptr(), len)
            .flags(libc::MSG_WAITALL)
            .build()
            .user_data(Tag::new(Kind::ExactReceive, slot).to_user_data());
        // SAFETY: the vector's memory stays in place and untouched while the entry is in its slot,
        // and only `complete_exact_receive` takes it out (or `Drop` leaks it).
        unsafe { self.queues.push(receive) };
    }
}
