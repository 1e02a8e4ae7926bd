//! `bateria tdb rescue`: a sound database from what is left of a damaged one.

use crate::failure::Failure;
use crate::interrupt::Unfinished;
use crate::tdb::Manner;
use crate::tdb::new_file::NewFile;
use crate::tdb::opening::{Locking, lock_for_reading, open_to_read};
use crate::{Ending, Outcome, standard_output};
use bateria_tdb::{HashKind, OpenOptions, StoreMode, Tdb, TdbError, TdbFlags, salvage};
use clap::Args;
use serde::Serialize;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Make a sound database from what can be found in a damaged one
///
/// FILE stays as it is (but for an interrupted commit, which is rolled back as by everybody who opens
/// it). NEW gets its kind (hash, chains, mutexes) and its permissions, and appears
/// when it is complete, checked and on disk. Where several records claim one key, the first one found
/// is taken.
#[derive(Args)]
pub(crate) struct RescueArguments {
    /// Damaged database
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Database to make; must not exist
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Read without locks, for a file that is in use and hangs
    #[arg(short = 'l', long)]
    no_lock: bool,
}

/// As `--json` prints it.
#[derive(Serialize)]
struct Rescued {
    file: String,
    new: String,
    records: u64,
    /// Records whose key had been found before; they are not in the new file.
    duplicates: u64,
}

impl RescueArguments {
    pub(crate) fn run(self, manner: Manner) -> Outcome {
        let new = NewFile::beside(&self.new)?;
        let (mut damaged, salvaged) = self.open(&new)?;
        let (records, duplicates) = self.copy(&mut damaged, new.path(), manner)?;
        drop(salvaged);
        let mode = std::fs::metadata(&self.file)
            .map_err(|error| Failure::of_io(&self.file, &error))?
            .permissions()
            .mode()
            & 0o7777;
        std::fs::set_permissions(new.path(), std::fs::Permissions::from_mode(mode))
            .map_err(|error| Failure::of_io(&self.new, &error))?;
        new.publish()?;
        let rescued = Rescued {
            file: self.file.display().to_string(),
            new: self.new.display().to_string(),
            records,
            duplicates,
        };
        if manner.json {
            standard_output::print_json(&rescued)?;
        } else {
            standard_output::print(&rescued.text())?;
        }
        Ok(Ending::Good)
    }

    /// The damaged file, or a copy of it with a new header where its own is of no use.
    fn open(&self, new: &NewFile) -> Result<(Tdb, Option<Unfinished>), Failure> {
        let failure = match open_to_read(&self.file, Locking::from_flag(self.no_lock)) {
            Ok(mut tdb) => {
                lock_for_reading(&mut tdb, &self.file)?;
                return Ok((tdb, None));
            }
            Err(failure) if failure.leaves_records() => failure,
            Err(failure) => return Err(failure),
        };
        let mut name = new.path().as_os_str().to_owned();
        name.push(".salvaged");
        let copy = Unfinished::new(PathBuf::from(name));
        let of_copy = |error| Failure::of_io(&self.new, &error);
        std::fs::copy(&self.file, copy.path()).map_err(of_copy)?;
        let file = File::options().read(true).write(true).open(copy.path()).map_err(of_copy)?;
        if !salvage(&file).map_err(of_copy)? {
            let step = "put a backup in its place: nothing in it looks like a record";
            return Err(failure.next_step(step));
        }
        eprintln!(
            "note: the header of {} is of no use: looking for records without it",
            self.file.display()
        );
        Ok((open_to_read(copy.path(), Locking::Lockless)?, Some(copy)))
    }

    fn copy(
        &self,
        damaged: &mut Tdb,
        target: &Path,
        manner: Manner,
    ) -> Result<(u64, u64), Failure> {
        // Nobody knows of this file yet.
        let mut flags = TdbFlags::NOLOCK;
        flags.set(TdbFlags::INCOMPATIBLE_HASH, damaged.hash_kind() == HashKind::Jenkins);
        flags.set(TdbFlags::MUTEX_LOCKING, damaged.header_offset() > 0);
        let hash_size = damaged.chains_count();
        let options = OpenOptions { flags, hash_size, create: true, ..OpenOptions::default() };
        let failed = |error: TdbError| Failure::of_new_file(&self.new, target, error);
        let mut copy = Tdb::open(target, &options).map_err(failed)?;
        let mut progress = manner.progress(format!("rescuing {}", self.file.display()), "records");
        let mut stored = Ok(true);
        let (mut records, mut duplicates) = (0, 0);
        damaged
            .rescue(&mut |key, data| {
                stored = copy.store(key, &[data], StoreMode::Insert);
                match stored {
                    Ok(true) => records += 1,
                    Ok(false) => duplicates += 1,
                    Err(_) => return ControlFlow::Break(()),
                }
                progress.at(records + duplicates, None);
                ControlFlow::Continue(())
            })
            .map_err(|error| Failure::of_tdb(&self.file, error))?;
        stored.map_err(failed)?;
        let report = copy.check().map_err(failed)?;
        if !report.is_clean() || report.live_count != records {
            return Err(Failure::of_file(
                &self.new,
                &"the new file is not sound (a failing disk?)",
            ));
        }
        Ok((records, duplicates))
    }
}

impl Rescued {
    fn text(&self) -> String {
        let lost = match self.duplicates {
            0 => String::new(),
            count => format!("; {count} more had the key of another one"),
        };
        format!("{}: {} records rescued from {}{lost}\n", self.new, self.records, self.file)
    }
}
