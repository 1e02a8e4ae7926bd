//! A client's walk over the records of all nodes.
//!
//! The shard that serves the client is the walk's origin (`walks`). Every node that has records
//! visits them on behalf of the origin, each of its shards (lanes) the chains it serves (`visits`).
//!
//! ```text
//!   client       origin                      every lane of every node
//!     |- START --> |---------- Start{window} -------> |  walks, window frames ahead at most
//!     | <-- 0 -----| <--------- Records{lane} --------|
//!     | <- record -| <--------- Records{lane} --------|
//!     | <- record -|---------- Credit{lane} --------> |  when the client's queue took them
//!     |            | <------ End{lane, lanes_count} --|
//!     | <-- end ---|                                     once, when every lane has ended
//! ```
//!
//! A walk is a hint, not a snapshot (database semantics §7.3): its frames belong to the walk and
//! not to a generation, so it goes on through a change of members without those that left.

pub mod rec_data;
pub mod visits;
pub mod walks;

#[cfg(test)]
mod tests;

pub use visits::{BATCH_SIZE_BYTES, Slice, VisitEffects, VisitId, VisitInput, Visits};
pub use walks::{Client, Settings, Shortfall, WalkEffects, WalkInput, Walks};
