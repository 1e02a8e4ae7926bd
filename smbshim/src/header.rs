//! The header in front of every packet (client protocol §1.3).

use crate::fault::{Malformed, PacketFault};
use crate::fields::{Fields, Layout};
use alloc::vec::Vec;
use bateria_wire::{Generation, Pnn};

/// What a sender chooses of the header; length, magic, version and operation follow from the
/// packet.
///
/// ```text
/// offset  size  field
///      0     4  length       whole packet in bytes, padding included
///      4     4  magic        0x43544442
///      8     4  version      1
///     12     4  generation   of the cluster; ignored on the way to the daemon
///     16     4  operation    `Operation`
///     20     4  destnode     PNN or a special one; 0 on the way to the client
///     24     4  srcnode      PNN; never trusted by the daemon
///     28     4  reqid        chosen by the requester, echoed in the reply
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub generation: Generation,
    pub destnode: Pnn,
    pub srcnode: Pnn,
    pub reqid: u32,
}

/// Packets that cross the socket (client protocol §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Operation {
    ReqCall = 0,
    ReplyCall = 1,
    ReplyError = 4,
    ReqMessage = 5,
    ReqControl = 7,
    ReplyControl = 8,
    ReqTunnel = 10,
}

impl Header {
    /// The header the daemon puts in front of everything it sends to a client: the local PNN is
    /// the source also of what came from another node.
    #[must_use]
    pub fn to_client(generation: Generation, local: Pnn, reqid: u32) -> Self {
        Self { generation, destnode: Pnn(0), srcnode: local, reqid }
    }

    /// The header of Samba's controls: generation and source 0.
    #[must_use]
    pub fn control(destnode: Pnn, reqid: u32) -> Self {
        Self { generation: Generation(0), destnode, srcnode: Pnn(0), reqid }
    }

    /// The header of Samba's calls: destination 0 whatever the local PNN is.
    #[must_use]
    pub fn call(reqid: u32) -> Self {
        Self::control(Pnn(0), reqid)
    }

    /// The header of Samba's messages: no reply is expected, so the request id is 0.
    #[must_use]
    pub fn message(destnode: Pnn, local: Pnn) -> Self {
        Self { generation: Generation::INVALID, destnode, srcnode: local, reqid: 0 }
    }

    /// Reads the header and checks what every packet has in common. Returns the operation and the
    /// bytes behind the header.
    ///
    /// # Errors
    /// Too short, wrong magic or version, unknown operation: dropped, the connection stays. A
    /// length other than that of `packet` is a mistake of the caller and closes.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<(Operation, Self, Fields<'_>), PacketFault> {
        let Some((head, body)) = packet.split_first_chunk::<HEADER_SIZE_BYTES>() else {
            return Err(Self::too_short(packet));
        };
        let (words, _) = head.as_chunks::<4>();
        let word = |index: usize| u32::from_ne_bytes(words[index]);
        let (length, magic, version, operation) = (word(0), word(1), word(2), word(4));
        if length as usize != packet.len() {
            let have_bytes = packet.len();
            let mismatch = Malformed::LengthMismatch { length_bytes: length, have_bytes };
            return Err(PacketFault::Close(mismatch));
        }
        if magic != MAGIC {
            return Err(PacketFault::Drop(Malformed::Magic(magic)));
        }
        if version != VERSION {
            return Err(PacketFault::Drop(Malformed::Version(version)));
        }
        let operation = Operation::from_number(operation)
            .ok_or(PacketFault::Drop(Malformed::Operation(operation)))?;
        let (generation, destnode, srcnode) = (Generation(word(3)), Pnn(word(5)), Pnn(word(6)));
        let header = Self { generation, destnode, srcnode, reqid: word(7) };
        Ok((operation, header, Fields::new(body)))
    }

    #[cold]
    fn too_short(packet: &[u8]) -> PacketFault {
        match Fields::new(packet).read::<u32>() {
            Ok(length) if length as usize == packet.len() => {
                PacketFault::Drop(Malformed::NoHeader(length))
            }
            Ok(length_bytes) => {
                let have_bytes = packet.len();
                PacketFault::Close(Malformed::LengthMismatch { length_bytes, have_bytes })
            }
            Err(fault) => PacketFault::Close(fault.into()),
        }
    }

    /// Appends the header with a length of 0, which the packet's end fills in.
    pub(crate) fn encode(&self, operation: Operation, out: &mut Vec<u8>) {
        let words = [
            0,
            MAGIC,
            VERSION,
            self.generation.0,
            operation as u32,
            self.destnode.0,
            self.srcnode.0,
            self.reqid,
        ];
        words.encode(out);
    }
}

impl Operation {
    /// The operation of a number, if it may cross the socket. Those between nodes may not.
    #[must_use]
    #[inline]
    pub fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::ReqCall,
            1 => Self::ReplyCall,
            4 => Self::ReplyError,
            5 => Self::ReqMessage,
            7 => Self::ReqControl,
            8 => Self::ReplyControl,
            10 => Self::ReqTunnel,
            _ => return None,
        })
    }
}

pub const HEADER_SIZE_BYTES: usize = 32;
/// Every packet of daemon and tool is padded to this.
pub const PACKET_ALIGN_BYTES: usize = 8;
const MAGIC: u32 = 0x4354_4442;
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(operation: Operation) -> Vec<u8> {
        let mut out = Vec::new();
        Header::control(Pnn::CURRENT, 7).encode(operation, &mut out);
        out[0] = 32;
        out
    }

    #[test]
    fn a_header_survives_the_way() {
        let packet = packet(Operation::ReqTunnel);
        let (operation, header, fields) = Header::parse(&packet).unwrap();
        assert_eq!((operation, fields.left_bytes()), (Operation::ReqTunnel, 0));
        assert_eq!(header, Header::control(Pnn::CURRENT, 7));
    }

    #[test]
    fn what_only_looks_wrong_is_dropped() {
        for (offset, cause) in [
            (4, Malformed::Magic(MAGIC ^ 0x80)),
            (8, Malformed::Version(VERSION ^ 0x80)),
            (16, Malformed::Operation(0x80)),
        ] {
            let mut packet = packet(Operation::ReqCall);
            packet[offset] ^= 0x80;
            assert_eq!(Header::parse(&packet).unwrap_err(), PacketFault::Drop(cause));
        }
    }

    #[test]
    fn operations_between_nodes_do_not_cross_the_socket() {
        for number in [2, 3, 6, 9, 11] {
            assert_eq!(Operation::from_number(number), None);
        }
    }

    #[test]
    fn a_packet_without_room_for_a_header_is_dropped() {
        let fault = Header::parse(&[5, 0, 0, 0, 1]).unwrap_err();
        assert_eq!(fault, PacketFault::Drop(Malformed::NoHeader(5)));
    }
}
