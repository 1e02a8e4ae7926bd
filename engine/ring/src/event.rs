//! What a turn of the ring brought.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::receive_pool::ReceivedBuffer;
use crate::token::{ConnectId, ListenerId, ReceiveId, StreamId, Token, WaitId, WatchId};

/// One thing that happened, taken from [`crate::Ring::next_event`].
#[derive(Debug)]
pub enum Event {
    /// A connection arrived; the descriptor is close-on-exec and blocking, as streams want it.
    Accepted { listener: ListenerId, token: Token, fd: OwnedFd },
    /// A listener could not accept. It goes on after `retry_in`; with `None` it has ended and its
    /// socket is closed.
    AcceptFailed {
        listener: ListenerId,
        token: Token,
        error: io::Error,
        retry_in: Option<Duration>,
    },
    /// Bytes arrived. Dropping the buffer gives it back to the ring.
    Received { stream: StreamId, token: Token, buffer: ReceivedBuffer },
    /// The stream's last event. `None` for a close by us or an orderly one by the peer.
    Closed { stream: StreamId, token: Token, error: Option<io::Error> },
    /// The last event of a stream that was detached: nothing is in flight, every byte received
    /// before was reported, the rest is still in the socket.
    Detached { stream: StreamId, token: Token, fd: OwnedFd },
    /// The send queue has room again, after a refusal or [`crate::Ring::tell_when_drained`].
    Drained { stream: StreamId, token: Token },
    /// A connection attempt succeeded.
    Connected { connect: ConnectId, token: Token, fd: OwnedFd },
    /// A connection attempt failed; `TimedOut` and `Interrupted` (cancelled) are the ring's own.
    ConnectFailed { connect: ConnectId, token: Token, error: io::Error },
    /// The exact count of bytes has arrived.
    ReceivedExactly { receive: ReceiveId, token: Token, fd: OwnedFd, bytes: Vec<u8> },
    /// They will not: `UnexpectedEof`, `TimedOut` or the socket's error. The socket is closed.
    ReceiveFailed { receive: ReceiveId, token: Token, error: io::Error },
    /// A futex wait has ended; exactly one for each wait, cancelled or not.
    FutexWoken { wait: WaitId, token: Token, outcome: FutexOutcome },
    /// A watched descriptor may be read: read until it would block.
    Readable { watch: WatchId, token: Token, hung_up: bool },
    /// A watch ended by an error; the descriptor itself is the caller's.
    WatchFailed { watch: WatchId, token: Token, error: io::Error },
    /// Somebody rang this ring's doorbell: look into every mailbox.
    Knocked,
}

/// How a futex wait ended.
#[derive(Debug)]
pub enum FutexOutcome {
    /// A wake-up was spent on this wait, even when it was being cancelled: whoever does not use it
    /// must pass it on, or another waiter sleeps forever.
    Woken,
    /// The word held another value than expected, no wake-up was spent.
    Changed,
    /// Cancelled, no wake-up was spent.
    Cancelled,
    /// The word cannot be waited for (its page is gone).
    Failed(io::Error),
}
