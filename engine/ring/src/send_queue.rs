//! What one stream still has to send: one buffer with the kernel, the next one collecting.

use crate::aligned_bytes::AlignedBytes;

/// Two buffers that take turns: while the kernel sends from one, frames collect in the other.
///
/// The buffer with the kernel is out of reach until its completion: nothing here lends it
/// mutably, grows it or drops it while `in_flight` is `Some`.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    collecting: AlignedBytes,
    in_flight: Option<InFlight>,
    /// Counts the sends started, so that a late word about one is not taken for another.
    number: u32,
}

#[derive(Debug)]
struct InFlight {
    bytes: AlignedBytes,
    /// Bytes of it that the socket has taken.
    sent: usize,
    /// Whether nothing but failure will be heard of it.
    is_silent: bool,
}

/// What the kernel shall read: valid until [`SendQueue::complete`] is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SendRange {
    pub(crate) start: *const u8,
    pub(crate) len: u32,
}

/// What to do after a completion.
#[derive(Debug)]
pub(crate) enum AfterSend {
    /// The socket took only a part: submit this rest.
    Continue(SendRange),
    /// All of it is sent; the buffer may serve another stream.
    Done(AlignedBytes),
}

impl SendQueue {
    /// Bytes not yet taken by the socket.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.collecting.len()
            + self.in_flight.as_ref().map_or(0, |flight| flight.bytes.len() - flight.sent)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_none() && self.collecting.is_empty()
    }

    pub(crate) const fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The buffer that the next send will take; `spare` replaces it when it has no memory yet.
    pub(crate) fn collecting(&mut self, spare: &mut Vec<AlignedBytes>) -> &mut AlignedBytes {
        if self.collecting.capacity_bytes() == 0
            && let Some(buffer) = spare.pop()
        {
            self.collecting = buffer;
        }
        &mut self.collecting
    }

    /// Hands what has collected to the kernel, unless it still has the other buffer or nothing
    /// has collected.
    pub(crate) fn start(&mut self) -> Option<SendRange> {
        if self.in_flight.is_some() || self.collecting.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.collecting);
        self.number = self.number.wrapping_add(1);
        Some(self.in_flight.insert(InFlight { bytes, sent: 0, is_silent: false }).rest())
    }

    /// Bytes that the next send would take.
    pub(crate) const fn collected_bytes(&self) -> usize {
        self.collecting.len()
    }

    /// The send just started will report nothing but failure. Gives its number for
    /// [`settle`](Self::settle).
    pub(crate) fn expect_silence(&mut self) -> u32 {
        self.in_flight.as_mut().expect("it was just started").is_silent = true;
        self.number
    }

    /// The send of that number was silent, so all of it is sent. `None` when it was not: then its
    /// completion was or will be heard.
    pub(crate) fn settle(&mut self, number: u32) -> Option<AlignedBytes> {
        if self.number == number && self.in_flight.as_ref().is_some_and(|flight| flight.is_silent) {
            self.abandon()
        } else {
            None
        }
    }

    /// The same bytes once more, after a completion that sent none of them.
    pub(crate) fn retry(&mut self) -> SendRange {
        let flight = self.in_flight.as_mut().expect("only what is in flight is retried");
        flight.is_silent = false;
        flight.rest()
    }

    /// The kernel is done with the range: the socket took `sent` bytes of it.
    pub(crate) fn complete(&mut self, sent: usize) -> AfterSend {
        let flight = self.in_flight.as_mut().expect("only what is in flight completes");
        flight.is_silent = false;
        flight.sent += sent;
        assert!(flight.sent <= flight.bytes.len(), "a socket takes no more than it was given");
        if flight.sent < flight.bytes.len() {
            return AfterSend::Continue(flight.rest());
        }
        AfterSend::Done(self.abandon().expect("it is in flight"))
    }

    /// The kernel is done with the range and the rest will not be sent.
    pub(crate) fn abandon(&mut self) -> Option<AlignedBytes> {
        self.in_flight.take().map(|flight| {
            let mut bytes = flight.bytes;
            bytes.clear();
            bytes
        })
    }

    /// Forgets what has collected; the kernel keeps what it has.
    pub(crate) fn forget_collected(&mut self) {
        self.collecting = AlignedBytes::new();
    }
}

impl InFlight {
    fn rest(&self) -> SendRange {
        let rest = &self.bytes.as_slice()[self.sent..];
        // One operation sends at most 1 GiB: the field has 32 bits and the result is signed.
        let len = rest.len().min(SEND_BYTES_MAX);
        SendRange { start: rest.as_ptr(), len: u32::try_from(len).expect("below 2^30") }
    }
}

const SEND_BYTES_MAX: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn queue_with(bytes: &[u8]) -> SendQueue {
        let mut queue = SendQueue::default();
        queue.collecting(&mut Vec::new()).extend_from_slice(bytes);
        queue
    }

    #[test]
    fn frames_collect_while_others_are_in_flight() {
        let mut queue = queue_with(b"first");
        let range = queue.start().unwrap();
        assert_eq!(range.len, 5);
        queue.collecting(&mut Vec::new()).extend_from_slice(b"second");
        assert_eq!(queue.start(), None, "one operation at a time keeps the order");
        assert_eq!(queue.queued_bytes(), 11);
        assert!(matches!(queue.complete(5), AfterSend::Done(_)));
        assert_eq!(queue.start().unwrap().len, 6);
    }

    #[test]
    fn a_partial_send_continues_behind_what_was_taken() {
        let mut queue = queue_with(b"abcdef");
        let first = queue.start().unwrap();
        let AfterSend::Continue(rest) = queue.complete(2) else { panic!("four bytes are left") };
        assert_eq!(rest.len, 4);
        assert_eq!(rest.start.addr(), first.start.addr() + 2);
        assert_eq!(queue.queued_bytes(), 4);
        assert!(matches!(queue.complete(4), AfterSend::Done(_)));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_silent_send_is_settled_once_and_only_as_itself() {
        let mut queue = queue_with(b"abc");
        queue.start().unwrap();
        let first = queue.expect_silence();
        assert!(queue.settle(first.wrapping_sub(1)).is_none());
        assert!(queue.settle(first).is_some());
        queue.collecting(&mut Vec::new()).extend_from_slice(b"def");
        queue.start().unwrap();
        let second = queue.expect_silence();
        assert!(queue.settle(first).is_none());
        // It fell short, so it was heard of: from now on only completions count.
        assert!(matches!(queue.complete(1), AfterSend::Continue(_)));
        assert!(queue.settle(second).is_none());
    }

    #[test]
    fn a_spare_buffer_is_used_before_new_memory() {
        let mut spare = vec![AlignedBytes::with_capacity(4096)];
        let mut queue = SendQueue::default();
        queue.collecting(&mut spare).extend_from_slice(b"x");
        assert!(spare.is_empty());
        assert_eq!(queue.collecting.capacity_bytes(), 4096);
    }
}
