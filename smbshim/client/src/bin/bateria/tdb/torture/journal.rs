//! What a worker has done and was about to do, kept in a file, so that it survives the worker.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Fetch,
    Store,
    Append,
    Delete,
    Traverse,
    LockChain,
    LockAll,
    Prepare,
    Commit,
    Cancel,
    /// Not done, because a lock would have been a deadlock.
    Refused,
}

impl Operation {
    pub(super) const ALL: [(Self, &'static str); 11] = [
        (Self::Fetch, "fetch"),
        (Self::Store, "store"),
        (Self::Append, "append"),
        (Self::Delete, "delete"),
        (Self::Traverse, "traverse"),
        (Self::LockChain, "lock_chain"),
        (Self::LockAll, "lock_all"),
        (Self::Prepare, "prepare"),
        (Self::Commit, "commit"),
        (Self::Cancel, "cancel"),
        (Self::Refused, "refused"),
    ];
}

/// Numbers of one worker, or the sum of several.
///
/// ```text
/// word  0          steps
///       1 .. 12    operations
///      12 .. 18    increments begun, by counter
///      18 .. 24    increments finished, by counter
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally([u64; WORDS]);

/// Counters in the tortured file.
pub(super) const COUNTERS: usize = 6;
const OPERATIONS_AT: usize = 1;
const BEGUN_AT: usize = OPERATIONS_AT + Operation::ALL.len();
const FINISHED_AT: usize = BEGUN_AT + COUNTERS;
const WORDS: usize = FINISHED_AT + COUNTERS;
const _: () = assert!(WORDS == 24);

impl Tally {
    pub(super) fn steps(&self) -> u64 {
        self.0[0]
    }

    pub(super) fn operations(&self, operation: Operation) -> u64 {
        self.0[OPERATIONS_AT + operation as usize]
    }

    pub(super) fn operations_total(&self) -> u64 {
        self.0[OPERATIONS_AT..BEGUN_AT].iter().sum()
    }

    /// Increments that may have happened, and those that have for certain.
    pub(super) fn increments(&self, counter: usize) -> (u64, u64) {
        (self.0[BEGUN_AT + counter], self.0[FINISHED_AT + counter])
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word += other);
    }
}

#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    tally: Tally,
}

impl Journal {
    /// Goes on where the predecessor in this slot was killed.
    pub(super) fn open(directory: &Path, slot: usize) -> io::Result<Self> {
        let path = path(directory, slot);
        let options =
            || File::options().read(true).write(true).create(true).truncate(false).clone();
        Ok(Self { tally: read(&path)?, file: options().open(path)? })
    }

    pub(super) fn steps(&self) -> u64 {
        self.tally.steps()
    }

    pub(super) fn step(&mut self) -> io::Result<()> {
        self.tally.0[0] += 1;
        self.write()
    }

    /// Written with the next step or increment.
    pub(super) fn count(&mut self, operation: Operation) {
        self.tally.0[OPERATIONS_AT + operation as usize] += 1;
    }

    /// Before anything has happened to the file.
    pub(super) fn begin_increment(&mut self, counter: usize) -> io::Result<()> {
        self.tally.0[BEGUN_AT + counter] += 1;
        self.write()
    }

    pub(super) fn finish_increment(&mut self, counter: usize) -> io::Result<()> {
        self.tally.0[FINISHED_AT + counter] += 1;
        self.write()
    }

    /// It has not happened, and will not.
    pub(super) fn take_back_increment(&mut self, counter: usize) -> io::Result<()> {
        self.tally.0[BEGUN_AT + counter] -= 1;
        self.write()
    }

    /// One system call within one page: a kill comes before it or after it.
    fn write(&self) -> io::Result<()> {
        let bytes: Vec<u8> = self.tally.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.file.write_all_at(&bytes, 0)
    }
}

/// What the worker in this slot has noted; zeros if it never came to that.
pub(super) fn tally(directory: &Path, slot: usize) -> Tally {
    read(&path(directory, slot)).unwrap_or_default()
}

fn path(directory: &Path, slot: usize) -> PathBuf {
    directory.join(format!("journal.{slot}"))
}

fn read(path: &Path) -> io::Result<Tally> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut tally = Tally::default();
    for (word, bytes) in tally.0.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_goes_on_where_the_journal_ends() {
        let directory =
            std::env::temp_dir().join(format!("bateria-journal-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut journal = Journal::open(&directory, 3).unwrap();
        journal.count(Operation::Refused);
        journal.begin_increment(5).unwrap();
        journal.begin_increment(5).unwrap();
        journal.take_back_increment(5).unwrap();
        drop(journal);
        let mut journal = Journal::open(&directory, 3).unwrap();
        journal.finish_increment(5).unwrap();
        journal.step().unwrap();
        let tally = tally(&directory, 3);
        assert_eq!(tally.increments(5), (1, 1));
        assert_eq!((tally.steps(), tally.operations(Operation::Refused)), (1, 1));
        assert_eq!(super::tally(&directory, 4), Tally::default());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
