//! Sending to another thread's mailbox without ever waiting for it.

use bateria_ring::Ring;
use bateria_ring::mailbox::{MailboxRefused, MailboxSender};
use std::collections::VecDeque;

/// A mailbox, and what did not fit into it yet.
///
/// When more than `CONGESTED_COUNT` messages wait here, the owner stops reading from its clients,
/// who cause them; what they had already sent is bounded.
pub(crate) struct Outbox<T> {
    mailbox: MailboxSender<T>,
    waiting: VecDeque<T>,
}

const CONGESTED_COUNT: usize = 1024;

impl<T> Outbox<T> {
    pub(crate) fn new(mailbox: MailboxSender<T>) -> Self {
        Self { mailbox, waiting: VecDeque::new() }
    }

    pub(crate) fn send(&mut self, ring: &mut Ring, message: T) {
        self.waiting.push_back(message);
        self.flush(ring);
    }

    /// Sends what waits, as far as there is room. A receiver that is gone takes everything: the
    /// daemon is ending.
    pub(crate) fn flush(&mut self, ring: &mut Ring) {
        while let Some(message) = self.waiting.pop_front() {
            match self.mailbox.try_send_from(ring, message) {
                Ok(()) | Err(MailboxRefused::Closed(_)) => {}
                Err(MailboxRefused::Full(message)) => {
                    self.waiting.push_front(message);
                    return;
                }
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn is_congested(&self) -> bool {
        self.waiting.len() > CONGESTED_COUNT
    }
}
