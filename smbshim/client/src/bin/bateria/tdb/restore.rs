//! `bateria tdb restore`: a database from a dump, as `tdbrestore` makes it.

use crate::failure::Failure;
use crate::standard_output;
use crate::tdb::Manner;
use crate::tdb::new_file::NewFile;
use crate::{Ending, Outcome};
use bateria_tdb::{OpenOptions, TdbError, TdbFlags, TransferError, restore};
use clap::Args;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Make a database from a dump, as tdbrestore does
///
/// FILE must not exist; it appears when it is complete and on disk. Without options it is the file
/// that tdbrestore makes: 131 chains, the old hash.
#[derive(Args)]
pub(crate) struct RestoreArguments {
    /// Database to make; must not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Dump to read; standard input if not given
    #[arg(value_name = "DUMP")]
    dump: Option<PathBuf>,
    #[command(flatten)]
    kind: NewDatabase,
}

/// Which kind of database is made.
#[derive(Args, Clone, Copy, Debug)]
struct NewDatabase {
    /// Number of hash chains
    #[arg(short = 'n', long, value_name = "N", default_value_t = 131,
          value_parser = clap::value_parser!(u32).range(1..=1 << 28))]
    hash_size: u32,
    /// Use the Jenkins hash, as clustered databases do
    #[arg(long)]
    jenkins: bool,
    /// Lock by mutexes in the file, as volatile clustered databases do
    #[arg(long)]
    mutexes: bool,
}

impl RestoreArguments {
    pub(crate) fn run(self, manner: Manner) -> Outcome {
        let new = NewFile::beside(&self.file)?;
        let mut progress = manner.progress(format!("restoring {}", self.file.display()), "records");
        let mut report = |done| progress.at(done, None);
        let options = OpenOptions {
            flags: self.kind.flags(),
            hash_size: self.kind.hash_size,
            ..OpenOptions::default()
        };
        let source = self.dump.as_deref().filter(|path| *path != Path::new("-"));
        let mut input: Box<dyn BufRead> = match source {
            None => Box::new(BufReader::with_capacity(INPUT_SIZE_BYTES, std::io::stdin())),
            Some(path) => {
                let file = File::open(path)
                    .map_err(|error| Failure::of_io(path, &error).blame_request())?;
                Box::new(BufReader::with_capacity(INPUT_SIZE_BYTES, file))
            }
        };
        let name = source.unwrap_or(Path::new("standard input"));
        let restored = restore(&mut *input, new.path(), &options, &mut report);
        let records = restored.map_err(|error| self.failure(name, new.path(), error))?;
        new.publish()?;
        drop(progress);
        if manner.json {
            let file = self.file.display().to_string();
            standard_output::print_json(&serde_json::json!({ "file": file, "records": records }))?;
        }
        Ok(Ending::Good)
    }

    fn failure(&self, input: &Path, unfinished: &Path, error: TransferError) -> Failure {
        match error {
            TransferError::Database(TdbError::Exists) => {
                Failure::of_file(input, &"a key comes twice in the dump")
                    .next_step("remove one of the two records from the dump")
            }
            TransferError::Database(error) => Failure::of_new_file(&self.file, unfinished, error),
            TransferError::Stream(error) => Failure::of_io(input, &error),
            error => Failure::of_file(input, &error)
                .next_step("give it what `bateria tdb dump` or tdbdump (without -x) has printed"),
        }
    }
}

impl NewDatabase {
    fn flags(self) -> TdbFlags {
        // Nobody knows of this file yet.
        let mut flags = TdbFlags::NOLOCK;
        flags.set(TdbFlags::INCOMPATIBLE_HASH, self.jenkins);
        flags.set(TdbFlags::MUTEX_LOCKING, self.mutexes);
        flags
    }
}

const INPUT_SIZE_BYTES: usize = 64 * 1024;
