//! Records pushed to all nodes, for persistent handles of Samba 4.25 (Samba 4.25 §2.2).

use crate::fields::{Fields, Layout, LayoutFault, put_len};
use crate::ltdb_header::LtdbHeader;
use alloc::vec::Vec;
use bateria_wire::{DbId, Generation};

/// Payload of PUSH_RECORD and PUSH_RECORD_STORE.
///
/// ```text
/// offset     size     field
///      0        4     generation   of the VNN map that the client saw
///      4        4     db_id
///      8       24     header       `LtdbHeader`
///     32        4     keylen
///     36     keylen   key
///  36+keylen    4     datalen      unaligned
///  40+keylen  datalen value        without header
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushRecord<'a> {
    pub generation: Generation,
    pub db_id: DbId,
    pub header: LtdbHeader,
    pub key: &'a [u8],
    pub value: &'a [u8],
}

impl<'a> Layout<'a> for PushRecord<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.generation.encode(out);
        self.db_id.encode(out);
        self.header.encode(out);
        for bytes in [self.key, self.value] {
            put_len(out, bytes.len());
            out.extend_from_slice(bytes);
        }
    }

    fn decode(fields: &mut Fields<'a>) -> Result<Self, LayoutFault> {
        let (generation, db_id, header) = (fields.read()?, fields.read()?, fields.read()?);
        let keylen = fields.read()?;
        let key = fields.take_u32(keylen)?;
        let datalen = fields.read()?;
        Ok(Self { generation, db_id, header, key, value: fields.take_u32(datalen)? })
    }
}
