//! Accepting connections.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

use io_uring::opcode;
use io_uring::types::Fd;

use crate::event::Event;
use crate::kernel_queues::Completion;
use crate::operation::{Kind, Tag};
use crate::ring::Ring;
use crate::slots::SlotKey;
use crate::token::{ListenerId, Token};

/// A listening socket with one accept operation that goes on by itself.
#[derive(Debug)]
pub(crate) struct Listener {
    fd: OwnedFd,
    token: Token,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Accepting,
    /// Out of descriptors or memory: a deadline will resume.
    Resting,
    /// The caller is done with it; its last completion closes it.
    Closing,
}

impl Ring {
    /// Accepts connections on a listening socket (Unix or TCP) until
    /// [`close_listener`](Self::close_listener).
    ///
    /// The caller bounds the number of connections by closing what is too many: an accepted
    /// connection that nobody looks at would only wait in the backlog instead.
    pub fn listen(&mut self, fd: OwnedFd, token: Token) -> ListenerId {
        let slot = self.listeners.insert(Listener { fd, token, state: State::Accepting });
        self.arm_accept(slot);
        ListenerId(slot)
    }

    /// Stops accepting and closes the socket. Connections accepted meanwhile are closed.
    pub fn close_listener(&mut self, listener: ListenerId) {
        let Some(entry) = self.listeners.get_mut(listener.0) else { return };
        match entry.state {
            State::Accepting => {
                entry.state = State::Closing;
                self.cancel(Tag::new(Kind::Accept, listener.0));
            }
            State::Resting => {
                self.listeners.remove(listener.0);
            }
            State::Closing => {}
        }
    }

    pub(crate) fn complete_accept(&mut self, slot: SlotKey, completion: Completion) {
        let accepted = Self::accepted(completion);
        let entry = self.listeners.get_mut(slot).expect("a listener outlives its operation");
        let (listener, token) = (ListenerId(slot), entry.token);
        if entry.state == State::Closing {
            if !completion.more() {
                self.listeners.remove(slot);
            }
            return;
        }
        match accepted {
            Ok(fd) => self.events.push_back(Event::Accepted { listener, token, fd }),
            Err(error) => match error.raw_os_error().unwrap_or(0) {
                // The peer gave up before it was accepted, or the queue overflowed: go on.
                libc::ECONNABORTED | libc::EINTR | libc::EAGAIN | libc::ECANCELED => {}
                libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => {
                    entry.state = State::Resting;
                    let pause = self.config.accept_pause;
                    let retry_in = Some(pause);
                    self.deadlines.insert(Instant::now() + pause, Tag::new(Kind::Accept, slot));
                    self.events.push_back(Event::AcceptFailed { listener, token, error, retry_in });
                    return;
                }
                _ => {
                    self.listeners.remove(slot);
                    let retry_in = None;
                    self.events.push_back(Event::AcceptFailed { listener, token, error, retry_in });
                    return;
                }
            },
        }
        if !completion.more() {
            self.arm_accept(slot);
        }
    }

    /// The descriptor that an accept brought.
    pub(crate) fn accepted(completion: Completion) -> io::Result<OwnedFd> {
        completion.outcome()?;
        // SAFETY: the result of a successful accept is a new descriptor that nobody else owns; it
        // is taken exactly once, where its completion is handled.
        Ok(unsafe { OwnedFd::from_raw_fd(completion.result) })
    }

    pub(crate) fn resume_accept(&mut self, slot: SlotKey) {
        // The listener may have been closed while it rested.
        if let Some(entry) = self.listeners.get_mut(slot) {
            entry.state = State::Accepting;
            self.arm_accept(slot);
        }
    }

    fn arm_accept(&mut self, slot: SlotKey) {
        let entry = self.listeners.get(slot).expect("only a listener accepts");
        let accept = opcode::AcceptMulti::new(Fd(entry.fd.as_raw_fd()))
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(Tag::new(Kind::Accept, slot).to_user_data());
        // SAFETY: a multishot accept names no memory; the listener keeps its descriptor open until
        // the last completion.
        unsafe { self.queues.push(accept) };
    }
}
