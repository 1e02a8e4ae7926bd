//! Messages: data sent to a srvid (client protocol §2, §8.1).

use super::{Padding, append, append_counted};
use crate::fields::{Fields, Layout, LayoutFault, put_len};
use crate::header::{Header, Operation};
use alloc::vec::Vec;
use bateria_wire::Srvid;

/// Either way; nothing is ever answered.
///
/// ```text
/// offset  size     field
///     32  8        srvid
///     40  4        datalen
///     44  datalen  data
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReqMessage<'a> {
    pub header: Header,
    pub srvid: Srvid,
    pub data: &'a [u8],
}

impl<'a> ReqMessage<'a> {
    #[inline]
    pub(super) fn decode(header: Header, fields: &mut Fields<'a>) -> Result<Self, LayoutFault> {
        let (srvid, datalen) = (fields.read()?, fields.read()?);
        Ok(Self { header, srvid, data: fields.take_u32(datalen)? })
    }

    /// Appends the packet to `out`.
    pub fn encode(&self, padding: Padding, out: &mut Vec<u8>) {
        append(Operation::ReqMessage, &self.header, padding, out, |out| {
            self.srvid.encode(out);
            put_len(out, self.data.len());
            out.extend_from_slice(self.data);
        });
    }

    /// Appends a message whose data `write` appends straight to `out`, as traverse does with each
    /// record.
    pub fn encode_with(
        header: &Header,
        srvid: Srvid,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        append(Operation::ReqMessage, header, Padding::Aligned, out, |out| {
            srvid.encode(out);
            append_counted(out, write);
        });
    }
}
