//! How bytes flow through a stream: arming operations, and what their completions lead to.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::types::Fd;
use io_uring::{cqueue, opcode, squeue};

use crate::aligned_bytes::AlignedBytes;
use crate::event::Event;
use crate::kernel_queues::Completion;
use crate::operation::{Kind, Tag};
use crate::prompt_sends::PromptSend;
use crate::receive_pool::{BUFFER_GROUP, ReceivedBuffer};
use crate::ring::Ring;
use crate::send_queue::{AfterSend, SendRange};
use crate::slots::SlotKey;
use crate::stream::{Ending, Input, Receive, Stream};
use crate::token::StreamId;

/// Send buffers kept for the next stream that needs one.
const SPARE_BUFFERS_MAX: usize = 64;

/// A buffer that grew larger than this for one burst is freed, not kept.
const SPARE_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// Longer sends often fall short, and then their completion is worth having at once.
const PROMPT_SEND_BYTES_MAX: usize = 64 * 1024;

impl Ring {
    /// Starts receiving, unless there is a reason not to.
    pub(crate) fn arm_receive(&mut self, slot: SlotKey) {
        let stream = self.stream_mut(slot);
        if stream.receive != Receive::Idle || !stream.may_receive() {
            return;
        }
        stream.receive = Receive::Armed;
        let receive = opcode::RecvMulti::new(Fd(stream.raw_fd()), BUFFER_GROUP)
            .build()
            .user_data(Tag::new(Kind::Receive, slot).to_user_data());
        // SAFETY: the kernel writes into buffers of the registered pool only, which outlives every
        // operation (see `Drop` of the ring); the stream keeps its descriptor open meanwhile.
        unsafe { self.queues.push(receive) };
    }

    /// Asks a receive that is under way to end.
    pub(crate) fn stop_receive(&mut self, slot: SlotKey) {
        let stream = self.stream_mut(slot);
        match stream.receive {
            Receive::Armed => {
                stream.receive = Receive::Cancelling;
                self.cancel(Tag::new(Kind::Receive, slot));
            }
            // Its entry in the list of the starved finds it idle and does nothing.
            Receive::Starved => stream.receive = Receive::Idle,
            Receive::Idle | Receive::Cancelling => {}
        }
    }

    /// Lets streams that found no buffer try again, first come first served, as many as there are
    /// buffers now.
    pub(crate) fn feed_the_starved(&mut self) {
        for _ in 0..self.pool.available_count() {
            let Some(StreamId(slot)) = self.starved.pop_front() else { return };
            if let Some(stream) = self.streams.get_mut(slot)
                && stream.receive == Receive::Starved
            {
                stream.receive = Receive::Idle;
                self.arm_receive(slot);
            }
        }
    }

    /// The buffer that a completion filled, if any.
    pub(crate) fn received(&self, completion: Completion) -> Option<ReceivedBuffer> {
        let number = cqueue::buffer_select(completion.flags)?;
        Some(self.pool.take(number, completion.result.max(0).unsigned_abs()))
    }

    pub(crate) fn complete_receive(&mut self, slot: SlotKey, completion: Completion) {
        let buffer = self.received(completion);
        let stream = self.stream_mut(slot);
        if !completion.more() {
            stream.receive = Receive::Idle;
        }
        let token = stream.token;
        match completion.outcome() {
            Ok(0) => {
                stream.has_input_ended = true;
                // While what is queued is being flushed, a peer that only stopped sending may
                // still want it.
                if stream.ending != Some(Ending::Flush) {
                    self.begin_abort(slot, None);
                }
            }
            Ok(_) => {
                if let (true, Some(buffer)) = (stream.input != Input::Forgotten, buffer) {
                    let stream = StreamId(slot);
                    self.events.push_back(Event::Received { stream, token, buffer });
                }
            }
            Err(error) => match error.raw_os_error().unwrap_or(0) {
                libc::ENOBUFS => {
                    stream.receive = Receive::Starved;
                    self.starved.push_back(StreamId(slot));
                }
                // Cancelled by a pause that may be over by now, or interrupted: see below.
                libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
                _ => self.begin_abort(slot, Some(error)),
            },
        }
        self.arm_receive(slot);
        self.advance_ending(slot);
    }

    /// Hands everything that has collected since the last turn to the kernel.
    pub(crate) fn start_sends(&mut self) {
        let mut unsent = std::mem::take(&mut self.unsent);
        for StreamId(slot) in unsent.drain(..) {
            if let Some(stream) = self.streams.get_mut(slot) {
                stream.is_unsent = false;
                self.start_prompt_send(slot);
            }
        }
        self.unsent = unsent;
    }

