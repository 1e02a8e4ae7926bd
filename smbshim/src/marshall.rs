//! Marshall buffers: many records of one database (client protocol §5.3).

use crate::fields::{Fields, Layout, LayoutFault, put_len};
use crate::ltdb_header::LtdbHeader;
use crate::rec_data::RecData;
use alloc::vec::Vec;
use bateria_wire::DbId;

/// Payload of TRANS3_COMMIT and of messages that push records. All its records have been checked.
///
/// ```text
/// offset  size  field
///      0     4  db_id     of no meaning in pushed buffers (client protocol §12.11)
///      4     4  count
///      8     …  records   `RecData` back to back, unaligned
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marshall<'a> {
    pub db_id: DbId,
    count: u32,
    records: &'a [u8],
}

/// Collects records into a marshall buffer.
#[derive(Clone, Debug)]
pub struct MarshallBuilder {
    db_id: DbId,
    count: u32,
    records: Vec<u8>,
}

impl<'a> Marshall<'a> {
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The records in order. A key may come more than once; the last one counts.
    pub fn records(&self) -> impl Iterator<Item = RecData<'a>> + use<'a> {
        let mut fields = Fields::new(self.records);
        (0..self.count).map(move |_| fields.read().expect("decoding has checked every record"))
    }
}

impl<'a> Layout<'a> for Marshall<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.db_id.encode(out);
        self.count.encode(out);
        out.extend_from_slice(self.records);
    }

    /// Takes everything that is left: the records must fill it exactly.
    fn decode(fields: &mut Fields<'a>) -> Result<Self, LayoutFault> {
        let (db_id, count) = (fields.read()?, fields.read()?);
        let records = fields.rest();
        let mut unchecked = Fields::new(records);
        for _ in 0..count {
            unchecked.read::<RecData<'_>>()?;
        }
        unchecked.finish()?;
        Ok(Self { db_id, count, records })
    }
}

impl MarshallBuilder {
    #[must_use]
    pub fn new(db_id: DbId) -> Self {
        Self { db_id, count: 0, records: Vec::new() }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Size of the buffer so far.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        8 + self.records.len()
    }

    /// Adds a record with its header; an empty value deletes it.
    pub fn push(&mut self, key: &[u8], header: &LtdbHeader, value: &[u8]) {
        RecData::encode_parts(0, key, &[&header.to_bytes(), value], &mut self.records);
        self.count += 1;
    }

    /// The newest version of a record that has been added.
    #[must_use]
    pub fn newest(&self, key: &[u8]) -> Option<RecData<'_>> {
        self.view().records().filter(|record| record.key == key).last()
    }

    /// The buffer as a reader sees it.
    #[must_use]
    pub fn view(&self) -> Marshall<'_> {
        Marshall { db_id: self.db_id, count: self.count, records: &self.records }
    }

    /// The buffer's bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size_bytes());
        self.db_id.encode(&mut out);
        put_len(&mut out, self.count as usize);
        out.extend_from_slice(&self.records);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bateria_wire::{Pnn, Rsn};

    fn two_versions() -> MarshallBuilder {
        let mut builder = MarshallBuilder::new(DbId(7));
        builder.push(b"odd", &LtdbHeader::new(Rsn(1), Pnn(0)), b"v");
        builder.push(b"odd", &LtdbHeader::new(Rsn(2), Pnn(0)), b"value");
        builder
    }

    #[test]
    fn the_newest_version_of_a_key_counts() {
        let builder = two_versions();
        let (header, value) = builder.newest(b"odd").unwrap().split().unwrap();
        assert_eq!((header.rsn, value), (Rsn(2), &b"value"[..]));
        assert_eq!(builder.newest(b"even"), None);
    }

    #[test]
    fn records_are_unaligned_and_survive_the_way() {
        let bytes = two_versions().finish();
        let marshall = Marshall::from_bytes(&bytes).unwrap();
        assert_eq!((marshall.db_id, marshall.count()), (DbId(7), 2));
        assert_eq!(marshall.records().count(), 2);
        assert_eq!(marshall.to_bytes(), bytes);
    }

    #[test]
    fn the_count_must_match_the_records() {
        for count in [0_u32, 1, 3, u32::MAX] {
            let mut bytes = two_versions().finish();
            bytes[4..8].copy_from_slice(&count.to_ne_bytes());
            assert!(Marshall::from_bytes(&bytes).is_err(), "{count}");
        }
    }

    #[test]
    fn every_truncation_is_a_fault() {
        let bytes = two_versions().finish();
        for size in 0..bytes.len() {
            assert!(Marshall::from_bytes(&bytes[..size]).is_err(), "{size}");
        }
    }
}
