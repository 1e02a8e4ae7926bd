//! A shard's part of a walk over a database: reading the records of its chains, slice by slice, on
//! worker threads.
//!
//! A slice ends when it has a frame's worth of records, so a walk whose origin has no room waits
//! without a thread. Chains that a client holds are passed over and looked at again at the end.

mod chain_walk;
mod filter;

pub use chain_walk::ChainWalk;
pub use filter::Filter;
