//! What the control threads of two nodes say to each other: heartbeats, votes, and the three phases
//! of a new generation. Used by the machine in `bateria-core::cluster`.
//!
//! ```text
//!   leader                          member
//!     |------------ Prepare --------> |   stop frames of older generations
//!     | <---------- Prepared -------- |   what I hold, and since when
//!     |------------ Rebuild --------> |   whose data count
//!     | <---------- Rebuilt --------- |
//!     |------------ Commit ---------> |   work
//!     | <-- Heartbeat{committed} ---- |
//! ```
//! Each heartbeat is answered by an `Echo` at once.

use crate::limits::{DB_NAME_SIZE_BYTES_MAX, NODES_COUNT_MAX};
use crate::{Generation, Pnn};
use alloc::vec::Vec;
use rkyv::vec::ArchivedVec;
use rkyv::{Archive, Serialize};

/// The head of a frame between control threads. Numbers are native to the head's reader: PNNs,
/// terms and generations are plain integers here, `Pnn` and `Generation` beyond.
#[derive(Archive, Serialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub enum ControlHead {
    Heartbeat(Heartbeat),
    Echo(Echo),
    VoteRequest(VoteRequest),
    VoteAnswer(VoteAnswer),
    Prepare(Prepare),
    Prepared(Prepared),
    Rebuild(Rebuild),
    /// The sender finished its part of the rebuild.
    Rebuilt {
        generation: u32,
    },
    /// The sender cannot finish it; the leader starts over.
    RebuildFailed {
        generation: u32,
    },
    /// Every member has rebuilt: the generation is in force.
    Commit {
        generation: u32,
    },
    /// The sender shuts down in order: its clients are gone, nobody has to wait for its lease.
    Leaving {
        incarnation: u64,
    },
}

/// Sign of life, and the state of the sender.
#[derive(Archive, Serialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Heartbeat {
    /// Differs for each start of the sender and after each of its fencings.
    pub incarnation: u64,
    /// The sender's own clock in microseconds; comes back in an `Echo`.
    pub sent_us: u64,
    pub term: u32,
    /// PNN, or `Pnn::UNKNOWN`.
    pub leader: u32,
    /// Highest generation that the sender prepared for.
    pub promised: u32,
    /// Generation whose volatile data the sender holds, `Generation::INVALID` for none.
    pub committed: u32,
    /// `NodeFlags`.
    pub flags: u32,
    /// Bits of GET_CAPABILITIES.
    pub capabilities: u32,
    /// As GET_RUNSTATE encodes it.
    pub run_state: u32,
    /// May be a member of the next generation.
    pub ready: bool,
    pub want: Want,
    /// Checksum of what all nodes must have set alike: quorum mode and cluster lock.
    pub settings: u32,
    /// PNNs that the sender exchanges heartbeats with.
    pub reaches: Vec<u32>,
}

/// Answer to a heartbeat: what a lease is made of.
#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Echo {
    /// `sent_us` of the receiver's latest heartbeat.
    pub sent_us: u64,
    /// Whether the echo counts for the receiver's lease: it belongs to the generation that the
    /// sender has promised.
    pub granted: bool,
    /// The sender leads.
    pub as_leader: bool,
}

/// Whether the sender needs another generation.
#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[rkyv(derive(Debug))]
pub enum Want {
    Nothing,
    /// After the present one is committed.
    Recovery,
    /// At once: frames are lost, what runs may never end.
    Repair,
}

#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct VoteRequest {
    /// Asks only whether a vote would be given; nothing is remembered.
    pub probe: bool,
    pub term: u32,
    pub committed: u32,
}

#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct VoteAnswer {
    pub probe: bool,
    /// The term asked for.
    pub term: u32,
    pub granted: bool,
    /// The highest term that the voter knows.
    pub seen_term: u32,
}

/// Phase one: refuse frames of older generations, grant leases to these members only.
#[derive(Archive, Serialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Prepare {
    pub generation: u32,
    /// By ascending PNN.
    pub members: Vec<Member>,
    /// The members that are LMASTER, ascending.
    pub lmasters: Vec<u32>,
    /// Lives that are known to have ended: their leases need no waiting.
    pub gone: Vec<Member>,
}

