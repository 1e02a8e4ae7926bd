//! Opening a database for a command: with locks where that is allowed, without where it is asked for.

use crate::failure::{Failure, quoted};
use crate::tdb::patience::Patience;
use bateria_tdb::{LockKind, OpenOptions, Tdb, TdbError, TdbFlags};
use rustix::io::Errno;
use std::path::Path;
use std::time::{Duration, Instant};

/// How a command that only reads may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locking {
    /// Like every process that uses the file.
    Locked,
    /// Read-only: waits for nobody, changes nothing, and may see what is half written.
    Lockless,
}

impl Locking {
    pub(crate) fn from_flag(no_lock: bool) -> Self {
        if no_lock { Self::Lockless } else { Self::Locked }
    }
}

/// Opens for reading. With locks the file is opened for writing, because locks need that: where
/// writing is not permitted, it is read without locks, and a note says so.
pub(crate) fn open_to_read(path: &Path, locking: Locking) -> Result<Tdb, Failure> {
    if locking == Locking::Lockless {
        return open_read_only(path);
    }
    require_regular(path)?;
    let _patience = Patience::with(path);
    match Tdb::open(path, &options()) {
        Ok(tdb) => Ok(tdb),
        Err(error) if forbids_writing(&error) => {
            let tdb = open_read_only(path)?;
            eprintln!("note: {} may not be written here: reading it without locks", path.display());
            Ok(tdb)
        }
        Err(error) => Err(Failure::of_open(path, error)),
    }
}

/// Opens for changing what is in the file.
pub(crate) fn open_to_change(path: &Path) -> Result<Tdb, Failure> {
    require_regular(path)?;
    let _patience = Patience::with(path);
    Tdb::open(path, &options()).map_err(|error| Failure::of_open(path, error))
}

/// Locks everything for reading, on a handle that locks at all.
pub(crate) fn lock_for_reading(tdb: &mut Tdb, path: &Path) -> Result<(), Failure> {
    let _patience = Patience::with(path);
    tdb.lock_all(LockKind::Read).map_err(|error| Failure::of_tdb(path, error))
}

/// Locks everything for a change. Who only reads, or has a transaction open, is waited for, too: the
/// change itself would wait in silence.
pub(crate) fn lock_for_changing(tdb: &mut Tdb, path: &Path) -> Result<(), Failure> {
    let _patience = Patience::with(path);
    tdb.lock_all(LockKind::Write).map_err(|error| Failure::of_tdb(path, error))
}

/// What is no file is none of a database either, and opening it can block (a pipe) or do things (a
/// device).
fn require_regular(path: &Path) -> Result<(), Failure> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            Err(Failure::of_io(path, &Errno::ISDIR.into()).blame_request())
        }
        Ok(metadata) if !metadata.is_file() => {
            let failure = Failure::of_file(path, &"is no regular file");
            Err(failure.blame_request().next_step("name a file"))
        }
        // Opening it says what is wrong.
        _ => Ok(()),
    }
}

fn open_read_only(path: &Path) -> Result<Tdb, Failure> {
    require_regular(path)?;
    let options = OpenOptions { read_only: true, ..OpenOptions::default() };
    let begin = Instant::now();
    let opened = loop {
        match Tdb::open(path, &options) {
            // Without locks a commit that is under way looks as one that was interrupted does.
            Err(TdbError::Corrupt { rule: PENDING, .. }) if begin.elapsed() < COMMIT_TIME => {
                std::thread::sleep(COMMIT_TIME / 100);
            }
            opened => break opened,
        }
    };
    opened.map_err(|error| match error {
        TdbError::Corrupt { rule: PENDING, .. } => {
            let step = format!("bateria tdb check {}", quoted(path));
            let message = format!("{}: {PENDING}", path.display());
            Failure::of_request(message)
                .next_step(format!("{step} (with locks; it rolls the commit back)"))
        }
        error => Failure::of_open(path, error),
    })
}

fn options() -> OpenOptions {
    // The file decides whether it has mutexes; without the flag one that has them is refused.
    OpenOptions { flags: TdbFlags::MUTEX_LOCKING, ..OpenOptions::default() }
}

fn forbids_writing(error: &TdbError) -> bool {
    matches!(error, TdbError::Sys { call: "open", errno, .. }
        if [Errno::ACCESS, Errno::PERM, Errno::ROFS].contains(&Errno::from_raw_os_error(*errno)))
}

/// A commit in a healthy cluster takes less than this.
const COMMIT_TIME: Duration = Duration::from_millis(700);
/// How a read-only handle refuses a file in which a commit was interrupted.
const PENDING: &str = "an interrupted commit must be rolled back";
