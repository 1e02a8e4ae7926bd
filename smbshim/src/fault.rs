//! Faults of a packet: what its sender broke, and what becomes of the connection.

use crate::fields::LayoutFault;

/// What to do about a packet that breaks the protocol (client protocol §1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketFault {
    /// The packet is skipped and the connection stays usable: the frame around it is intact.
    #[error("packet dropped: {0}")]
    Drop(Malformed),
    /// The connection is closed: either the next packet cannot be found, or the sender would wait
    /// for an answer that cannot be addressed to it.
    #[error("connection closed: {0}")]
    Close(Malformed),
}

impl PacketFault {
    #[must_use]
    pub fn closes_connection(&self) -> bool {
        matches!(self, Self::Close(_))
    }

    #[must_use]
    pub fn cause(&self) -> Malformed {
        match *self {
            Self::Drop(cause) | Self::Close(cause) => cause,
        }
    }
}

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("length {0} hides where the next packet begins")]
    LengthTooSmall(u32),
    #[error("length {length_bytes} exceeds the limit of {max_bytes} bytes")]
    LengthTooLarge { length_bytes: u32, max_bytes: u32 },
    #[error("length {0} has no room for a header")]
    NoHeader(u32),
    #[error("length {length_bytes} differs from the {have_bytes} bytes at hand")]
    LengthMismatch { length_bytes: u32, have_bytes: usize },
    #[error("magic 0x{0:08x}")]
    Magic(u32),
    #[error("protocol version {0}")]
    Version(u32),
    #[error("operation {0} is not one of this socket")]
    Operation(u32),
    #[error("lengths inside the packet: {0}")]
    Body(#[from] LayoutFault),
}
