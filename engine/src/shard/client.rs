//! One client's connection on its shard.

use crate::registry::SessionId;
use crate::shard::intake::Share;
use crate::shard::moves::Attraction;
use bateria_ring::{FrameBuffer, StreamId, StreamLimits};
use bateria_smbshim::session::Session;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A connected client.
pub(crate) struct Client {
    pub(crate) id: SessionId,
    pub(crate) pid: u32,
    pub(crate) stream: StreamId,
    pub(crate) received: FrameBuffer,
    pub(crate) intake: Share,
    pub(crate) session: Session,
    /// Nothing more is read: the connection is ending.
    pub(crate) is_closing: bool,
    pub(crate) residence: Residence,
    /// Messages that wait for the end of a move.
    pub(crate) held: VecDeque<Arc<[u8]>>,
    pub(crate) attraction: Attraction,
}

/// Whether a session belongs to this shard alone.
pub(crate) enum Residence {
    Here,
    /// It moves to shard `to`, which reads what the client has sent.
    Leaving {
        to: usize,
        unread: Vec<u8>,
    },
    /// Messages still come by its old home.
    Arriving,
}

/// A client may be busy for long while messages for it arrive; beyond this it is taken for dead.
/// ctdbd counts packets instead (tunable MaxQueueDropMsg).
pub(crate) fn limits() -> StreamLimits {
    StreamLimits {
        send_queue_bytes_max: 256 << 20,
        send_queue_bytes_low: 1 << 20,
        close_flush_max: Duration::from_millis(500),
    }
}
