//! A process that uses the node's file as smbd does (database semantics §2.1).

/// One client of a node's daemon.
#[derive(Clone, Copy, Debug)]
pub struct Smbd {
    pub id: u64,
    pub job: Job,
    pub key: u32,
    pub state: State,
    /// Calls so far; a reply names the call it answers.
    pub request: u64,
    /// When it began to wait for what it waits for.
    pub since_us: u64,
    /// The newest version of the record when it called.
    pub mark: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Replace the body by a new version.
    Write,
    /// Store an empty body and ask for the record's deletion.
    Delete,
    /// Read the body by a call.
    Read,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Has not opened the file yet.
    Attaching,
    /// Between two jobs.
    Thinking,
    /// Wants the chain's lock.
    Wanting,
    /// Holds it, and owns the record.
    Locked,
    /// Waits for the answer to a call.
    Calling,
}

impl Smbd {
    #[must_use]
    pub fn new(id: u64, now_us: u64) -> Self {
        Self {
            id,
            job: Job::Write,
            key: 0,
            state: State::Attaching,
            request: 0,
            since_us: now_us,
            mark: 0,
        }
    }
}
