//! `bateria tdb backup -v`: are all records readable, and if not, back to the backup.

use crate::failure::{Failure, rescue};
use crate::tdb::Manner;
use crate::tdb::backup::copy;
use crate::tdb::opening::{Locking, open_to_read};
use crate::tdb::patience::Patience;
use crate::{Ending, Outcome, standard_output};
use bateria_tdb::{Advice, BackupOptions};
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::Path;

/// The verdict on one file, as `--json` prints it.
#[derive(Serialize)]
struct Verified {
    file: String,
    /// Its records could not be read, and the backup has taken its place.
    restored: bool,
    records: u64,
}

/// Judges as `tdbbackup -v` does: a file is damaged when its records cannot be read one by one.
/// Less than that is said, but is no reason to go back in time.
pub(crate) fn verify(file: &Path, backup: &Path, locking: Locking, manner: Manner) -> Outcome {
    let verified = match count(file, locking, manner) {
        Ok(records) => {
            if !manner.json {
                standard_output::print(&format!("{} : {records} records\n", file.display()))?;
            }
            Verified { file: file.display().to_string(), restored: false, records }
        }
        Err(failure) => {
            failure.tell(false);
            if !manner.json {
                standard_output::print(&format!("restoring {}\n", file.display()))?;
            }
            // The file has failed, whatever keeps the backup from being read.
            let mut source = open_to_read(backup, locking).map_err(|failure| {
                let step = if file.exists() { rescue(file) } else { "check the name".to_owned() };
                failure.blame_work().next_step(step)
            })?;
            let records = copy(&mut source, backup, file, BackupOptions::default(), manner)?;
            Verified { file: file.display().to_string(), restored: true, records }
        }
    };
    if manner.json {
        standard_output::print_json(&verified)?;
    }
    Ok(Ending::Good)
}

fn count(file: &Path, locking: Locking, manner: Manner) -> Result<u64, Failure> {
    let mut tdb = open_to_read(file, locking)?;
    let mut progress = manner.progress(format!("verifying {}", file.display()), "records");
    let mut count = 0;
    let patience = Patience::with(file);
    tdb.traverse(&mut |_, _| {
        patience.aside(|| {
            count += 1;
            progress.at(count, None);
        });
        ControlFlow::Continue(())
    })
    .map_err(|error| Failure::of_tdb(file, error))?;
    if let Ok(report) = tdb.check()
        && report.advice() == Some(Advice::Rescue)
    {
        let what = "all records can be read, but the file is not sound";
        Failure::of_file(file, &what)
            .next_step(format!("bateria tdb check {}", crate::failure::quoted(file)))
            .tell(false);
    }
    Ok(count)
}
