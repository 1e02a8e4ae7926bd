//! `bateria tdb repack`: free space in one piece.

use crate::failure::{Failure, rescue};
use crate::tdb::Manner;
use crate::tdb::opening::{lock_for_changing, open_to_change};
use crate::{Ending, Outcome, standard_output};
use bateria_tdb::{Summary, Tdb};
use clap::Args;
use std::path::{Path, PathBuf};

/// Store all records anew, so that the free space is in one piece
///
/// One transaction: either all or nothing. The file does not shrink, because others have it mapped;
/// `bateria tdb backup` makes a small copy.
#[derive(Args)]
pub(crate) struct RepackArguments {
    /// Database
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl RepackArguments {
    pub(crate) fn run(self, manner: Manner) -> Outcome {
        let path = &self.file;
        let mut tdb = open_to_change(path)?;
        lock_for_changing(&mut tdb, path)?;
        let before = summary(&mut tdb, path);
        tdb.unlock_all();
        let before = before?;
        let mut progress = manner.progress(format!("repacking {}", path.display()), "records");
        let count = before.keys.count;
        // Each record is read out of the file and then written back.
        let repacked = tdb.repack_with_progress(&mut |copied| progress.at(copied / 2, Some(count)));
        drop(progress);
        repacked.map_err(|error| {
            let damaged = error.is_damage();
            let failure = Failure::of_tdb(path, error);
            if damaged { failure.next_step(rescue(path)) } else { failure }
        })?;
        let after = summary(&mut tdb, path)?;
        if manner.json {
            standard_output::print_json(&serde_json::json!({
                "file": path.display().to_string(),
                "records": after.keys.count,
                "before": figures(&before),
                "after": figures(&after),
            }))?;
        } else {
            standard_output::print(&format!(
                "{}: {} records; free space in {} pieces, the largest of {} bytes \
                 (before: {} pieces, {} bytes)\n",
                path.display(),
                after.keys.count,
                after.free.count,
                after.free.max,
                before.free.count,
                before.free.max,
            ))?;
        }
        Ok(Ending::Good)
    }
}

fn summary(tdb: &mut Tdb, path: &Path) -> Result<Summary, Failure> {
    tdb.summary().map_err(|error| {
        let damaged = error.is_damage();
        let failure = Failure::of_tdb(path, error);
        if damaged { failure.next_step(rescue(path)) } else { failure }
    })
}

fn figures(summary: &Summary) -> serde_json::Value {
    serde_json::json!({
        "logical_size": summary.size_bytes,
        "free_pieces": summary.free.count,
        "free_size": summary.free.total,
        "largest_free_piece": summary.free.max,
    })
}
