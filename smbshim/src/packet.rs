//! Packets of the socket, both directions (client protocol §2).

mod call;
mod control;
mod error;
mod message;
mod tunnel;

pub use call::{CallFlags, CallId, ReplyCall, ReqCall};
pub use control::{ControlFlags, ReplyControl, ReqControl};
pub use error::ReplyError;
pub use message::ReqMessage;
pub use tunnel::{ReqTunnel, TunnelFlags};

use crate::fault::PacketFault;
use crate::fields::{Fields, LayoutFault};
use crate::header::{Header, Operation, PACKET_ALIGN_BYTES};
use alloc::vec::Vec;

/// One packet, borrowing its keys and data from the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Client to daemon: work on one record.
    Call(ReqCall<'a>),
    /// Daemon to client: answer to a call.
    ReplyCall(ReplyCall<'a>),
    /// Either way: a message to a srvid.
    Message(ReqMessage<'a>),
    /// Client to daemon: everything else.
    Control(ReqControl<'a>),
    /// Daemon to client: answer to a control.
    ReplyControl(ReplyControl<'a>),
    /// Either way: data for the registrant of a tunnel.
    Tunnel(ReqTunnel<'a>),
    /// Daemon to client: a call that cannot be answered; Samba takes it as EIO.
    ReplyError(ReplyError<'a>),
}

/// How a packet ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// With zeroes up to a multiple of 8 that count in its length: daemon, tool and client library.
    Aligned,
    /// Right behind its data: Samba.
    Exact,
}

impl<'a> Packet<'a> {
    /// Reads one whole packet, as [`crate::framer`] cuts it. Bytes behind its data are padding and
    /// are ignored.
    ///
    /// # Errors
    /// Header faults are dropped. Lengths inside that reach beyond the packet close the
    /// connection, since its sender waits for an answer that will never come.
    #[inline]
    pub fn parse(packet: &'a [u8]) -> Result<Self, PacketFault> {
        let (operation, header, mut fields) = Header::parse(packet)?;
        Self::body(operation, header, &mut fields).map_err(|fault| PacketFault::Close(fault.into()))
    }

    #[inline]
    fn body(
        operation: Operation,
        header: Header,
        fields: &mut Fields<'a>,
    ) -> Result<Self, LayoutFault> {
        Ok(match operation {
            Operation::ReqCall => Self::Call(ReqCall::decode(header, fields)?),
            Operation::ReplyCall => Self::ReplyCall(ReplyCall::decode(header, fields)?),
            Operation::ReplyError => Self::ReplyError(ReplyError::decode(header, fields)?),
            Operation::ReqMessage => Self::Message(ReqMessage::decode(header, fields)?),
            Operation::ReqControl => Self::Control(ReqControl::decode(header, fields)?),
            Operation::ReplyControl => Self::ReplyControl(ReplyControl::decode(header, fields)?),
            Operation::ReqTunnel => Self::Tunnel(ReqTunnel::decode(header, fields)?),
        })
    }

    #[must_use]
    pub fn header(&self) -> &Header {
        match self {
            Self::Call(packet) => &packet.header,
            Self::ReplyCall(packet) => &packet.header,
            Self::Message(packet) => &packet.header,
            Self::Control(packet) => &packet.header,
            Self::ReplyControl(packet) => &packet.header,
            Self::Tunnel(packet) => &packet.header,
            Self::ReplyError(packet) => &packet.header,
        }
    }

    /// Appends the packet to `out`.
    pub fn encode(&self, padding: Padding, out: &mut Vec<u8>) {
        match self {
            Self::Call(packet) => packet.encode(padding, out),
            Self::ReplyCall(packet) => packet.encode(padding, out),
            Self::Message(packet) => packet.encode(padding, out),
            Self::Control(packet) => packet.encode(padding, out),
            Self::ReplyControl(packet) => packet.encode(padding, out),
            Self::Tunnel(packet) => packet.encode(padding, out),
            Self::ReplyError(packet) => packet.encode(padding, out),
        }
    }
}

/// Appends a packet whose body `write` appends, then pads it and fills its length in.
fn append(
    operation: Operation,
    header: &Header,
    padding: Padding,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    header.encode(operation, out);
    write(out);
    let mut length = out.len() - start;
    if padding == Padding::Aligned {
        length = length.next_multiple_of(PACKET_ALIGN_BYTES);
        out.resize(start + length, 0);
    }
    patch_length(out, start, length);
}

/// Appends a length field and the data that `write` appends behind it.
fn append_counted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    let start = out.len();
    write(out);
    let size = out.len() - start;
    patch_length(out, at, size);
}

fn patch_length(out: &mut [u8], at: usize, length: usize) {
    let length = u32::try_from(length).expect("what we send stays below 4 GiB");
    out[at..at + 4].copy_from_slice(&length.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Malformed;
    use bateria_wire::{Generation, Pnn, Srvid};

    fn message(data: &[u8]) -> ReqMessage<'_> {
        let header = Header::to_client(Generation(5), Pnn(2), 0);
        ReqMessage { header, srvid: Srvid(0xFE00_0000_0000_0002), data }
    }

    #[test]
    fn padding_is_zero_and_counts_in_the_length() {
        let mut out = alloc::vec![0xAA];
        message(b"hello").encode(Padding::Aligned, &mut out);
        assert_eq!((out.len() - 1, out[1]), (56, 56));
        assert_eq!(out[1 + 49..], [0; 7]);
        assert_eq!(Packet::parse(&out[1..]), Ok(Packet::Message(message(b"hello"))));
    }

    #[test]
    fn an_exact_packet_ends_with_its_data() {
        let mut out = Vec::new();
        message(b"hello").encode(Padding::Exact, &mut out);
        assert_eq!((out.len(), out[0]), (49, 49));
    }

    #[test]
    fn lengths_inside_that_reach_beyond_the_packet_close() {
        let mut out = Vec::new();
        message(b"hello").encode(Padding::Aligned, &mut out);
        for datalen in [13_u32, 0x7FFF_FFFF, u32::MAX] {
            out[40..44].copy_from_slice(&datalen.to_ne_bytes());
            let fault = Packet::parse(&out).unwrap_err();
            assert!(matches!(fault, PacketFault::Close(Malformed::Body(_))), "{fault}");
        }
    }
}
