//! Membership, leadership and generations of a cluster, as one node sees them.
//!
//! ```text
//!   links, heartbeats        who is there                     link, peer
//!   leases                   who may still act                lease, fence
//!   votes, cluster lock      who leads                        election, lock_race
//!   generations              who works with whom, from when   roster, lead, attempt, member
//! ```
//!
//! `Cluster::step` takes one event and appends effects. It opens no socket and asks no clock: the
//! control thread of the daemon drives it in production, the simulator in tests.

mod attempt;
mod config;
mod effect;
mod election;
mod fact;
mod fence;
mod input;
mod lead;
mod lease;
mod link;
mod lock_race;
mod machine;
mod member;
mod peer;
mod pnns;
mod prospect;
mod random;
mod roster;
mod time;
mod view;

#[cfg(test)]
mod world;

pub use config::{Capabilities, Config, ConfigFault, NodeConfig, Quorum, Timing, Vote};
pub use effect::{Effect, FenceReason, RebuildOrder};
pub use fact::{Cause, Death, Fact};
pub use input::{Input, LinkLoss, LockEvent};
pub use machine::Cluster;
pub use prospect::Prospect;
pub use time::Micros;
pub use view::{NodeView, RecoveryMode, RunState, View};

use pnns::Pnns;
