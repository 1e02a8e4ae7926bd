//! A job that owns what it works on.

use bateria_core::persistent::{Cursor, Job};
use bateria_wire::Generation;

/// `persistent::Job`, fit to cross to a worker thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    Apply { generation: Generation, buffer: Box<[u8]> },
    Digest,
    Read { from: Cursor },
    Stage { part: Box<[u8]>, first: bool },
    Install { updated_in: Generation },
}

impl From<Job<'_>> for Task {
    fn from(job: Job<'_>) -> Self {
        match job {
            Job::Apply { generation, buffer } => Self::Apply { generation, buffer: buffer.into() },
            Job::Digest => Self::Digest,
            Job::Read { from } => Self::Read { from },
            Job::Stage { part, first } => Self::Stage { part: part.into(), first },
            Job::Install { updated_in } => Self::Install { updated_in },
        }
    }
}
