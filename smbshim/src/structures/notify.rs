//! Payloads that messages carry between daemon and clients (client protocol §1.4, §4.5).

use crate::fields::{Fields, Layout, LayoutFault, put_len, structure};
use alloc::vec::Vec;
use bateria_wire::{Pnn, Srvid};

/// Payload of REGISTER_NOTIFY: `data` goes to `srvid` on every node when the connection ends.
///
/// ```text
/// offset  size  field
///      0     8  srvid
///      8     4  len
///     12   len  data
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify<'a> {
    pub srvid: Srvid,
    pub data: &'a [u8],
}

structure! {
    /// Payload of messages to TAKEOVER_RUN and MEM_DUMP.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct AnswerTo [16 bytes] {
        0 => pnn: Pnn,
        /// 0 when no answer is wanted.
        8 => srvid: Srvid,
    }
}

structure! {
    /// Payload of messages to DISABLE_TAKEOVER_RUNS and DISABLE_RECOVERIES.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Disable [24 bytes] {
        0 => pnn: Pnn,
        8 => srvid: Srvid,
        /// 0 enables again.
        16 => duration_s: u32,
    }
}

impl<'a> Layout<'a> for Notify<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.srvid.encode(out);
        put_len(out, self.data.len());
        out.extend_from_slice(self.data);
    }

    fn decode(fields: &mut Fields<'a>) -> Result<Self, LayoutFault> {
        let (srvid, len) = (fields.read()?, fields.read()?);
        Ok(Self { srvid, data: fields.take_u32(len)? })
    }
}
