//! The limits of a session, and the answer when one is reached.

use crate::control::ControlReply;
use crate::header::Header;
use crate::packet::ReplyError;
use bateria_wire::limits::KEY_SIZE_BYTES_MAX;

/// Why the client's request is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{REQUESTS_IN_FLIGHT_MAX} requests of the connection wait for an answer")]
    RequestsInFlight,
    #[error("the connection has registered {REGISTRATIONS_COUNT_MAX} srvids")]
    Registrations,
    #[error("notifications are limited to {NOTIFIES_COUNT_MAX} and {NOTIFY_SIZE_BYTES_MAX} bytes")]
    Notifies,
    #[error("the connection already has that registration")]
    Duplicate,
    #[error("the connection has no such registration")]
    Unregistered,
    #[error("the connection has {TUNNELS_COUNT_MAX} tunnels")]
    Tunnels,
    #[error("the connection has named {CONNECTIONS_COUNT_MAX} TCP connections")]
    Connections,
    #[error("the connection runs {TRAVERSES_COUNT_MAX} traverses")]
    Traverses,
    #[error("a commit of the connection is in flight")]
    CommitInFlight,
    #[error("a key of {got_bytes} bytes exceeds the limit of {KEY_SIZE_BYTES_MAX}")]
    KeyTooLong { got_bytes: usize },
}

impl Refusal {
    /// The answer when the request was a control.
    #[must_use]
    pub fn control_reply(&self) -> ControlReply {
        ControlReply::failed()
    }

    /// The answer when the request was a call. A reply without data would mean "no such record",
    /// so it is an error, which Samba takes as EIO.
    #[must_use]
    pub fn call_reply(&self, header: Header) -> ReplyError<'static> {
        ReplyError { header, status: u32::MAX, message: b"" }
    }
}

/// Requests that may wait for their answers. smbd waits for one at a time, its asynchronous
/// connection for a few.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 4096;
/// smbd 4.17 registers a srvid again for every TCP connection it serves.
pub const REGISTRATIONS_COUNT_MAX: u32 = 16 * 1024;
pub const NOTIFIES_COUNT_MAX: usize = 1024;
pub const NOTIFY_SIZE_BYTES_MAX: usize = 1024 * 1024;
pub const TUNNELS_COUNT_MAX: usize = 1024;
pub const CONNECTIONS_COUNT_MAX: usize = 4096;
/// Clients open a connection for each traverse.
pub const TRAVERSES_COUNT_MAX: usize = 64;
/// Packets that may be dropped before the connection is closed: who sends more sends garbage.
pub const FAULTS_COUNT_MAX: u32 = 1000;
