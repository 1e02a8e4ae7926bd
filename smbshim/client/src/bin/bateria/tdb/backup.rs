//! `bateria tdb backup`: a compact copy of a database in use, as `tdbbackup` makes it.

use crate::failure::Failure;
use crate::interrupt::Unfinished;
use crate::standard_output;
use crate::tdb::Manner;
use crate::tdb::opening::{Locking, open_to_read};
use crate::tdb::patience::Patience;
use crate::tdb::verify;
use crate::{Ending, Outcome};
use bateria_tdb::{BackupOptions, Tdb, TransferError, backup};
use clap::Args;
use serde::Serialize;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Back up databases, as tdbbackup does
///
/// Copies FILE to FILE.bak if it is newer, in one transaction. The copy appears when it is complete
/// and on disk. Databases with mutexes need no option. With -v: counts the records, and puts the
/// backup in the place of a file whose records cannot be read.
#[derive(Args)]
pub(crate) struct BackupArguments {
    /// Databases
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// What is added to the name of the copy
    #[arg(short, long, default_value = ".bak")]
    suffix: OsString,
    /// Number of hash chains of the copy; as many as the original has if not given
    #[arg(short = 'n', long = "hash-size", value_name = "N",
          value_parser = clap::value_parser!(u32).range(0..=1 << 28))]
    hash_size: Option<u32>,
    /// Verify, and restore from the backup if the file is damaged
    #[arg(short, long)]
    verify: bool,
    /// Lock for reading in place of a transaction
    #[arg(short, long)]
    readonly: bool,
    /// Read without locks (never needed for databases with mutexes; safe for those who use them)
    #[arg(short = 'l', long)]
    no_lock: bool,
}

/// What was done for one file, as `--json` prints it.
#[derive(Serialize)]
struct Done {
    file: String,
    backup: String,
    /// The backup was newer than the file, and is as it was.
    skipped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<u64>,
}

impl BackupArguments {
    pub(crate) fn run(self, manner: Manner) -> Outcome {
        let mut failed = None;
        let mut ending = Ending::Good;
        for file in &self.files {
            let target = self.target(file);
            let outcome = if self.verify {
                verify::verify(file, &target, self.locking(), manner)
            } else {
                self.back_up(file, &target, manner)
            };
            match outcome {
                Ok(Ending::Good) => {}
                Ok(Ending::FaultFound) => ending = Ending::FaultFound,
                Err(failure) if failure.is_closed_pipe() || self.files.len() == 1 => {
                    return Err(failure);
                }
                // As the original: the other files are backed up all the same.
                Err(failure) => {
                    if let Some(earlier) = failed.replace(failure) {
                        earlier.tell(manner.json);
                    }
                }
            }
        }
        failed.map_or(Ok(ending), Err)
    }

    fn back_up(&self, file: &Path, target: &Path, manner: Manner) -> Outcome {
        let skipped = !is_newer(file, target)?;
        let records = if skipped {
            None
        } else {
            let mut tdb = open_to_read(file, self.locking())?;
            let options =
                BackupOptions { hash_size: self.hash_size.unwrap_or(0), read_lock: self.readonly };
            Some(copy(&mut tdb, file, target, options, manner)?)
        };
        if manner.json {
            let (file, backup) = (file.display().to_string(), target.display().to_string());
            standard_output::print_json(&Done { file, backup, skipped, records })?;
        }
        Ok(Ending::Good)
    }

    fn locking(&self) -> Locking {
        Locking::from_flag(self.no_lock)
    }

    fn target(&self, file: &Path) -> PathBuf {
        let mut name = file.as_os_str().to_owned();
        name.push(&self.suffix);
        PathBuf::from(name)
    }
}

/// Copies an open database; the copy replaces `target` when it is complete.
pub(crate) fn copy(
    tdb: &mut Tdb,
    file: &Path,
    target: &Path,
    options: BackupOptions,
    manner: Manner,
) -> Result<u64, Failure> {
    let mut name = target.as_os_str().to_owned();
    name.push(".tmp");
    // The library removes its own when it fails; this is for interruptions.
    let unfinished = Unfinished::new(PathBuf::from(name));
    let mut progress = manner.progress(format!("backing up {}", file.display()), "records");
    // The first record shows that all locks are held.
    let mut patience = Some(Patience::with(file)).filter(|_| !tdb.is_read_only());
    let copied = backup(tdb, target, options, &mut |done| {
        patience = None;
        progress.at(done, None);
    });
    drop(patience);
    let of_copy = unfinished.path().to_owned();
    unfinished.keep();
    copied.map_err(|error| match error {
        TransferError::Database(error) if error.path() == Some(&of_copy) => {
            Failure::of_new_file(target, &of_copy, error)
        }
        TransferError::Database(error) => {
            let damaged = error.is_damage();
            let failure = Failure::of_tdb(file, error);
            if damaged { failure.next_step(crate::failure::rescue(file)) } else { failure }
        }
        TransferError::Stream(error) => Failure::of_io(target, &error),
        error => Failure::of_file(file, &error)
            .next_step("it was changed meanwhile: try again, without --no-lock"),
    })
}

/// As make does: a target that is missing is older than anything.
fn is_newer(file: &Path, target: &Path) -> Result<bool, Failure> {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let of_file = changed(file).map_err(|error| Failure::of_io(file, &error).blame_request())?;
    Ok(changed(target).map_or(true, |of_target| of_target < of_file))
}