/// A member is one life of a node: after a restart or a fencing it is another.
#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Member {
    pub pnn: u32,
    pub incarnation: u64,
}

#[derive(Archive, Serialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Prepared {
    pub generation: u32,
    /// 0: the sender takes no part, but promises.
    pub incarnation: u64,
    pub committed: u32,
    /// Highest generation whose rebuild the sender finished, committed or not.
    pub rebuilt: u32,
    /// Highest generation whose rebuild it began.
    pub entered: u32,
    /// Whose data counted in that one.
    pub entered_with: Vec<u32>,
    pub databases: Vec<DatabaseEntry>,
}

/// A database that some member has attached.
#[derive(Archive, Serialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct DatabaseEntry {
    pub id: u32,
    /// As in GET_DBMAP.
    pub flags: u8,
    /// Without NUL.
    pub name: Vec<u8>,
}

/// Phase two: bring the databases in order.
#[derive(Archive, Serialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Rebuild {
    pub generation: u32,
    /// Members whose volatile data count, ascending; the others wipe theirs first.
    pub contributors: Vec<u32>,
    /// All members' databases, by ascending id.
    pub databases: Vec<DatabaseEntry>,
}

/// Databases of a cluster; a frame that names more is refused.
pub const DATABASES_COUNT_MAX: usize = 4096;

/// The peer sent a head that is sound but cannot be true: its link is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlFault {
    #[error("{count} nodes in a list exceed the limit of {NODES_COUNT_MAX}")]
    TooManyNodes { count: usize },
    #[error("a list of nodes is not ascending or names none")]
    NodesOrder,
    #[error("{count} databases exceed the limit of {DATABASES_COUNT_MAX}")]
    TooManyDatabases { count: usize },
    #[error("database name of {size_bytes} bytes exceeds the limit of {DB_NAME_SIZE_BYTES_MAX}")]
    NameTooLong { size_bytes: usize },
    #[error("term {term} exceeds the limit of {}", Generation::TERM_MAX)]
    TermTooHigh { term: u32 },
    #[error("generation {generation} belongs to no term")]
    NoGeneration { generation: u32 },
}

impl ControlHead {
    /// The head as a value of its own. Sizes are checked before anything is allocated.
    ///
    /// # Errors
    /// A list or name over its limit, an unordered list of nodes, an impossible number.
    pub fn from_archived(archived: &ArchivedControlHead) -> Result<Self, ControlFault> {
        Ok(match archived {
            ArchivedControlHead::Heartbeat(beat) => Self::Heartbeat(beat.native()?),
            ArchivedControlHead::Echo(echo) => Self::Echo(Echo {
                sent_us: echo.sent_us.to_native(),
                granted: echo.granted,
                as_leader: echo.as_leader,
            }),
            ArchivedControlHead::VoteRequest(request) => Self::VoteRequest(VoteRequest {
                probe: request.probe,
                term: term(request.term.to_native())?,
                committed: request.committed.to_native(),
            }),
            ArchivedControlHead::VoteAnswer(answer) => Self::VoteAnswer(VoteAnswer {
                probe: answer.probe,
                term: term(answer.term.to_native())?,
                granted: answer.granted,
                seen_term: term(answer.seen_term.to_native())?,
            }),
            ArchivedControlHead::Prepare(prepare) => Self::Prepare(Prepare {
                generation: generation(prepare.generation.to_native())?,
                members: members(&prepare.members)?,
                lmasters: nodes(&prepare.lmasters)?,
                gone: members(&prepare.gone)?,
            }),
            ArchivedControlHead::Prepared(prepared) => Self::Prepared(Prepared {
                generation: generation(prepared.generation.to_native())?,
                incarnation: prepared.incarnation.to_native(),
                committed: prepared.committed.to_native(),
                rebuilt: prepared.rebuilt.to_native(),
                entered: prepared.entered.to_native(),
                entered_with: nodes(&prepared.entered_with)?,
                databases: databases(&prepared.databases)?,
            }),
            ArchivedControlHead::Rebuild(rebuild) => Self::Rebuild(Rebuild {
                generation: generation(rebuild.generation.to_native())?,
                contributors: nodes(&rebuild.contributors)?,
                databases: databases(&rebuild.databases)?,
            }),
            ArchivedControlHead::Rebuilt { generation: number } => {
                Self::Rebuilt { generation: generation(number.to_native())? }
            }
            ArchivedControlHead::RebuildFailed { generation: number } => {
                Self::RebuildFailed { generation: generation(number.to_native())? }
            }
            ArchivedControlHead::Commit { generation: number } => {
                Self::Commit { generation: generation(number.to_native())? }
            }
            ArchivedControlHead::Leaving { incarnation } => {
                Self::Leaving { incarnation: incarnation.to_native() }
            }
        })
    }
}

