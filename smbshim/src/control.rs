//! Controls with their meaning: typed requests and typed replies (client protocol §3).

mod decode;
mod encode;
mod opcode;
mod reply;
mod reply_data;
mod request;

pub use opcode::{Opcode, Tier};
pub use reply::{ControlReply, text};
pub use reply_data::{Echo, ReplyData};
pub use request::{Attach, ControlRequest};

use crate::fields::LayoutFault;

/// A control that cannot be carried out because of what it is. The client gets status −1, as for
/// everything it does wrong; the packet was whole, so the connection stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlFault {
    /// Unassigned, obsolete, or one of the original daemons' own.
    #[error("control {opcode} is not served to clients")]
    Unsupported { opcode: u32 },
    #[error("payload of {opcode}: {fault}")]
    Payload { opcode: Opcode, fault: LayoutFault },
}

impl ControlFault {
    /// The reply's status.
    #[must_use]
    pub fn status(&self) -> i32 {
        FAILED
    }
}

/// Status of nearly every failure (client protocol §3.1).
pub const FAILED: i32 = -1;
