//! Controls: every request but calls, messages and tunnels (client protocol §2, §3).

use super::{Padding, append, patch_length};
use crate::fields::{Fields, Layout, LayoutFault, put_len};
use crate::header::{Header, Operation};
use alloc::vec::Vec;
use bateria_wire::Srvid;
use bitflags::bitflags;

/// Client to daemon. What `opcode` asks for is read by [`crate::ControlRequest::decode`].
///
/// ```text
/// offset  size     field
///     32  4        opcode
///     36  4        padding    0
///     40  8        srvid      parameter of few opcodes
///     48  4        client_id  ignored
///     52  4        flags
///     56  4        datalen
///     60  datalen  data
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReqControl<'a> {
    pub header: Header,
    pub opcode: u32,
    pub srvid: Srvid,
    pub client_id: u32,
    pub flags: ControlFlags,
    pub data: &'a [u8],
}

/// Daemon to client.
///
/// ```text
/// offset      size      field
///     32      4         status    i32
///     36      4         datalen   0 when the status is not 0
///     40      4         errorlen
///     44      datalen   data
///     44+datalen errorlen error   text without NUL
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyControl<'a> {
    pub header: Header,
    pub status: i32,
    pub data: &'a [u8],
    pub error: &'a [u8],
}

bitflags! {
    /// Flags of a control (client protocol §1.4); the upper half belongs to the opcode.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct ControlFlags: u32 {
        /// Never reply, not even on error.
        const NOREPLY = 0x1;
        /// GET_PUBLIC_IPS: only addresses that have a usable interface.
        const ONLY_AVAILABLE = 0x0001_0000;
        /// The three DB_ATTACH: sent by recovery.
        const ATTACH_RECOVERY = 0x0002_0000;
    }
}

impl<'a> ReqControl<'a> {
    #[must_use]
    pub fn wants_reply(&self) -> bool {
        !self.flags.contains(ControlFlags::NOREPLY)
    }

    #[inline]
    pub(super) fn decode(header: Header, fields: &mut Fields<'a>) -> Result<Self, LayoutFault> {
        let (opcode, _padding): (u32, u32) = (fields.read()?, fields.read()?);
        let (srvid, client_id) = (fields.read()?, fields.read()?);
        let flags = ControlFlags::from_bits_retain(fields.read()?);
        let datalen = fields.read()?;
        let data = fields.take_u32(datalen)?;
        Ok(Self { header, opcode, srvid, client_id, flags, data })
    }

    /// Appends the packet to `out`.
    pub fn encode(&self, padding: Padding, out: &mut Vec<u8>) {
        append(Operation::ReqControl, &self.header, padding, out, |out| {
            [self.opcode, 0].encode(out);
            self.srvid.encode(out);
            [self.client_id, self.flags.bits()].encode(out);
            put_len(out, self.data.len());
            out.extend_from_slice(self.data);
        });
    }
}

impl<'a> ReplyControl<'a> {
    #[inline]
    pub(super) fn decode(header: Header, fields: &mut Fields<'a>) -> Result<Self, LayoutFault> {
        let (status, datalen, errorlen) = (fields.read()?, fields.read()?, fields.read()?);
        let (data, error) = (fields.take_u32(datalen)?, fields.take_u32(errorlen)?);
        Ok(Self { header, status, data, error })
    }

    /// Appends the packet to `out`.
    pub fn encode(&self, padding: Padding, out: &mut Vec<u8>) {
        append(Operation::ReplyControl, &self.header, padding, out, |out| {
            self.status.encode(out);
            put_len(out, self.data.len());
            put_len(out, self.error.len());
            out.extend_from_slice(self.data);
            out.extend_from_slice(self.error);
        });
    }

    /// Appends a reply of status 0 whose data `write` appends straight to `out`.
    pub fn encode_with(header: &Header, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        append(Operation::ReplyControl, header, Padding::Aligned, out, |out| {
            [0_u32; 3].encode(out);
            let start = out.len();
            write(out);
            let datalen = out.len() - start;
            patch_length(out, start - 8, datalen);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bateria_wire::{Generation, Pnn};

    #[test]
    fn a_reply_written_in_place_equals_one_from_a_slice() {
        let header = Header::to_client(Generation(9), Pnn(1), 3);
        let (mut whole, mut in_place) = (Vec::new(), Vec::new());
        ReplyControl { header, status: 0, data: b"/db/x.tdb.0\0", error: b"" }
            .encode(Padding::Aligned, &mut whole);
        ReplyControl::encode_with(&header, &mut in_place, |out| {
            out.extend_from_slice(b"/db/x.tdb.0\0");
        });
        assert_eq!(whole, in_place);
    }
}
