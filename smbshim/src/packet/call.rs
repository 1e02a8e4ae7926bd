//! Calls: a client asks for one record (client protocol §2, §7.2).

use super::{Padding, append, append_counted};
use crate::fields::{Fields, LayoutFault, put_len};
use crate::header::{Header, Operation};
use alloc::vec::Vec;
use bateria_wire::DbId;
use bitflags::bitflags;
use core::fmt;

/// Client to daemon. The daemon ignores `header.destnode`: calls are always for itself.
///
/// ```text
/// offset     size         field
///     32        4         flags
///     36        4         db_id
///     40        4         call_id
///     44        4         hop_count     0 from clients
///     48        4         keylen
///     52        4         calldatalen
///     56        keylen    key
///     56+keylen calldatalen data
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReqCall<'a> {
    pub header: Header,
    pub flags: CallFlags,
    pub db_id: DbId,
    pub call_id: CallId,
    pub hop_count: u32,
    pub key: &'a [u8],
    pub data: &'a [u8],
}

/// Daemon to client.
///
/// ```text
/// offset  size     field
///     32  4        status    Samba ignores it
///     36  4        datalen
///     40  datalen  data
/// ```
///
/// At least 48 bytes long when padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyCall<'a> {
    pub header: Header,
    pub status: u32,
    pub data: &'a [u8],
}

/// What the daemon does with the record (client protocol §1.4). Unknown ones are answered with
/// status 0 and no data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CallId(pub u32);

bitflags! {
    /// How a call is to be done (client protocol §1.4).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct CallFlags: u32 {
        /// The record moves to the caller's node.
        const IMMEDIATE_MIGRATION = 0x1;
        /// Between daemons: the record moves so that it can be deleted.
        const VACUUM_MIGRATION = 0x2;
        /// A copy that may only be read is enough.
        const WANT_READONLY = 0x4;
    }
}

impl CallId {
    /// Answers nothing: used to make the record move.
    pub const NULL: Self = Self(0xFF00_0001);
    /// Answers the value without its header; no data when the record is missing or empty.
    pub const FETCH: Self = Self(0xFF00_0002);
    /// Answers header and value, never fewer than 24 bytes (Samba 4.25 §1.2).
    pub const FETCH_WITH_HEADER: Self = Self(0xFF00_0003);
}

impl<'a> ReqCall<'a> {
    #[inline]
    pub(super) fn decode(header: Header, fields: &mut Fields<'a>) -> Result<Self, LayoutFault> {
        let flags = CallFlags::from_bits_retain(fields.read()?);
        let (db_id, call_id, hop_count) = (fields.read()?, CallId(fields.read()?), fields.read()?);
        let (keylen, calldatalen) = (fields.read()?, fields.read()?);
        let (key, data) = (fields.take_u32(keylen)?, fields.take_u32(calldatalen)?);
        Ok(Self { header, flags, db_id, call_id, hop_count, key, data })
    }

    /// Appends the packet to `out`.
    pub fn encode(&self, padding: Padding, out: &mut Vec<u8>) {
        append(Operation::ReqCall, &self.header, padding, out, |out| {
            for word in [self.flags.bits(), self.db_id.0, self.call_id.0, self.hop_count] {
                out.extend_from_slice(&word.to_ne_bytes());
            }
            put_len(out, self.key.len());
            put_len(out, self.data.len());
            out.extend_from_slice(self.key);
            out.extend_from_slice(self.data);
        });
    }
}

impl<'a> ReplyCall<'a> {
    #[inline]
    pub(super) fn decode(header: Header, fields: &mut Fields<'a>) -> Result<Self, LayoutFault> {
        let (status, datalen) = (fields.read()?, fields.read()?);
        Ok(Self { header, status, data: fields.take_u32(datalen)? })
    }

    /// Appends the packet to `out`.
    pub fn encode(&self, padding: Padding, out: &mut Vec<u8>) {
        append(Operation::ReplyCall, &self.header, padding, out, |out| {
            out.extend_from_slice(&self.status.to_ne_bytes());
            put_len(out, self.data.len());
            out.extend_from_slice(self.data);
            if self.data.is_empty() && padding == Padding::Aligned {
                out.extend_from_slice(&EMPTY_REPLY_TAIL);
            }
        });
    }

    /// Appends a reply of status 0 whose data `write` appends straight to `out`: a record is
    /// copied once, out of the mapped file into the send buffer.
    pub fn encode_with(header: &Header, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        append(Operation::ReplyCall, header, Padding::Aligned, out, |out| {
            out.extend_from_slice(&[0; 4]);
            let start = out.len();
            append_counted(out, write);
            if out.len() == start + 4 {
                out.extend_from_slice(&EMPTY_REPLY_TAIL);
            }
        });
    }
}

/// The original never sends a reply shorter than its C structure, which has room for one byte of
/// data: without data it is 48 bytes long, not 40 (client protocol §12.5).
const EMPTY_REPLY_TAIL: [u8; 8] = [0; 8];

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NULL => f.write_str("NULL"),
            Self::FETCH => f.write_str("FETCH"),
            Self::FETCH_WITH_HEADER => f.write_str("FETCH_WITH_HEADER"),
            Self(number) => write!(f, "0x{number:08x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bateria_wire::{Generation, Pnn};

    #[test]
    fn a_reply_written_in_place_equals_one_from_a_slice() {
        let header = Header::to_client(Generation(9), Pnn(1), 3);
        for data in [&b""[..], b"value"] {
            let (mut whole, mut in_place) = (Vec::new(), Vec::new());
            ReplyCall { header, status: 0, data }.encode(Padding::Aligned, &mut whole);
            ReplyCall::encode_with(&header, &mut in_place, |out| out.extend_from_slice(data));
            assert_eq!(whole, in_place);
            assert_eq!(whole.len(), 48);
        }
    }
}
