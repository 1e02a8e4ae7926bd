//! A record as packets carry it (client protocol §5.2).

use crate::fields::{Fields, Layout, LayoutFault};
use crate::ltdb_header::LtdbHeader;
use alloc::vec::Vec;

/// Key and data of one record. Consecutive ones follow each other without padding.
///
/// ```text
/// offset    size     field
///      0       4     length    16 + keylen + datalen
///      4       4     reqid     of the traverse; otherwise 0
///      8       4     keylen
///     12       4     datalen
///     16    keylen   key
/// 16+keylen datalen  data      header and value, where there is a header
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecData<'a> {
    pub reqid: u32,
    pub key: &'a [u8],
    pub data: &'a [u8],
}

impl<'a> RecData<'a> {
    /// The mark at the end of a traverse (client protocol §7.5).
    #[must_use]
    pub fn end_mark(reqid: u32) -> Self {
        Self { reqid, key: &[], data: &[] }
    }

    #[must_use]
    pub fn is_end_mark(&self) -> bool {
        self.key.is_empty() && self.data.is_empty()
    }

    /// Header and value.
    ///
    /// # Errors
    /// The data is shorter than a header.
    pub fn split(&self) -> Result<(LtdbHeader, &'a [u8]), LayoutFault> {
        LtdbHeader::split(self.data)
    }

    /// Size of a record with a key and data of these sizes.
    ///
    /// # Panics
    /// The record is larger than any that we hold.
    #[must_use]
    pub fn size_bytes(key_size_bytes: usize, data_size_bytes: usize) -> u32 {
        u32::try_from(16 + key_size_bytes + data_size_bytes).expect("records stay below 4 GiB")
    }

    /// Appends a record whose data comes in several parts, so that header and value need not be
    /// put together first.
    pub fn encode_parts(reqid: u32, key: &[u8], data: &[&[u8]], out: &mut Vec<u8>) {
        let datalen = data.iter().map(|part| part.len()).sum();
        Self::size_bytes(key.len(), datalen).encode(out);
        reqid.encode(out);
        crate::fields::put_len(out, key.len());
        crate::fields::put_len(out, datalen);
        out.extend_from_slice(key);
        for part in data {
            out.extend_from_slice(part);
        }
    }
}

impl<'a> Layout<'a> for RecData<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        Self::encode_parts(self.reqid, self.key, &[self.data], out);
    }

    fn decode(fields: &mut Fields<'a>) -> Result<Self, LayoutFault> {
        let [length, reqid, keylen, datalen] = fields.read()?;
        let want_bytes = 16 + u64::from(keylen) + u64::from(datalen);
        if u64::from(length) != want_bytes {
            return Err(LayoutFault::RecordLength { got_bytes: length, want_bytes });
        }
        Ok(Self { reqid, key: fields.take_u32(keylen)?, data: fields.take_u32(datalen)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_wrap_around_do_not_add_up() {
        let mut bytes = [16_u32, 0, u32::MAX, 1].to_bytes();
        let fault = LayoutFault::RecordLength { got_bytes: 16, want_bytes: 0x1_0000_0010 };
        assert_eq!(RecData::from_bytes(&bytes), Err(fault));
        bytes[..4].copy_from_slice(&15_u32.to_ne_bytes());
        assert!(RecData::from_bytes(&bytes).is_err());
    }

    #[test]
    fn an_end_mark_has_neither_key_nor_data() {
        let bytes = RecData::end_mark(4).to_bytes();
        assert_eq!(bytes, [16_u32, 4, 0, 0].to_bytes());
        assert!(RecData::from_bytes(&bytes).unwrap().is_end_mark());
    }

    #[test]
    fn parts_make_one_datum() {
        let mut bytes = Vec::new();
        RecData::encode_parts(0, b"k", &[b"ab", b"c"], &mut bytes);
        assert_eq!(RecData::from_bytes(&bytes).unwrap().data, b"abc");
    }
}
