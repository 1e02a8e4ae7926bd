//! Every cluster state machine of bateria, without I/O: a machine takes one event and says what
//! should happen next. The daemon's shards and the simulator drive the same code.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod cluster;
pub mod persistent;
pub mod record;
pub mod traverse;
