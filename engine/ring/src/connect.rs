//! Connecting to a peer within a time.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::opcode;
use io_uring::types::Fd;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::deadlines::Deadline;
use crate::event::Event;
use crate::kernel_queues::Completion;
use crate::operation::{Kind, Tag};
use crate::ring::Ring;
use crate::slots::SlotKey;
use crate::stream::make_blocking;
use crate::token::{ConnectId, Token};

/// A connection attempt: the kernel reads `address` until its completion.
#[derive(Debug)]
pub(crate) struct Connecting {
    fd: OwnedFd,
    address: Box<SockAddr>,
    token: Token,
    deadline: Deadline,
    /// Why we cancelled it, if we did.
    given_up: Option<io::ErrorKind>,
}

impl Ring {
    /// Connects a new stream socket to `address`, from the local address `bind` if given.
    ///
    /// Ends with [`Event::Connected`] or [`Event::ConnectFailed`].
    ///
    /// # Errors
    /// When there is no socket to be had or `bind` is not an address of ours.
    pub fn connect(
        &mut self,
        address: &SockAddr,
        bind: Option<&SockAddr>,
        token: Token,
        timeout: Duration,
    ) -> io::Result<ConnectId> {
        let socket = Socket::new(Domain::from(i32::from(address.family())), Type::STREAM, None)?;
        if let Some(bind) = bind {
            socket.bind(bind)?;
        }
        self.connect_socket(socket.into(), address, token, timeout)
    }

    /// Connects a socket that the caller has made and set up.
    ///
    /// Ends with [`Event::Connected`] or [`Event::ConnectFailed`].
    ///
    /// # Errors
    /// When `fd` is no descriptor that can be made blocking, as the ring needs it.
    pub fn connect_socket(
        &mut self,
        fd: OwnedFd,
        address: &SockAddr,
        token: Token,
        timeout: Duration,
    ) -> io::Result<ConnectId> {
        make_blocking(fd.as_fd())?;
        let address = Box::new(address.clone());
        let (start, len) = (address.as_ptr().cast::<libc::sockaddr>(), address.len());
        let raw = fd.as_raw_fd();
        let slot = self.connects.insert_with(|slot| {
            let tag = Tag::new(Kind::Connect, slot);
            let deadline = self.deadlines.insert(Instant::now() + timeout, tag);
            Connecting { fd, address, token, deadline, given_up: None }
        });
        let connect = opcode::Connect::new(Fd(raw), start, len)
            .build()
            .user_data(Tag::new(Kind::Connect, slot).to_user_data());
        // SAFETY: the address is in a box of its own and the descriptor is open until
        // `complete_connect` takes both out of the slot (or `Drop` leaks them).
        unsafe { self.queues.push(connect) };
        Ok(ConnectId(slot))
    }

    /// Gives an attempt up; it still ends with its one event.
    pub fn cancel_connect(&mut self, connect: ConnectId) {
        self.give_up_connect(connect.0, io::ErrorKind::Interrupted);
    }

    pub(crate) fn complete_connect(&mut self, slot: SlotKey, completion: Completion) {
        let connecting = self.connects.remove(slot).expect("an attempt outlives its operation");
        self.deadlines.remove(connecting.deadline);
        drop(connecting.address);
        let (connect, token, fd) = (ConnectId(slot), connecting.token, connecting.fd);
        self.events.push_back(match (completion.outcome(), connecting.given_up) {
            // The caller may have forgotten an attempt that it cancelled; it hears of a failure.
            (_, Some(io::ErrorKind::Interrupted)) => {
                let error = io::ErrorKind::Interrupted.into();
                Event::ConnectFailed { connect, token, error }
            }
            (Ok(_), _) => Event::Connected { connect, token, fd },
            (Err(_), Some(kind)) => Event::ConnectFailed { connect, token, error: kind.into() },
            (Err(error), None) => Event::ConnectFailed { connect, token, error },
        });
    }

    pub(crate) fn time_out_connect(&mut self, slot: SlotKey) {
        self.give_up_connect(slot, io::ErrorKind::TimedOut);
    }

    fn give_up_connect(&mut self, slot: SlotKey, why: io::ErrorKind) {
        let Some(connecting) = self.connects.get_mut(slot) else { return };
        if connecting.given_up.is_none() {
            connecting.given_up = Some(why);
            self.deadlines.remove(connecting.deadline);
            self.cancel(Tag::new(Kind::Connect, slot));
        }
    }
}
