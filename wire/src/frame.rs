//! The envelope of everything that travels between two nodes.
//!
//! A frame is used in place: exact length, checksum, then a validated `rkyv` head on a 16-byte
//! aligned buffer. Record bodies do not pass through `rkyv`; they follow the head as they are, so
//! that they are copied from the mapped file into the send buffer and from the receive buffer into
//! the mapped file, and nowhere in between.

use crate::head::{ArchivedHead, Head};
use crate::{Generation, Pnn};
use alloc::vec::Vec;
use rkyv::rancor::Failure;
use rkyv::ser::allocator::Arena;
use rkyv::util::AlignedVec;

/// Fixed start of a frame; all numbers little-endian.
///
/// ```text
/// offset  size  field
///      0     4  magic       "btr1"
///      4     2  version     of the frame heads, see `VERSION`
///      6     2  reserved    zero
///      8     4  head_len    bytes of the rkyv head, its padding not counted
///     12     4  bulk_len    bytes of keys and bodies behind the head, padding not counted
///     16     4  generation  configuration the frame belongs to
///     20     4  source      PNN of the sender
///     24     4  reserved    zero
///     28     4  crc32c      over the whole frame, this field read as zero
///     32        head, zero-padded to 16
///               bulk, zero-padded to 16
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub version: u16,
    pub head_len: u32,
    pub bulk_len: u32,
    pub generation: Generation,
    pub source: Pnn,
    pub crc32c: u32,
}

/// A frame that arrived: sound and unaltered, its meaning not yet judged.
#[derive(Debug)]
pub struct Frame<'a> {
    pub generation: Generation,
    pub source: Pnn,
    pub head: &'a ArchivedHead,
    pub bulk: &'a [u8],
}

/// The peer broke the protocol: its link is closed, the others are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    #[error("frame starts with {got:02x?} instead of the magic")]
    Magic { got: [u8; 4] },
    #[error("frame version {got} is not {VERSION}; both daemons need a common one")]
    Version { got: u16 },
    #[error("frame of {got_bytes} bytes exceeds the limit of {FRAME_SIZE_BYTES_MAX}")]
    TooLong { got_bytes: u64 },
    #[error("frame has {got_bytes} bytes, its header announces {want_bytes}")]
    Length { got_bytes: usize, want_bytes: usize },
    #[error("checksum {got:08x} does not match {want:08x}")]
    Checksum { got: u32, want: u32 },
    #[error("reserved bytes of the header are not zero")]
    Reserved,
    #[error("head is malformed")]
    Head,
    #[error("head and bulk contradict each other: {rule}")]
    Meaning { rule: &'static str },
}

pub const MAGIC: [u8; 4] = *b"btr1";
pub const VERSION: u16 = 2;
pub const HEADER_SIZE_BYTES: usize = 32;
pub const FRAME_ALIGN_BYTES: usize = 16;
/// Larger than any record, so that what a client could store can also travel.
pub const FRAME_SIZE_BYTES_MAX: u32 = 320 * 1024 * 1024;

const CRC_OFFSET: usize = 28;
const _: () = assert!(HEADER_SIZE_BYTES.is_multiple_of(FRAME_ALIGN_BYTES));
const _: () = assert!((FRAME_SIZE_BYTES_MAX as usize).is_multiple_of(FRAME_ALIGN_BYTES));

