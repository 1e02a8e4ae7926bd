//! How much memory the packets take that clients have sent in part.
//!
//! One packet may have 256 MiB (client protocol §1.3), and there are thousands of clients. What
//! has arrived of all unfinished packets together has a bound; the client that would exceed it is
//! disconnected, the others notice nothing.

use bateria_ring::FrameBuffer;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of unfinished packets, of all clients of the node.
#[derive(Default)]
pub(crate) struct Intake {
    held_bytes: AtomicUsize,
}

/// One client's part.
#[derive(Default)]
pub(crate) struct Share {
    bytes: usize,
}

/// Together: room for two of the largest packets.
const HELD_BYTES_MAX: usize = 512 << 20;
/// A client may always hold this much, however much others hold.
pub(crate) const ALLOWED_BYTES: usize = 1 << 20;

impl Intake {
    /// Takes note of what a client holds now. False when that is too much.
    #[must_use]
    pub(crate) fn note(&self, share: &mut Share, received: &FrameBuffer) -> bool {
        let bytes = if received.is_empty() { 0 } else { received.capacity_bytes() };
        let before = std::mem::replace(&mut share.bytes, bytes);
        if bytes == before {
            return true;
        }
        // Wrapping addition of a difference that may be negative.
        let change = bytes.wrapping_sub(before);
        let all = self.held_bytes.fetch_add(change, Ordering::Relaxed).wrapping_add(change);
        bytes < before || bytes <= ALLOWED_BYTES || all <= HELD_BYTES_MAX
    }

    /// The client holds nothing any more, here at least.
    pub(crate) fn release(&self, share: Share) {
        self.held_bytes.fetch_sub(share.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(bytes: usize) -> FrameBuffer {
        let mut buffer = FrameBuffer::new();
        buffer.push(&vec![0; bytes]);
        buffer
    }

    #[test]
    fn who_exceeds_the_bound_is_told_and_the_small_ones_go_on() {
        let intake = Intake::default();
        let (mut one, mut two, mut three) = (Share::default(), Share::default(), Share::default());
        let large = holding(HELD_BYTES_MAX / 2 - 64);
        assert!(intake.note(&mut one, &large));
        assert!(intake.note(&mut two, &large));
        assert!(!intake.note(&mut three, &holding(ALLOWED_BYTES * 2)));
        assert!(intake.note(&mut three, &holding(100)), "less than before is welcome");

        intake.release(two);
        assert!(intake.note(&mut one, &FrameBuffer::new()));
        assert!(intake.note(&mut three, &large));
        intake.release(one);
        intake.release(three);
        assert_eq!(intake.held_bytes.into_inner(), 0);
    }
}
