//! How a stream ends: flushed, given away or aborted, each with one last event.

use std::io;
use std::time::Instant;

use crate::event::Event;
use crate::operation::{Kind, Tag};
use crate::ring::Ring;
use crate::slots::SlotKey;
use crate::stream::{Ending, Input, Receive};
use crate::token::StreamId;

impl Ring {
    /// Sends what is queued, for [`crate::StreamLimits::close_flush_max`] at most, then closes.
    ///
    /// Input is forgotten from now on. The stream ends with [`Event::Closed`].
    pub fn close(&mut self, stream: StreamId) {
        let Some(entry) = self.streams.get_mut(stream.0) else { return };
        entry.input = Input::Forgotten;
        if !matches!(entry.ending, None | Some(Ending::Detach)) {
            return;
        }
        entry.ending = Some(Ending::Flush);
        if !entry.send.is_empty() {
            let at = Instant::now() + entry.limits.close_flush_max;
            entry.deadline = Some(self.deadlines.insert(at, Tag::new(Kind::Send, stream.0)));
            // A TCP socket closed with unread input resets, and the reset overtakes our last bytes.
            self.arm_receive(stream.0);
        }
        self.advance_ending(stream.0);
    }

    /// Closes at once; what is queued is lost. The stream ends with [`Event::Closed`].
    pub fn abort(&mut self, stream: StreamId) {
        let Some(entry) = self.streams.get_mut(stream.0) else { return };
        entry.input = Input::Forgotten;
        self.begin_abort(stream.0, None);
        self.advance_ending(stream.0);
    }

    /// Takes the socket out of the ring: sends what is queued, stops receiving, and gives it back
    /// with [`Event::Detached`]. Bytes received meanwhile are still reported before.
    ///
    /// When the peer closes first, the stream ends with [`Event::Closed`].
    pub fn detach(&mut self, stream: StreamId) {
        let Some(entry) = self.streams.get_mut(stream.0) else { return };
        if entry.ending.is_some() {
            return;
        }
        entry.ending = Some(Ending::Detach);
        self.stop_receive(stream.0);
        self.advance_ending(stream.0);
    }

    /// The time for flushing is over.
    pub(crate) fn give_up_flush(&mut self, slot: SlotKey) {
        let Some(stream) = self.streams.get_mut(slot) else { return };
        stream.deadline = None;
        self.begin_abort(slot, Some(io::ErrorKind::TimedOut.into()));
        self.advance_ending(slot);
    }

    /// Stops everything under way. The first reason is the one reported.
    pub(crate) fn begin_abort(&mut self, slot: SlotKey, error: Option<io::Error>) {
        let stream = self.stream_mut(slot);
        if matches!(stream.ending, Some(Ending::Abort | Ending::Done)) {
            return;
        }
        stream.ending = Some(Ending::Abort);
        stream.error = error;
        stream.send.forget_collected();
        let is_sending = stream.send.is_in_flight();
        self.stop_receive(slot);
        if is_sending {
            self.cancel(Tag::new(Kind::Send, slot));
        }
    }

    /// Ends the stream if nothing of it is under way any more.
    pub(crate) fn advance_ending(&mut self, slot: SlotKey) {
        let stream = self.stream_mut(slot);
        match stream.ending {
            None | Some(Ending::Done) => return,
            Some(Ending::Flush | Ending::Detach) if !stream.send.is_empty() => return,
            Some(Ending::Flush) => self.begin_abort(slot, None),
            Some(Ending::Detach | Ending::Abort) => {}
        }
        let stream = self.stream_mut(slot);
        let is_receiving = matches!(stream.receive, Receive::Armed | Receive::Cancelling);
        if is_receiving || stream.send.is_in_flight() {
            return;
        }
        let is_detached = stream.ending == Some(Ending::Detach);
        stream.ending = Some(Ending::Done);
        let (token, error) = (stream.token, stream.error.take());
        let fd = stream.fd.take().expect("an open stream has its socket");
        if let Some(deadline) = stream.deadline.take() {
            self.deadlines.remove(deadline);
        }
        let stream = StreamId(slot);
        self.events.push_back(if is_detached {
            Event::Detached { stream, token, fd }
        } else {
            drop(fd);
            Event::Closed { stream, token, error }
        });
    }
}
