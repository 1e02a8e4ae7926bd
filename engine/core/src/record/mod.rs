//! Volatile records: who owns which one, and how it gets from one node to the next.
//!
//! Every record has an LMASTER, found by hash, whose `directory` remembers the *last* node in the
//! record's queue. A node whose clients want the record asks the LMASTER (`Want`); the LMASTER puts
//! it at the end of the queue by telling the former last node whom to hand the record to (`Recall`)
//! and forgets everything else. Each node keeps its one successor in its `tenure` of the record
//! and hands over directly (`Record`): one message per hand-over, first come, first served, and
//! nobody chases a record.
//!
//! ```text
//!   clients of B    B          LMASTER         A (owner)        C
//!        call ----> |-- Want ----> |                            |
//!                   |              |-- Recall{to B} --> |       |
//!                   |              | <----------------- Want ---|
//!                   | <-- Recall{to C} -- |             |       |
//!                   | <----------- Record ------------- |       |
//!        <-- reply -|  hold a moment, then                      |
//!                   |------------------ Record ---------------> |
//! ```
//!
//! Ownership itself is the `dmaster` field of the record in the node's file, which smbd trusts
//! without asking (database semantics §1.1). The directory is memory only: after every change of
//! members it is rebuilt from the files (`rebuild`), so a lost frame costs a new generation and
//! never a record.

pub(crate) mod chain_queue;
pub(crate) mod database;
pub(crate) mod deletions;
pub(crate) mod directory;
pub(crate) mod early;
pub mod effects;
pub mod header;
pub(crate) mod hold;
pub mod key_table;
pub(crate) mod lmaster;
pub(crate) mod purge;
pub(crate) mod rebuild;
pub mod records;
pub(crate) mod scan;
pub mod store;
pub(crate) mod tenure;
pub(crate) mod turn;
pub(crate) mod vacuum;

pub use effects::{Caller, Effects, Function, Reason};
pub use header::{RecordFlags, RecordHeader};
pub use key_table::{Key, OwnedKey};
pub use records::{Input, Records, Settings};
pub use store::{Lock, RecordStore, StoreFault};
