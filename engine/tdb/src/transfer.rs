//! What goes wrong between a database and a stream.

use crate::error::TdbError;
use std::io;

/// A dump, restore or backup failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    #[error(transparent)]
    Database(#[from] TdbError),
    #[error("{0}")]
    Stream(#[from] io::Error),
    /// The text is not a dump; `record` counts from 1.
    #[error("record {record} of the dump: {rule}")]
    Syntax { record: u64, rule: &'static str },
    /// The copy has another number of records than the original.
    #[error("the copy has {copied} records, the original {have}")]
    Incomplete { copied: u64, have: u64 },
}
