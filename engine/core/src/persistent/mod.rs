//! Databases of which every node holds a full copy: persistent and replicated ones.
//!
//! Readers use their node's copy without asking. A commit is sent to every member and answered
//! when all of them have it; whatever else happens to it ends in a new generation, and each
//! generation begins with all copies being made equal (database semantics §4).
//!
//! ```text
//!   client      node A              coordinator B                    node C
//!     |-commit-> |---------- Update -----> |                           |
//!     |          |-------------------------|---------- Update -------> |   all apply and sync
//!     |          | <-------- Updated{0} ---|                           |
//!     | <-- 0 ---| <------------------------------------ Updated{0} ---|
//!
//!   new generation, C was away:
//!                |----- Digest{n, x} ----> | <--------- Digest{m, y} --|   x is the newest
//!                | <--- Distribute{C} -----|                           |
//!                |----- Fill 0, 1, .. ------------------------------>  |   each asked for
//!                |                         | <-------------- Filled ---|
//!                | <--- Settled -----------|---------- Settled ------> |
//! ```
//!
//! Nothing here touches a file: reading and writing are jobs of the driver (`Effects::start_job`),
//! one at a time for each database. So an update of an older generation is either dropped before it
//! begins or done before the copy is digested, and never writes afterwards (§4.4, W9).

pub mod contents;
pub mod effects;
pub mod machine;

mod commit;
mod configuration;
mod coordinator;
mod database;
mod jobs;
mod receiving;
mod sending;

#[cfg(test)]
mod tests;

pub use contents::{Contents, ContentsDigest};
pub use effects::{Cursor, Effects, Job, JobFault, JobId, Outcome, PART_SIZE_BYTES, Reason};
pub use machine::{Input, Persistent, Settings};