impl ArchivedHeartbeat {
    fn native(&self) -> Result<Heartbeat, ControlFault> {
        Ok(Heartbeat {
            incarnation: self.incarnation.to_native(),
            sent_us: self.sent_us.to_native(),
            term: term(self.term.to_native())?,
            leader: self.leader.to_native(),
            promised: self.promised.to_native(),
            committed: self.committed.to_native(),
            flags: self.flags.to_native(),
            capabilities: self.capabilities.to_native(),
            run_state: self.run_state.to_native(),
            ready: self.ready,
            want: match self.want {
                ArchivedWant::Nothing => Want::Nothing,
                ArchivedWant::Recovery => Want::Recovery,
                ArchivedWant::Repair => Want::Repair,
            },
            settings: self.settings.to_native(),
            reaches: nodes(&self.reaches)?,
        })
    }
}

fn nodes(archived: &ArchivedVec<rkyv::rend::u32_le>) -> Result<Vec<u32>, ControlFault> {
    if archived.len() > NODES_COUNT_MAX as usize {
        return Err(ControlFault::TooManyNodes { count: archived.len() });
    }
    let list: Vec<u32> = archived.iter().map(|pnn| pnn.to_native()).collect();
    ascending(&list)?;
    Ok(list)
}

fn members(archived: &ArchivedVec<ArchivedMember>) -> Result<Vec<Member>, ControlFault> {
    if archived.len() > NODES_COUNT_MAX as usize {
        return Err(ControlFault::TooManyNodes { count: archived.len() });
    }
    let native = |member: &ArchivedMember| Member {
        pnn: member.pnn.to_native(),
        incarnation: member.incarnation.to_native(),
    };
    let list: Vec<Member> = archived.iter().map(native).collect();
    ascending(&list.iter().map(|member| member.pnn).collect::<Vec<_>>())?;
    Ok(list)
}

fn ascending(list: &[u32]) -> Result<(), ControlFault> {
    let sorted = list.is_sorted_by(|low, high| low < high);
    let known = list.last().is_none_or(|last| Pnn(*last).is_node());
    if sorted && known { Ok(()) } else { Err(ControlFault::NodesOrder) }
}

fn databases(
    archived: &ArchivedVec<ArchivedDatabaseEntry>,
) -> Result<Vec<DatabaseEntry>, ControlFault> {
    if archived.len() > DATABASES_COUNT_MAX {
        return Err(ControlFault::TooManyDatabases { count: archived.len() });
    }
    archived.iter().map(ArchivedDatabaseEntry::native).collect()
}

impl ArchivedDatabaseEntry {
    fn native(&self) -> Result<DatabaseEntry, ControlFault> {
        // The limit counts the NUL, which does not travel.
        if self.name.len() >= DB_NAME_SIZE_BYTES_MAX as usize {
            return Err(ControlFault::NameTooLong { size_bytes: self.name.len() });
        }
        Ok(DatabaseEntry {
            id: self.id.to_native(),
            flags: self.flags,
            name: self.name.as_slice().to_vec(),
        })
    }
}

fn term(term: u32) -> Result<u32, ControlFault> {
    if term <= Generation::TERM_MAX { Ok(term) } else { Err(ControlFault::TermTooHigh { term }) }
}

