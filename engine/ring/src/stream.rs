//! A connection that the ring reads and writes: what the caller can do with it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::aligned_bytes::AlignedBytes;
use crate::config::StreamLimits;
use crate::deadlines::Deadline;
use crate::error::SendRefused;
use crate::event::Event;
use crate::ring::Ring;
use crate::send_queue::SendQueue;
use crate::slots::SlotKey;
use crate::token::{StreamId, Token};

/// Frames are encoded straight into what will be sent.
pub type SendBuffer = AlignedBytes;

/// One connection: at most one receive and one send operation under way.
#[derive(Debug)]
pub(crate) struct Stream {
    /// `None` once the last event is queued.
    pub(crate) fd: Option<OwnedFd>,
    pub(crate) token: Token,
    pub(crate) limits: StreamLimits,
    pub(crate) receive: Receive,
    pub(crate) input: Input,
    /// The peer sends no more.
    pub(crate) has_input_ended: bool,
    pub(crate) send: SendQueue,
    /// Whether it is listed among the streams with something unsent.
    pub(crate) is_unsent: bool,
    /// Somebody waits for the queue to fall.
    pub(crate) wants_drained: bool,
    pub(crate) ending: Option<Ending>,
    pub(crate) error: Option<io::Error>,
    pub(crate) deadline: Option<Deadline>,
}

/// What the caller wants of the peer's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    Wanted,
    /// Not for now, except what has been received already.
    Paused,
    /// Nothing, not even what has been received already.
    Forgotten,
}

/// Where the receive operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receive {
    Idle,
    Armed,
    /// Asked to end; its last completion is still to come.
    Cancelling,
    /// Found no buffer; listed to get one.
    Starved,
}

/// How a stream is going to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Send what is queued, then close.
    Flush,
    /// Send what is queued, stop receiving, give the socket back.
    Detach,
    /// Stop everything, then close.
    Abort,
    /// The last event is queued.
    Done,
}

impl Ring {
    /// Takes a connected stream socket over and starts receiving.
    ///
    /// Ends with one [`Event::Closed`] or [`Event::Detached`], whatever happens.
    ///
    /// # Errors
    /// When `fd` is no descriptor that can be made blocking, as the ring needs it.
    pub fn open_stream(
        &mut self,
        fd: OwnedFd,
        token: Token,
        limits: StreamLimits,
    ) -> io::Result<StreamId> {
        make_blocking(fd.as_fd())?;
        let slot = self.streams.insert(Stream {
            fd: Some(fd),
            token,
            limits,
            receive: Receive::Idle,
            input: Input::Wanted,
            has_input_ended: false,
            send: SendQueue::default(),
            is_unsent: false,
            wants_drained: false,
            ending: None,
            error: None,
            deadline: None,
        });
        self.arm_receive(slot);
        Ok(StreamId(slot))
    }

    /// Queues `bytes` for sending; the next turn submits them together with what else collects.
    ///
    /// # Errors
    /// [`SendRefused::QueueFull`] when the queue would exceed its limit (an empty queue takes a
    /// frame of any size), [`SendRefused::Closed`] when the stream is closing or gone.
    pub fn send(&mut self, stream: StreamId, bytes: &[u8]) -> Result<(), SendRefused> {
        self.admit(stream, bytes.len())?.extend_from_slice(bytes);
        Ok(())
    }

    /// The buffer that collects the stream's frames, to encode one in place. Only append: frames
    /// of other calls lie before.
    ///
    /// # Errors
    /// As for [`send`](Self::send), for a frame of one byte; so the limit may be exceeded by one
    /// frame.
    pub fn send_buffer(&mut self, stream: StreamId) -> Result<&mut SendBuffer, SendRefused> {
        self.admit(stream, 1)
    }

    /// Bytes that the socket has not taken yet; 0 for a stream that is gone.
    #[must_use]
    pub fn queued_bytes(&self, stream: StreamId) -> usize {
        self.streams.get(stream.0).map_or(0, |stream| stream.send.queued_bytes())
    }

    /// Asks for one [`Event::Drained`] when the queue is at its low mark or below.
    pub fn tell_when_drained(&mut self, stream: StreamId) {
        if let Some(entry) = self.streams.get_mut(stream.0) {
            entry.wants_drained = true;
            self.report_drained(stream.0);
        }
    }

    /// Stops receiving: the peer will feel back-pressure. What has been received before is still
    /// reported.
    pub fn pause_receive(&mut self, stream: StreamId) {
        let Some(entry) = self.streams.get_mut(stream.0) else { return };
        if entry.input == Input::Wanted {
            entry.input = Input::Paused;
            self.stop_receive(stream.0);
        }
    }

    /// Receives again.
    pub fn resume_receive(&mut self, stream: StreamId) {
        let Some(entry) = self.streams.get_mut(stream.0) else { return };
        if entry.input == Input::Paused {
            entry.input = Input::Wanted;
            self.arm_receive(stream.0);
        }
    }

    /// The token that the stream's events carry from now on; events already queued keep theirs.
    pub fn set_token(&mut self, stream: StreamId, token: Token) {
        if let Some(entry) = self.streams.get_mut(stream.0) {
            entry.token = token;
        }
    }

    /// The socket, to ask it things (peer credentials, addresses).
    #[must_use]
    pub fn stream_fd(&self, stream: StreamId) -> Option<BorrowedFd<'_>> {
        self.streams.get(stream.0)?.fd.as_ref().map(AsFd::as_fd)
    }

    /// Streams that have not reported their end yet.
    #[must_use]
    pub fn streams_count(&self) -> usize {
        self.streams.count()
    }

    /// Whether bytes received may still be reported: not after [`close`](Self::close) or
    /// [`abort`](Self::abort).
    pub(crate) fn wants_input(&self, stream: StreamId) -> bool {
        self.streams.get(stream.0).is_some_and(|stream| stream.input != Input::Forgotten)
    }

    fn admit(&mut self, stream: StreamId, bytes: usize) -> Result<&mut SendBuffer, SendRefused> {
        let entry = self.streams.get_mut(stream.0).ok_or(SendRefused::Closed)?;
        if entry.ending.is_some() {
            return Err(SendRefused::Closed);
        }
        let queued_bytes = entry.send.queued_bytes();
        let max_bytes = entry.limits.send_queue_bytes_max;
        if queued_bytes > 0 && queued_bytes.saturating_add(bytes) > max_bytes {
            entry.wants_drained = true;
            return Err(SendRefused::QueueFull { queued_bytes, max_bytes });
        }
        if !entry.is_unsent {
            entry.is_unsent = true;
            self.unsent.push(stream);
        }
        Ok(entry.send.collecting(&mut self.spare))
    }

    pub(crate) fn report_drained(&mut self, slot: SlotKey) {
        let entry = self.streams.get_mut(slot).expect("only called for a stream");
        if entry.wants_drained
            && entry.ending.is_none()
            && entry.send.queued_bytes() <= entry.limits.send_queue_bytes_low
        {
            entry.wants_drained = false;
            self.events.push_back(Event::Drained { stream: StreamId(slot), token: entry.token });
        }
    }
}

/// The ring waits in the kernel; a non-blocking descriptor would turn every wait into an error.
pub(crate) fn make_blocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let flags = fcntl_getfl(fd)?;
    if flags.contains(OFlags::NONBLOCK) {
        fcntl_setfl(fd, flags - OFlags::NONBLOCK)?;
    }
    Ok(())
}
