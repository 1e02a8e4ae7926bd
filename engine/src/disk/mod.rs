//! This node's copies of persistent and replicated databases: the jobs that
//! `bateria_core::persistent` starts, done on files.
//!
//! Jobs block: on the transaction lock of a file that other processes share, and on the disk. So a
//! shard hands them to a worker thread and gets the outcome back by mail; a database has one job at
//! a time.

mod client_buffer;
mod disk_copy;
mod staging;
mod task;
mod transaction;
mod update_note;

pub use client_buffer::{BufferFault, check_client_buffer};
pub use disk_copy::{DiskCopy, DiskFault};
pub use task::Task;
