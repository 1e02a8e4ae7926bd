//! A whole cluster in one thread, in virtual time, from a seed.
//!
//! The machines are the daemon's own; everything around them is simulated: hosts with skewed
//! clocks and disks, processes that are killed and stopped, links that break, stall and come back,
//! a cluster lock that fails. After every step the invariants are checked by an observer who sees
//! all nodes at once.
//!
//! ```text
//!   SimCluster            event queue, virtual time
//!     +- Host             clock, disk, power; Process: the machine, its shards and clients
//!     +- Network          links as TCP has them: in order, or broken
//!     +- LockServer       one holder
//!     +- Truth, History   what is really the case on each node, and what was ever written
//!     +- invariants       each one file, quoting its source
//! ```
#![forbid(unsafe_code)]

mod attaching;
pub mod chaos;
mod clients;
pub mod clock;
pub mod cluster;
mod dialing;
mod driver;
pub mod events;
pub mod failure;
pub mod host;
pub mod invariants;
pub mod lock_server;
pub mod network;
pub mod random;
pub mod records;
pub mod run;
pub mod scenario;
mod serving;
pub mod trace;
pub mod truth;

pub use cluster::SimCluster;
pub use failure::Failure;
pub use random::Random;
