//! The answer to a control (client protocol §3.1).

use super::{ControlFault, FAILED, Opcode, ReplyData};
use crate::fields::LayoutFault;
use crate::header::Header;
use crate::packet::{Padding, ReplyControl};
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// Status, and data or a text. With a status other than 0 there is never data: the client library
/// looks for the text where the data would be (pitfall 3).
#[derive(Clone, Debug, PartialEq)]
pub struct ControlReply {
    status: i32,
    data: ReplyData,
    error_text: Cow<'static, str>,
}

/// The original's texts. The tool prints them; Samba ignores them.
pub mod text {
    /// Also for a PNN that no node has.
    pub const TO_DISCONNECTED_NODE: &str = "ctdb_control to disconnected node";
    /// The node went away before it answered.
    pub const NODE_DISCONNECTED: &str = "node is disconnected";
    /// After `ControlTimeout`.
    pub const TIMED_OUT: &str = "ctdb_control timed out";
    /// With status 1.
    pub const COMMIT_TIMED_OUT: &str = "timeout in ctdb_persistent_state";
    /// With status 2.
    pub const COMMIT_ENDED_BY_RECOVERY: &str = "trans3 commit ended by recovery";
    pub const PUSH_TIMED_OUT: &str = "push-record timed out";
}

impl ControlReply {
    /// Status 0 and nothing else.
    #[must_use]
    pub fn done() -> Self {
        Self::value(0)
    }

    /// A value in the status field: PING, GET_PNN, GET_PID, GET_RECMODE, and the special statuses.
    #[must_use]
    pub fn value(status: i32) -> Self {
        Self { status, data: ReplyData::Empty, error_text: Cow::Borrowed("") }
    }

    /// Status 0 and data.
    #[must_use]
    pub fn data(data: ReplyData) -> Self {
        Self { status: 0, data, error_text: Cow::Borrowed("") }
    }

    /// Status −1 without a reason, as for nearly every local failure.
    #[must_use]
    pub fn failed() -> Self {
        Self::value(FAILED)
    }

    /// A status other than 0, and why.
    #[must_use]
    pub fn failed_because(status: i32, error_text: impl Into<Cow<'static, str>>) -> Self {
        assert!(status != 0, "a failure has a status");
        Self { status, data: ReplyData::Empty, error_text: error_text.into() }
    }

    #[must_use]
    pub fn status(&self) -> i32 {
        self.status
    }

    #[must_use]
    pub fn error_text(&self) -> &str {
        &self.error_text
    }

    #[must_use]
    pub fn reply_data(&self) -> &ReplyData {
        &self.data
    }

    #[must_use]
    pub fn into_data(self) -> ReplyData {
        self.data
    }

    /// Appends the packet to `out`, padded.
    pub fn encode(&self, header: &Header, out: &mut Vec<u8>) {
        if self.status == 0 && self.error_text.is_empty() {
            ReplyControl::encode_with(header, out, |out| self.data.encode(out));
        } else {
            let (header, status, error) = (*header, self.status, self.error_text.as_bytes());
            ReplyControl { header, status, data: &[], error }.encode(Padding::Aligned, out);
        }
    }

    /// Reads the reply to a control. Data behind a status other than 0 is not looked at.
    ///
    /// # Errors
    /// The data does not have the opcode's layout.
    pub fn decode(opcode: Opcode, reply: &ReplyControl<'_>) -> Result<Self, LayoutFault> {
        let data = match reply.status {
            0 => ReplyData::decode(opcode, reply.data)?,
            _ => ReplyData::Empty,
        };
        let error_text = match reply.error {
            [] => Cow::Borrowed(""),
            error => Cow::Owned(String::from_utf8_lossy(error).into_owned()),
        };
        Ok(Self { status: reply.status, data, error_text })
    }
}

impl From<ControlFault> for ControlReply {
    fn from(fault: ControlFault) -> Self {
        Self::value(fault.status())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;
    use bateria_wire::{Generation, Pnn};

    fn way_of(reply: &ControlReply, opcode: Opcode) -> ControlReply {
        let mut out = Vec::new();
        reply.encode(&Header::to_client(Generation(3), Pnn(0), 1), &mut out);
        assert!(out.len().is_multiple_of(8));
        let Ok(Packet::ReplyControl(packet)) = Packet::parse(&out) else { panic!("no reply") };
        ControlReply::decode(opcode, &packet).unwrap()
    }

    #[test]
    fn a_failure_carries_its_text_and_no_data() {
        let reply = ControlReply::failed_because(-1, text::TO_DISCONNECTED_NODE);
        assert_eq!(way_of(&reply, Opcode::GetNodeMap), reply);
    }

    #[test]
    fn a_value_in_the_status_needs_no_data() {
        let reply = ControlReply::value(2);
        assert_eq!(way_of(&reply, Opcode::Ping), reply);
    }

    #[test]
    fn data_survives_the_way() {
        let reply = ControlReply::data(ReplyData::Text("/db/x.tdb.0".into()));
        assert_eq!(way_of(&reply, Opcode::GetDbPath), reply);
    }
}
