//! Reporting that a descriptor can be read: signalfds, pipes of helper processes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use io_uring::opcode;
use io_uring::types::Fd;

use crate::event::Event;
use crate::kernel_queues::Completion;
use crate::operation::{Kind, Tag};
use crate::ring::Ring;
use crate::slots::SlotKey;
use crate::token::{Token, WatchId};

/// A poll that goes on by itself, on a duplicate that stays open as long as the poll.
#[derive(Debug)]
pub(crate) struct Watch {
    fd: OwnedFd,
    token: Token,
    is_ending: bool,
}

impl Ring {
    /// Reports [`Event::Readable`] whenever new input arrives on `fd`, starting with what is there.
    ///
    /// The ring watches a duplicate, so `fd` may be closed any time; the duplicate goes with
    /// [`unwatch`](Self::unwatch).
    ///
    /// # Errors
    /// When no descriptor is left for the duplicate.
    pub fn watch(&mut self, fd: impl AsFd, token: Token) -> io::Result<WatchId> {
        let fd = fd.as_fd().try_clone_to_owned()?;
        let slot = self.watches.insert(Watch { fd, token, is_ending: false });
        self.arm_watch(slot);
        Ok(WatchId(slot))
    }

    /// Ends a watch; no further event of it comes.
    pub fn unwatch(&mut self, watch: WatchId) {
        if let Some(entry) = self.watches.get_mut(watch.0)
            && !entry.is_ending
        {
            entry.is_ending = true;
            self.cancel(Tag::new(Kind::Watch, watch.0));
        }
        self.events
            .retain(|event| !matches!(event, Event::Readable { watch: of, .. } if *of == watch));
    }

    pub(crate) fn complete_watch(&mut self, slot: SlotKey, completion: Completion) {
        let entry = self.watches.get(slot).expect("a watch outlives its operation");
        let (watch, token) = (WatchId(slot), entry.token);
        if entry.is_ending {
            if !completion.more() {
                self.watches.remove(slot);
            }
            return;
        }
        match completion.outcome() {
            Ok(events) => {
                let hung_up =
                    events & u32::from((libc::POLLHUP | libc::POLLERR).cast_unsigned()) != 0;
                self.events.push_back(Event::Readable { watch, token, hung_up });
                if !completion.more() {
                    self.arm_watch(slot);
                }
            }
            Err(error) => {
                self.watches.remove(slot);
                self.events.push_back(Event::WatchFailed { watch, token, error });
            }
        }
    }

    fn arm_watch(&mut self, slot: SlotKey) {
        let entry = self.watches.get(slot).expect("only a watch polls");
        let readable = u32::from(libc::POLLIN.cast_unsigned());
        let poll = opcode::PollAdd::new(Fd(entry.fd.as_raw_fd()), readable)
            .multi(true)
            .build()
            .user_data(Tag::new(Kind::Watch, slot).to_user_data());
        // SAFETY: a poll names no memory; the watch keeps its descriptor open until the last
        // completion.
        unsafe { self.queues.push(poll) };
    }
}
