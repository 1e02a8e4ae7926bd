//! What waits in the event queue.

use crate::network::{LinkId, Packet};
use crate::records::Waiter;
use bateria_core::cluster::{Input, LinkLoss, Prospect, RebuildOrder, Vote};
use bateria_wire::Pnn;

/// Something that happens to the process of a node, or on its behalf, at a chosen moment.
#[derive(Clone, Debug)]
pub enum Event {
    /// For a process: void when that has ended, kept while it is stopped.
    Process {
        pnn: Pnn,
        life: u64,
        what: Happening,
    },
    Packet(Packet),
    Dial {
        from: Pnn,
        life: u64,
        to: Pnn,
    },
    /// The connection request reaches its host.
    Knock {
        from: Pnn,
        life: u64,
        to: Pnn,
    },
    DialFailed {
        from: Pnn,
        life: u64,
        to: Pnn,
        how: LinkLoss,
    },
    /// The hello of a connection arrives.
    Open {
        owner: Pnn,
        life: u64,
        peer: Pnn,
        link: LinkId,
        incarnation: u64,
    },
    /// The other end is closed.
    Reset {
        owner: Pnn,
        peer: Pnn,
        link: LinkId,
    },
    VoteOnDisk {
        pnn: Pnn,
        life: u64,
        vote: Vote,
    },
}

#[derive(Clone, Debug)]
pub enum Happening {
    /// The cluster machine's alarm.
    Alarm {
        serial: u64,
    },
    Input(Input),
    /// A frame for a shard.
    Record(Box<Packet>),
    Shard {
        lane: u32,
        mail: ShardMail,
    },
    ShardAlarm {
        lane: u32,
        serial: u64,
    },
    /// Somebody wants the database to be attached.
    Attach(Waiter),
    /// A worker has opened its file.
    Opened,
    PeerAttached {
        peer: Pnn,
    },
    /// Some peer may have gone instead of attaching it.
    AttachesEnd,
    ChainFree {
        lane: u32,
        chain: u32,
    },
    /// A client goes on.
    Client {
        id: u64,
    },
}

/// What the control thread tells a shard.
#[derive(Clone, Debug)]
pub enum ShardMail {
    Attached,
    Quiesce(Prospect),
    /// Look again whether every member is reached.
    AwaitLanes(Prospect),
    Rebuild(RebuildOrder),
}
