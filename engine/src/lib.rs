//! The daemon `bateriad`: shards on io_uring, a control thread, and everything around them.
//!
//! `daemon` starts it; `shard` and `control` are its threads; the machines that they drive are in
//! `bateria-core`, the files in `bateria-tdb`, the clients' protocol in `bateria-smbshim`.
#![deny(unsafe_code)]

pub mod blocking;
mod clock;
pub mod cluster_lock;
pub mod command_line;
pub mod conf;
pub mod config_file;
mod control;
pub mod cpus;
pub mod daemon;
pub mod daemonize;
mod database_table;
pub mod disk;
mod hello;
pub mod log;
mod mail;
pub mod nodes_file;
pub mod options;
mod outbox;
pub mod own_node;
pub mod paths;
pub mod pid_file;
pub mod problem;
mod registry;
#[cfg(test)]
mod scratch;
pub mod settings;
mod shard;
mod shard_threads;
mod shared;
mod statistics;
pub mod tunables;
pub mod walk;
