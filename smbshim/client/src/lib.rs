//! Client of the cluster daemon, stock or bateria.
//!
//! [`Connection`] speaks the socket's protocol: calls, controls, messages. [`Database`] does with the
//! shared files what smbd does. Both block: one thread per connection, as in Samba.
#![forbid(unsafe_code)]

pub mod connection;
mod control;
pub mod database;
pub mod fault;
mod stream;

pub use connection::{
    CallReply, Connection, Message, Release, StartedCall, StartedControl, TunnelPacket,
};
pub use database::{AttachOptions, ClusterLock, Database, RecordLock, Transaction, Writers};
pub use fault::ClientFault;
