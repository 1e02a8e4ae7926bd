//! One node's copy of one database.

use crate::disk::client_buffer::BufferFault;
use crate::disk::staging::Staging;
use crate::disk::task::Task;
use crate::disk::transaction;
use crate::disk::update_note::UpdateNote;
use bateria_core::persistent::{
    Contents, ContentsDigest, Cursor, JobFault, Outcome, PART_SIZE_BYTES,
};
use bateria_smbshim::ltdb_header::LtdbHeader;
use bateria_smbshim::marshall::MarshallBuilder;
use bateria_smbshim::sequence_number::{SEQUENCE_NUMBER_KEY, sequence_number};
use bateria_tdb::{Chain, Tdb, TdbError};
use bateria_wire::{DbId, Generation, Rsn};
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// The file of a persistent or replicated database, as its jobs see it. It belongs to whatever
/// worker thread runs the current one.
#[derive(Debug)]
pub struct DiskCopy {
    db: DbId,
    tdb: Tdb,
    note: UpdateNote,
    staging: Option<Staging>,
}

/// Why a job changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum DiskFault {
    #[error(transparent)]
    Tdb(#[from] TdbError),
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("staged copy: {0}")]
    Staging(#[from] io::Error),
    #[error("no copy is staged")]
    NothingStaged,
    #[error("{0}")]
    Buffer(BufferFault),
    #[error("a record with RSN {got} is not newer than the stored one with {have}")]
    Stale { have: Rsn, got: Rsn },
}

impl DiskCopy {
    /// `tdb` is a handle of its own, opened with NOSYNC for a replicated database. `note_path` is a
    /// file of this node's for this database, which only persistent ones have: what is kept there
    /// lives as long as the database.
    #[must_use]
    pub fn new(db: DbId, tdb: Tdb, note_path: Option<PathBuf>) -> Self {
        Self { db, tdb, note: UpdateNote::read(note_path), staging: None }
    }

    /// Does one job; blocks on other users of the file and on the disk.
    pub fn run(&mut self, task: Task) -> Outcome {
        let outcome = match task {
            Task::Apply { generation, buffer } => self.apply(generation, &buffer),
            Task::Digest => self.digest().map(Outcome::Digested),
            Task::Read { from } => self.read(from),
            Task::Stage { part, first } => self.stage(&part, first),
            Task::Install { updated_in } => self.install(updated_in),
        };
        outcome.unwrap_or_else(|fault| {
            tracing::error!("database {}: {fault}", self.db);
            Outcome::Failed(fault.judged())
        })
    }

    fn apply(&mut self, generation: Generation, buffer: &[u8]) -> Result<Outcome, DiskFault> {
        self.note.write(generation)?;
        transaction::apply(&mut self.tdb, buffer)?;
        Ok(Outcome::Done)
    }

    fn digest(&mut self) -> Result<Contents, DiskFault> {
        self.staging = None;
        let (mut digest, mut tombstones) = (ContentsDigest::new(), Vec::new());
        self.tdb.traverse(&mut |key, data| {
            match LtdbHeader::split(data) {
                Ok((header, body)) if !body.is_empty() => digest.add(key, header.rsn, body),
                // What is too short for a header counts as absent too (database semantics §1.2).
                _ => tombstones.push(Box::from(key)),
            }
            ControlFlow::Continue(())
        })?;
        if !tombstones.is_empty() {
            transaction::delete(&mut self.tdb, &tombstones)?;
        }
        let mut stored = Vec::new();
        let found = self.tdb.fetch(SEQUENCE_NUMBER_KEY, &mut stored)?;
        // One of the wrong size counts as 0 (database semantics §4.1).
        let sequence_number = if found { sequence_number(&stored).unwrap_or(0) } else { 0 };
        let updated_in = self.note.generation();
        Ok(Contents { sequence_number, digest: digest.finish(), updated_in })
    }

    fn read(&mut self, from: Cursor) -> Result<Outcome, DiskFault> {
        let mut part = MarshallBuilder::new(self.db);
        let mut skip_count = from.records_count;
        for chain in from.chain..self.tdb.chains_count() {
            // The lock of a part's first chain orders the unlocked looks at the others.
            if chain > from.chain && self.tdb.chain_is_empty(Chain(chain)) {
                continue;
            }
            let (mut seen_count, mut is_full) = (0, false);
            self.tdb.walk_chain(Chain(chain), &mut |key, data| {
                is_full = part.size_bytes() >= PART_SIZE_BYTES;
                if is_full {
                    return ControlFlow::Break(());
                }
                if seen_count >= skip_count
                    && let Ok((header, body)) = LtdbHeader::split(data)
                {
                    part.push(key, &header, body);
                }
                seen_count += 1;
                ControlFlow::Continue(())
            })?;
            if is_full {
                let next = Some(Cursor { chain, records_count: seen_count });
                return Ok(Outcome::Part { records: part.finish(), next });
            }
            skip_count = 0;
        }
        Ok(Outcome::Part { records: part.finish(), next: None })
    }

    fn stage(&mut self, part: &[u8], first: bool) -> Result<Outcome, DiskFault> {
        if first {
            let directory = self.tdb.path().parent().map(PathBuf::from).unwrap_or_default();
            self.staging = Some(Staging::new(&directory)?);
        }
        self.staging.as_mut().ok_or(DiskFault::NothingStaged)?.push(part)?;
        Ok(Outcome::Done)
    }

    fn install(&mut self, updated_in: Generation) -> Result<Outcome, DiskFault> {
        let mut staging = self.staging.take().ok_or(DiskFault::NothingStaged)?;
        transaction::install(&mut self.tdb, &mut staging)?;
        // Written behind the records: the other way round a crash would leave a note that speaks
        // of newer records than there are.
        self.note.write(updated_in)?;
        Ok(Outcome::Done)
    }
}

impl DiskFault {
    /// Whose fault it is: the transaction's or the file's.
    fn judged(&self) -> JobFault {
        match self {
            Self::Buffer(_) | Self::Stale { .. } => JobFault::Refused,
            Self::Tdb(_) | Self::Io { .. } | Self::Staging(_) | Self::NothingStaged => {
                JobFault::Failed
            }
        }
    }
}

#[cfg(test)]
mod tests;
