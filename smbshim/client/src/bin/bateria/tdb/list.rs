//! `bateria tdb list`: every record header, list by list, as `tdbtool list` shows them.

use crate::failure::Failure;
use crate::standard_output::{with_output, write_json};
use crate::tdb::Manner;
use crate::tdb::opening::{Locking, open_to_read};
use crate::{Ending, Outcome};
use bateria_tdb::{Chain, Kind, Listed, TransferError};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Show the header of every record, chain by chain, as tdbtool's list does
///
/// Takes no locks and changes nothing, so that damaged databases and those that hang can be looked at.
#[derive(Args)]
pub(crate) struct ListArguments {
    /// Database
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Show the free list only, as tdbtool's free does
    #[arg(long)]
    free: bool,
}

impl ListArguments {
    pub(crate) fn run(self, manner: Manner) -> Outcome {
        let mut tdb = open_to_read(&self.file, Locking::Lockless)?;
        let mut broken = false;
        with_output(|out| {
            let listed = if self.free && !manner.json {
                tdb.list_free(out)
            } else if manner.json {
                tdb.list_entries(&mut |entry| {
                    broken |= matches!(entry, Listed::Broken { .. });
                    match as_json(&entry) {
                        Some((chain, value)) if chain.is_none() || !self.free => {
                            write_json(out, &value)
                        }
                        _ => Ok(()),
                    }
                })
            } else {
                tdb.list(out)
            };
            listed.map_err(|error: TransferError| Failure::of_transfer_out(&self.file, error))
        })?;
        Ok(if broken { Ending::FaultFound } else { Ending::Good })
    }
}

/// One line of `--json`: a record, or where a list cannot be followed. `chain` is null on the free
/// list.
fn as_json(entry: &Listed) -> Option<(Option<Chain>, Value)> {
    match entry {
        Listed::Begin { .. } => None,
        Listed::Broken { chain, error } => Some((
            *chain,
            json!({ "chain": chain.map(|chain| chain.0), "error": error.to_string() }),
        )),
        Listed::Record { chain, offset, record, tailer } => {
            let value = json!({
                "chain": chain.map(|chain| chain.0),
                "offset": offset,
                "next": record.next,
                "rec_len": record.rec_len,
                "key_len": record.key_len,
                "data_len": record.data_len,
                "full_hash": record.full_hash,
                "kind": kind(record.kind()),
                "magic": record.magic,
                "tailer": tailer,
            });
            Some((*chain, value))
        }
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Live => "live",
        Kind::Dead => "dead",
        Kind::Free => "free",
        Kind::RecoveryArmed | Kind::RecoveryIdle => "recovery",
        Kind::Pad => "pad",
        Kind::Unknown => "unknown",
    }
}
