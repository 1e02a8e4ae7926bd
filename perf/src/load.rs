//! What the loads have in common: the hot record and its value.

use bateria_client::{ClientFault, Connection, Database};

/// Value of the hot record.
///
/// offset  size  field
///      0     8  increments   ever made
///      8     4  last_node    that has made one
///
/// Little-endian; an empty record is all zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HotValue {
    pub(crate) increments: u64,
    pub(crate) last_node: u32,
}

impl HotValue {
    pub(crate) fn parse(bytes: &[u8]) -> HotValue {
        let Some((increments, rest)) = bytes.split_first_chunk() else {
            return HotValue::default();
        };
        let last_node = rest.first_chunk().copied().unwrap_or_default();
        HotValue {
            increments: u64::from_le_bytes(*increments),
            last_node: u32::from_le_bytes(last_node),
        }
    }

    fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.increments.to_le_bytes());
        bytes[8..].copy_from_slice(&self.last_node.to_le_bytes());
        bytes
    }
}

/// Locks the hot record, increments it and releases it, exactly as smbd changes a record. Returns the value before.
pub(crate) fn increment(
    connection: &mut Connection,
    database: &mut Database,
    key: &[u8],
    node: u32,
) -> Result<HotValue, ClientFault> {
    let mut record = database.fetch_lock(connection, key)?;
    let before = HotValue::parse(record.value());
    let after = HotValue { increments: before.increments + 1, last_node: node };
    record.store(&after.to_bytes())?;
    Ok(before)
}

/// Key of the hot record.
pub(crate) const HOT_KEY: &[u8] = b"hot";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_it_was_written_and_an_empty_one_is_zero() {
        let value = HotValue { increments: 1 << 40, last_node: 2 };
        assert_eq!(HotValue::parse(&value.to_bytes()), value);
        assert_eq!(HotValue::parse(b""), HotValue::default());
    }
}
