//! What a client may commit.

use bateria_smbshim::fields::{Layout, LayoutFault};
use bateria_smbshim::marshall::Marshall;
use bateria_wire::DbId;
use bateria_wire::limits::{DATA_SIZE_BYTES_MAX, KEY_SIZE_BYTES_MAX};

/// The client is told no; nothing is sent to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BufferFault {
    #[error("not a marshall buffer: {0}")]
    Layout(#[from] LayoutFault),
    #[error("records of database {got} in a commit to database {want}")]
    Database { got: DbId, want: DbId },
    #[error("a key of {got_bytes} bytes exceeds the limit of {KEY_SIZE_BYTES_MAX}")]
    KeyTooLong { got_bytes: usize },
    #[error("a value of {got_bytes} bytes exceeds the limit of {DATA_SIZE_BYTES_MAX}")]
    ValueTooLong { got_bytes: usize },
}

/// Checks the payload of a `TRANS3_COMMIT` before it becomes `persistent::Input::Commit`: what no
/// node can apply would cost a recovery.
///
/// # Errors
/// What is wrong with it.
pub fn check_client_buffer(db: DbId, buffer: &[u8]) -> Result<(), BufferFault> {
    let marshall = Marshall::from_bytes(buffer)?;
    if marshall.db_id != db {
        return Err(BufferFault::Database { got: marshall.db_id, want: db });
    }
    check_records(&marshall)
}

/// Checks the records of a buffer, wherever it comes from.
pub(super) fn check_records(marshall: &Marshall<'_>) -> Result<(), BufferFault> {
    for record in marshall.records() {
        let (_, value) = record.split()?;
        if record.key.len() > KEY_SIZE_BYTES_MAX as usize {
            return Err(BufferFault::KeyTooLong { got_bytes: record.key.len() });
        }
        if value.len() > DATA_SIZE_BYTES_MAX as usize {
            return Err(BufferFault::ValueTooLong { got_bytes: value.len() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bateria_smbshim::ltdb_header::LtdbHeader;
    use bateria_smbshim::marshall::MarshallBuilder;

    #[test]
    fn only_sound_records_of_the_right_database_pass() {
        let mut builder = MarshallBuilder::new(DbId(7));
        builder.push(b"key", &LtdbHeader::default(), b"value");
        let buffer = builder.finish();
        assert_eq!(check_client_buffer(DbId(7), &buffer), Ok(()));
        let fault = BufferFault::Database { got: DbId(7), want: DbId(8) };
        assert_eq!(check_client_buffer(DbId(8), &buffer), Err(fault));
        assert!(check_client_buffer(DbId(7), &buffer[..buffer.len() - 1]).is_err());
    }

    #[test]
    fn a_record_without_its_header_is_none() {
        // One record: key "k", data of 3 bytes.
        let mut buffer = Vec::new();
        for number in [7_u32, 1, 20, 0, 1, 3] {
            buffer.extend_from_slice(&number.to_ne_bytes());
        }
        buffer.extend_from_slice(b"kabc");
        assert!(matches!(check_client_buffer(DbId(7), &buffer), Err(BufferFault::Layout(_))));
    }

    #[test]
    fn a_key_beyond_the_limit_is_refused() {
        let mut builder = MarshallBuilder::new(DbId(7));
        let key = vec![0; KEY_SIZE_BYTES_MAX as usize + 1];
        builder.push(&key, &LtdbHeader::default(), b"");
        let fault = check_client_buffer(DbId(7), &builder.finish());
        assert!(matches!(fault, Err(BufferFault::KeyTooLong { .. })));
    }
}