fn generation(number: u32) -> Result<u32, ControlFault> {
    if Generation(number).term() > 0 {
        Ok(number)
    } else {
        Err(ControlFault::NoGeneration { generation: number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use rkyv::rancor::{Error, Failure};

    fn read_back(head: &ControlHead) -> Result<ControlHead, ControlFault> {
        let bytes = rkyv::to_bytes::<Error>(head).unwrap();
        let archived = rkyv::access::<ArchivedControlHead, Failure>(&bytes).unwrap();
        ControlHead::from_archived(archived)
    }

    fn heartbeat() -> Heartbeat {
        Heartbeat {
            incarnation: 77,
            sent_us: 5,
            term: 3,
            leader: 0,
            promised: 12289,
            committed: 12289,
            flags: 0x20,
            capabilities: 3,
            run_state: 5,
            ready: true,
            want: Want::Repair,
            settings: 9,
            reaches: vec![1, 2],
        }
    }

    #[test]
    fn every_head_comes_back_as_it_was_sent() {
        let databases =
            vec![DatabaseEntry { id: 0x7a19_d84d, flags: 1, name: b"locking.tdb".to_vec() }];
        let heads = [
            ControlHead::Heartbeat(heartbeat()),
            ControlHead::Echo(Echo { sent_us: 4, granted: true, as_leader: false }),
            ControlHead::VoteRequest(VoteRequest { probe: true, term: 9, committed: 1 }),
            ControlHead::VoteAnswer(VoteAnswer {
                probe: false,
                term: 9,
                granted: true,
                seen_term: 10,
            }),
            ControlHead::Prepare(Prepare {
                generation: 12289,
                members: vec![Member { pnn: 0, incarnation: 7 }, Member { pnn: 2, incarnation: 9 }],
                lmasters: vec![0, 2],
                gone: vec![Member { pnn: 3, incarnation: 0 }],
            }),
            ControlHead::Prepared(Prepared {
                generation: 12289,
                incarnation: 77,
                committed: 1,
                rebuilt: 8193,
                entered: 8194,
                entered_with: vec![0, 2],
                databases: databases.clone(),
            }),
            ControlHead::Rebuild(Rebuild {
                generation: 12289,
                contributors: vec![],
                databases: databases.clone(),
            }),
            ControlHead::Rebuilt { generation: 12289 },
            ControlHead::RebuildFailed { generation: 12289 },
            ControlHead::Commit { generation: 12289 },
            ControlHead::Leaving { incarnation: 77 },
        ];
        for head in heads {
            assert_eq!(read_back(&head), Ok(head));
        }
    }

    #[test]
    fn lists_of_nodes_are_ascending_and_bounded() {
        let with = |reaches| ControlHead::Heartbeat(Heartbeat { reaches, ..heartbeat() });
        assert_eq!(read_back(&with(vec![2, 1])), Err(ControlFault::NodesOrder));
        assert_eq!(read_back(&with(vec![1, 1])), Err(ControlFault::NodesOrder));
        assert_eq!(read_back(&with(vec![u32::MAX])), Err(ControlFault::NodesOrder));
        let count = NODES_COUNT_MAX as usize + 1;
        let all = (0..=NODES_COUNT_MAX).collect();
        assert_eq!(read_back(&with(all)), Err(ControlFault::TooManyNodes { count }));
    }

    #[test]
    fn a_name_leaves_room_for_its_nul() {
        let with = |size_bytes| {
            let name = vec![b'x'; size_bytes];
            ControlHead::Rebuild(Rebuild {
                generation: 4097,
                contributors: vec![0],
                databases: vec![DatabaseEntry { id: 1, flags: 0, name }],
            })
        };
        assert!(read_back(&with(255)).is_ok());
        assert_eq!(read_back(&with(256)), Err(ControlFault::NameTooLong { size_bytes: 256 }));
    }

    #[test]
    fn impossible_terms_and_generations_are_refused() {
        let term = Generation::TERM_MAX + 1;
        let vote = ControlHead::VoteRequest(VoteRequest { probe: false, term, committed: 1 });
        assert_eq!(read_back(&vote), Err(ControlFault::TermTooHigh { term }));
        let commit = ControlHead::Commit { generation: 1 };
        assert_eq!(read_back(&commit), Err(ControlFault::NoGeneration { generation: 1 }));
    }
}