    pub(crate) fn complete_send(&mut self, slot: SlotKey, completion: Completion) {
        let stream = self.stream_mut(slot);
        let is_aborting = stream.ending == Some(Ending::Abort);
        match completion.outcome() {
            Ok(0) => {
                stream.send.abandon();
                self.begin_abort(slot, Some(io::ErrorKind::WriteZero.into()));
            }
            Ok(sent) => match stream.send.complete(sent as usize) {
                AfterSend::Continue(range) if !is_aborting => self.continue_send(slot, range),
                AfterSend::Continue(_) => drop(stream.send.abandon()),
                AfterSend::Done(buffer) => self.keep_spare(buffer),
            },
            Err(_) if is_aborting => drop(stream.send.abandon()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) => {
                let range = stream.send.retry();
                self.continue_send(slot, range);
            }
            Err(error) => {
                stream.send.abandon();
                self.begin_abort(slot, Some(error));
            }
        }
        self.start_send(slot);
        self.report_drained(slot);
        self.advance_ending(slot);
    }

    /// A prompt send kept silent: all of it is sent.
    pub(crate) fn settle_send(&mut self, PromptSend { stream: slot, number }: PromptSend) {
        let Some(stream) = self.streams.get_mut(slot) else { return };
        let Some(buffer) = stream.send.settle(number) else { return };
        self.queues.settle();
        self.keep_spare(buffer);
        self.start_send(slot);
        self.report_drained(slot);
        self.advance_ending(slot);
    }

    /// Sends what has collected, if nothing is under way.
    fn start_send(&mut self, slot: SlotKey) {
        let stream = self.stream_mut(slot);
        if matches!(stream.ending, Some(Ending::Abort | Ending::Done)) {
            return;
        }
        if let Some(range) = stream.send.start() {
            self.continue_send(slot, range);
        }
    }

    /// Sends what has collected, if nothing is under way, by an operation that need not be heard
    /// of, unless somebody waits to hear.
    fn start_prompt_send(&mut self, slot: SlotKey) {
        let stream = self.stream_mut(slot);
        let is_awaited = stream.wants_drained || stream.ending.is_some();
        if is_awaited || stream.send.collected_bytes() > PROMPT_SEND_BYTES_MAX {
            self.start_send(slot);
            return;
        }
        let Some(range) = stream.send.start() else { return };
        let number = stream.send.expect_silence();
        // MSG_WAITALL: falling short is a failure, which is reported.
        let send = stream
            .send_entry(slot, range, libc::MSG_DONTWAIT | libc::MSG_WAITALL)
            .flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: the send queue keeps the range in place and untouched until this operation's
        // completion, or until `settle_send` after the submission is over; the stream keeps its
        // descriptor open meanwhile; a ring that cannot wait for it leaks both.
        unsafe { self.queues.push(send) };
        self.prompt_sends.push(PromptSend { stream: slot, number });
    }

    /// Sends `range`, waiting in the kernel for the socket to have room.
    fn continue_send(&mut self, slot: SlotKey, range: SendRange) {
        let send = self.stream_mut(slot).send_entry(slot, range, libc::MSG_WAITALL);
        // SAFETY: the send queue keeps the range in place and untouched until `complete` or
        // `abandon`, which only this operation's completion calls; the stream keeps its descriptor
        // open meanwhile; a ring that cannot wait for the completion leaks both.
        unsafe { self.queues.push(send) };
    }

    fn keep_spare(&mut self, buffer: AlignedBytes) {
        if self.spare.len() < SPARE_BUFFERS_MAX && buffer.capacity_bytes() <= SPARE_BUFFER_BYTES_MAX
        {
            self.spare.push(buffer);
        }
    }

    pub(crate) fn stream_mut(&mut self, slot: SlotKey) -> &mut Stream {
        self.streams.get_mut(slot).expect("a stream outlives its operations")
    }
}

impl Stream {
    fn may_receive(&self) -> bool {
        self.input != Input::Paused
            && !self.has_input_ended
            && matches!(self.ending, None | Some(Ending::Flush))
    }

    fn send_entry(&self, slot: SlotKey, range: SendRange, flags: i32) -> squeue::Entry {
        opcode::Send::new(Fd(self.raw_fd()), range.start, range.len)
            .flags(libc::MSG_NOSIGNAL | flags)
            .build()
            .user_data(Tag::new(Kind::Send, slot).to_user_data())
    }

    fn raw_fd(&self) -> RawFd {
        self.fd.as_ref().expect("an open stream has its socket").as_raw_fd()
    }
}
