//! Real daemons in namespaces of their own: what only a running cluster can show.
//!
//! Every test brings up its own [`harness::Cell`] and leaves nothing behind. The daemon under test is the `bateriad`
//! of this build; `BATERIA_TEST_DAEMON=stock` (or a path) runs the same tests over another one, which is how the
//! expectations are checked against stock ctdbd.

#![forbid(unsafe_code)]

mod harness;

mod bad_input;
mod counter;
mod failures;
mod hostile_peer;
mod lifecycle;
mod moves;
mod protocol;
mod samba;
mod shards;
mod smbtorture;
mod stragglers;
mod tool;
mod witness;
mod worker;