/// Appends one frame to `out`, whose length is a multiple of 16 before and after. `bulk` is given
/// in parts, which are laid one behind the other.
pub fn encode(
    out: &mut Vec<u8>,
    scratch: &mut Scratch,
    generation: Generation,
    source: Pnn,
    head: &Head,
    bulk: &[&[u8]],
) {
    assert!(out.len().is_multiple_of(FRAME_ALIGN_BYTES), "frames start aligned");
    let start = out.len();
    let head_bytes = scratch.serialize(head);
    let bulk_len: usize = bulk.iter().map(|part| part.len()).sum();
    let total = HEADER_SIZE_BYTES + aligned(head_bytes.len()) + aligned(bulk_len);
    assert!(total <= FRAME_SIZE_BYTES_MAX as usize, "senders keep the frame limit");
    out.reserve(total);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    for number in [len_u32(head_bytes.len()), len_u32(bulk_len), generation.0, source.0, 0, 0] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(head_bytes);
    out.resize(start + HEADER_SIZE_BYTES + aligned(head_bytes.len()), 0);
    for part in bulk {
        out.extend_from_slice(part);
    }
    out.resize(start + total, 0);
    let crc = crc32c::crc32c(&out[start..]);
    out[start + CRC_OFFSET..start + HEADER_SIZE_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// Buffers of the encoder that are kept between frames, so that encoding allocates nothing.
pub struct Scratch {
    arena: Arena,
    head: AlignedVec<FRAME_ALIGN_BYTES>,
}

impl Scratch {
    #[must_use]
    pub fn new() -> Self {
        Self { arena: Arena::new(), head: AlignedVec::with_capacity(512) }
    }

    fn serialize(&mut self, head: &Head) -> &[u8] {
        let mut buffer = core::mem::take(&mut self.head);
        buffer.clear();
        self.head = rkyv::api::high::to_bytes_in_with_alloc::<_, _, rkyv::rancor::Error>(
            head,
            buffer,
            self.arena.acquire(),
        )
        .expect("integers and byte strings always serialize");
        &self.head
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// Length of the frame that begins with `prefix`, or `None` while too little of it has arrived.
///
/// # Errors
/// Not a frame of ours, or one over the limit: found before any of its memory is reserved.
pub fn frame_length(prefix: &[u8]) -> Result<Option<usize>, FrameFault> {
    let Some(header) = prefix.first_chunk::<HEADER_SIZE_BYTES>() else {
        return match prefix.first_chunk::<4>() {
            Some(magic) if *magic != MAGIC => Err(FrameFault::Magic { got: *magic }),
            _ => Ok(None),
        };
    };
    Header::decode(header).and_then(|header| header.frame_length()).map(Some)
}

impl<'a> Frame<'a> {
    /// Checks one whole frame and gives access to its parts in place.
    ///
    /// # Errors
    /// Every way in which `bytes` is not exactly one sound frame.
    ///
    /// # Panics
    /// When `bytes` does not start at a multiple of 16, which is the receiver's own duty.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameFault> {
        let too_short =
            FrameFault::Length { got_bytes: bytes.len(), want_bytes: HEADER_SIZE_BYTES };
        let header_bytes = bytes.first_chunk::<HEADER_SIZE_BYTES>().ok_or(too_short)?;
        let header = Header::decode(header_bytes)?;
        let want_bytes = header.frame_length()?;
        if bytes.len() != want_bytes {
            return Err(FrameFault::Length { got_bytes: bytes.len(), want_bytes });
        }
        assert!(
            bytes.as_ptr().addr().is_multiple_of(FRAME_ALIGN_BYTES),
            "receive slots are aligned"
        );
        let crc = crc32c::crc32c(&header_bytes[..CRC_OFFSET]);
        let crc = crc32c::crc32c_append(crc, &[0; 4]);
        let crc = crc32c::crc32c_append(crc, &bytes[HEADER_SIZE_BYTES..]);
        if crc != header.crc32c {
            return Err(FrameFault::Checksum { got: crc, want: header.crc32c });
        }
        let head_end = HEADER_SIZE_BYTES + header.head_len as usize;
        let bulk_start = HEADER_SIZE_BYTES + aligned(header.head_len as usize);
        let head = rkyv::access::<ArchivedHead, Failure>(&bytes[HEADER_SIZE_BYTES..head_end])
            .map_err(|_| FrameFault::Head)?;
        let bulk = &bytes[bulk_start..bulk_start + header.bulk_len as usize];
        Ok(Self { generation: header.generation, source: header.source, head, bulk })
    }

    /// The bulk as key and body, the key `key_len` bytes long.
    ///
    /// # Errors
    /// The head announces a key that the bulk does not hold.
    pub fn key_and_body(&self, key_len: u32) -> Result<(&'a [u8], &'a [u8]), FrameFault> {
        self.bulk
            .split_at_checked(key_len as usize)
            .ok_or(FrameFault::Meaning { rule: "the key lies within the bulk" })
    }
}

impl Header {
    fn decode(bytes: &[u8; HEADER_SIZE_BYTES]) -> Result<Self, FrameFault> {
        let u32_at = |offset: usize| {
            u32::from_le_bytes([
                bytes[offset],
                bytes[offset + 1],
                bytes[offset + 2],
                bytes[offset + 3],
            ])
        };
        if bytes[..4] != MAGIC {
            return Err(FrameFault::Magic { got: [bytes[0], bytes[1], bytes[2], bytes[3]] });
        }
        let version = u16::from_le_bytes([bytes[4], bytes[5]]);
        if version != VERSION {
            return Err(FrameFault::Version { got: version });
        }
        if bytes[6..8] != [0; 2] || u32_at(24) != 0 {
            return Err(FrameFault::Reserved);
        }
        Ok(Self {
            version,
            head_len: u32_at(8),
            bulk_len: u32_at(12),
            generation: Generation(u32_at(16)),
            source: Pnn(u32_at(20)),
            crc32c: u32_at(CRC_OFFSET),
        })
    }

    fn frame_length(&self) -> Result<usize, FrameFault> {
        let total = HEADER_SIZE_BYTES as u64
            + u64::from(self.head_len).next_multiple_of(FRAME_ALIGN_BYTES as u64)
            + u64::from(self.bulk_len).next_multiple_of(FRAME_ALIGN_BYTES as u64);
        if total > u64::from(FRAME_SIZE_BYTES_MAX) {
            return Err(FrameFault::TooLong { got_bytes: total });
        }
        usize::try_from(total).map_err(|_| FrameFault::TooLong { got_bytes: total })
    }
}

fn aligned(len: usize) -> usize {
    len.next_multiple_of(FRAME_ALIGN_BYTES)
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("the frame limit fits 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{ArchivedRecordOp, RecordHead, RecordOp};

    fn sample() -> AlignedVec<16> {
        let mut out = Vec::new();
        let head = Head::Record(RecordHead {
            db: 0x7a19_d84d,
            key_len: 3,
            op: RecordOp::Record { rsn: 7, flags: 1 },
        });
        let generation = Generation::first_of(2);
        encode(&mut out, &mut Scratch::new(), generation, Pnn(1), &head, &[b"key", b"value"]);
        aligned_copy(&out)
    }

    fn aligned_copy(bytes: &[u8]) -> AlignedVec<16> {
        let mut copy = AlignedVec::new();
        copy.extend_from_slice(bytes);
        copy
    }

    #[test]
    fn a_frame_comes_back_as_it_was_sent() {
        let bytes = sample();
        assert_eq!(frame_length(&bytes), Ok(Some(bytes.len())));
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!((frame.generation, frame.source), (Generation::first_of(2), Pnn(1)));
        let ArchivedHead::Record(head) = frame.head else { panic!("a record head") };
        assert!(matches!(&head.op, ArchivedRecordOp::Record { rsn, .. } if rsn.to_native() == 7));
        assert_eq!(frame.key_and_body(head.key_len.to_native()), Ok((&b"key"[..], &b"value"[..])));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = sample();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = aligned_copy(&bytes);
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::parse(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_is_an_error_or_a_wait() {
        let bytes = sample();
        for len in 0..bytes.len() {
            assert!(Frame::parse(&aligned_copy(&bytes[..len])).is_err(), "{len} bytes");
            if len < HEADER_SIZE_BYTES {
                assert_eq!(frame_length(&bytes[..len]), Ok(None));
            }
        }
    }

    #[test]
    fn a_long_frame_is_refused_by_its_header_alone() {
        let mut bytes = sample();
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(frame_length(&bytes), Err(FrameFault::TooLong { .. })));
    }

    #[test]
    fn foreign_bytes_are_refused_after_four() {
        assert_eq!(frame_length(b"GET "), Err(FrameFault::Magic { got: *b"GET " }));
    }
}
