//! Bounded queues between threads that wake their receiver through its ring.

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError};

use crate::doorbell::Doorbell;
use crate::ring::Ring;

/// A mailbox of `capacity` places whose receiver is woken by `doorbell`.
///
/// The receiver looks in on [`crate::Event::Knocked`] and takes everything, or leaves a rest with
/// [`MailboxReceiver::come_back`]. Since a sender first pushes and then rings, and a ring is
/// reported after the last look, nothing stays behind unnoticed (argued and model-checked at the
/// bell).
#[must_use]
pub fn bounded<T>(capacity: usize, doorbell: Doorbell) -> (MailboxSender<T>, MailboxReceiver<T>) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    let sender = MailboxSender { sender, doorbell: RingsAtTheEnd(doorbell.clone()) };
    (sender, MailboxReceiver { receiver, doorbell })
}

/// The sending end; every sender may have a clone.
#[derive(Debug)]
pub struct MailboxSender<T> {
    // Dropped in this order: the receiver is woken when it can already see that a sender is gone.
    sender: Sender<T>,
    doorbell: RingsAtTheEnd,
}

/// The receiving end, kept beside the ring that the doorbell belongs to.
#[derive(Debug)]
pub struct MailboxReceiver<T> {
    receiver: Receiver<T>,
    doorbell: Doorbell,
}

/// The message was not taken; here it is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MailboxRefused<T> {
    /// Every place is taken: press back on whoever caused the message.
    #[error("the mailbox is full")]
    Full(T),
    /// The receiver is gone.
    #[error("the mailbox is closed")]
    Closed(T),
}

/// There is nothing to take out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoMessage {
    /// Not now.
    #[error("the mailbox is empty")]
    Empty,
    /// Never again: every sender is gone.
    #[error("the mailbox is closed")]
    Closed,
}

impl<T> MailboxSender<T> {
    /// Puts `message` in, from a thread without a ring.
    ///
    /// # Errors
    /// Gives the message back when the mailbox is full or closed.
    pub fn try_send(&self, message: T) -> Result<(), MailboxRefused<T>> {
        self.push(message)?;
        self.doorbell.0.ring();
        Ok(())
    }

    /// Puts `message` in from a thread that drives `ring`: waking travels with its next turn.
    ///
    /// # Errors
    /// Gives the message back when the mailbox is full or closed.
    pub fn try_send_from(&self, ring: &mut Ring, message: T) -> Result<(), MailboxRefused<T>> {
        self.push(message)?;
        ring.knock(&self.doorbell.0);
        Ok(())
    }

    /// Messages that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sender.len()
    }

    /// Whether no message waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sender.is_empty()
    }

    fn push(&self, message: T) -> Result<(), MailboxRefused<T>> {
        self.sender.try_send(message).map_err(|error| match error {
            TrySendError::Full(message) => MailboxRefused::Full(message),
            TrySendError::Disconnected(message) => MailboxRefused::Closed(message),
        })
    }
}

impl<T> Clone for MailboxSender<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), doorbell: self.doorbell.clone() }
    }
}

/// The last sender's going is news as well: the receiver finds itself alone.
#[derive(Debug, Clone)]
struct RingsAtTheEnd(Doorbell);

impl Drop for RingsAtTheEnd {
    fn drop(&mut self) {
        self.0.ring();
    }
}

impl<T> MailboxReceiver<T> {
    /// Takes one message out.
    ///
    /// # Errors
    /// [`NoMessage::Closed`] when there never will be another.
    pub fn try_recv(&self) -> Result<T, NoMessage> {
        self.receiver.try_recv().map_err(|error| match error {
            TryRecvError::Empty => NoMessage::Empty,
            TryRecvError::Disconnected => NoMessage::Closed,
        })
    }

    /// Messages that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.receiver.len()
    }

    /// Whether no message waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Has the ring report [`crate::Event::Knocked`] again, for a receiver that took only its
    /// share of this turn. It costs no system call.
    pub fn come_back(&self) {
        self.doorbell.ring();
    }
}
