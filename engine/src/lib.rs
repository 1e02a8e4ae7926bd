//! The daemon `bateriad`: shards on io_uring, a control thread, and everything around them.
//!
//! `daemon` starts it; `shard` and `control` are its threads; the machines that they drive are in
//! `bateria-core`, the files in `bateria-tdb`, the clients' protocol in `bateria-smbshim`.
#![deny(unsafe_code)]

pub mod blocking;
pub mod cluster_lock;
pub mod command_line;
pub mod conf;
pub mod config_file;
pub mod cpus;
pub mod daemonize;
pub mod disk;
pub mod log;
pub mod nodes_file;
pub mod options;
pub mod own_node;
pub mod paths;
pub mod pid_file;
pub mod problem;
#[cfg(test)]
mod scratch;
pub mod settings;
pub mod tunables;
pub mod walk;
