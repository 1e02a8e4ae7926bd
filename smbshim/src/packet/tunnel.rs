//! Tunnels: packets between the registrants of a tunnel id (client protocol §8.4).

use super::{Padding, append};
use crate::fields::{Fields, Layout, LayoutFault, put_len};
use crate::header::{Header, Operation};
use alloc::vec::Vec;
use bitflags::bitflags;

/// Either way.
///
/// ```text
/// offset  size     field
///     32  8        tunnel_id
///     40  4        flags
///     44  4        datalen
///     48  datalen  data
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReqTunnel<'a> {
    pub header: Header,
    pub tunnel_id: u64,
    pub flags: TunnelFlags,
    pub data: &'a [u8],
}

bitflags! {
    /// Flags of a tunnel packet (client protocol §1.4); the daemon passes them on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct TunnelFlags: u32 {
        const REQUEST = 0x1;
        const REPLY = 0x2;
        const NOREPLY = 0x10;
    }
}

impl<'a> ReqTunnel<'a> {
    #[inline]
    pub(super) fn decode(header: Header, fields: &mut Fields<'a>) -> Result<Self, LayoutFault> {
        let tunnel_id = fields.read()?;
        let flags = TunnelFlags::from_bits_retain(fields.read()?);
        let datalen = fields.read()?;
        Ok(Self { header, tunnel_id, flags, data: fields.take_u32(datalen)? })
    }

    /// Appends the packet to `out`.
    pub fn encode(&self, padding: Padding, out: &mut Vec<u8>) {
        append(Operation::ReqTunnel, &self.header, padding, out, |out| {
            self.tunnel_id.encode(out);
            self.flags.bits().encode(out);
            put_len(out, self.data.len());
            out.extend_from_slice(self.data);
        });
    }
}
