//! A database on its way into a node: opened by a worker, handed to the shards, then attached by
//! the other nodes, and only then told to the client.

use crate::network::LinkId;
use bateria_wire::Pnn;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Attaching {
    pub waiters: Vec<Waiter>,
    pub opened: bool,
    /// Peers that attach because a client here asked, and the link on which they will say so.
    pub awaited: BTreeMap<Pnn, LinkId>,
}

/// Who wants to know when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiter {
    Client(u64),
    Peer(Pnn),
    /// The generation that begins.
    Generation,
}
