//! Controls of clients that another node has to answer.
//!
//! A query about a process must not fail while the process may still do harm (database semantics
//! §9.4, F1): as long as the cluster has not found a silent node harmless, its queries wait.

use crate::mail::Origin;
use bateria_smbshim::control::{ControlReply, Opcode, text};
use bateria_wire::{Pnn, Srvid};
use std::collections::{BTreeMap, BTreeSet};

/// Controls that wait for another node's answer.
pub(crate) struct Relays {
    next_id: u64,
    pending: BTreeMap<u64, Relayed>,
    harmless: BTreeSet<Pnn>,
}

pub(crate) struct Relayed {
    pub(crate) origin: Origin,
    pub(crate) peer: Pnn,
    pub(crate) opcode: u32,
    pub(crate) srvid: Srvid,
    pub(crate) flags: u32,
    pub(crate) data: Box<[u8]>,
    deadline_us: u64,
}

/// What to do with a control for another node.
pub(crate) enum Begun {
    /// Send it under this id as soon as there is a lane.
    Send(u64),
    Fail(ControlReply),
}

/// Controls that wait; beyond this new ones fail.
const PENDING_COUNT_MAX: usize = 64 * 1024;

impl Relays {
    pub(crate) fn new(peers: impl Iterator<Item = Pnn>) -> Self {
        Self { next_id: 1, pending: BTreeMap::new(), harmless: peers.collect() }
    }

    pub(crate) fn begin(&mut self, relayed: Relayed) -> Begun {
        if self.harmless.contains(&relayed.peer) {
            let text = text::TO_DISCONNECTED_NODE;
            return Begun::Fail(ControlReply::failed_because(-1, text));
        }
        if self.pending.len() >= PENDING_COUNT_MAX {
            return Begun::Fail(ControlReply::failed());
        }
        let id = self.next_id;
        self.next_id += 1;
        self.pending.insert(id, relayed);
        Begun::Send(id)
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Relayed> {
        self.pending.get(&id)
    }

    /// The answer came.
    pub(crate) fn end(&mut self, id: u64, from: Pnn) -> Option<Relayed> {
        if self.pending.get(&id)?.peer != from {
            return None;
        }
        self.pending.remove(&id)
    }

    pub(crate) fn peer_up(&mut self, peer: Pnn) {
        self.harmless.remove(&peer);
    }

    /// What has to be sent over a new lane: queries may be asked twice, and other controls are
    /// here only if there was no lane before.
    pub(crate) fn waiting_for(&self, peer: Pnn) -> Vec<u64> {
        let waits = self.pending.iter().filter(|(_, relayed)| relayed.peer == peer);
        waits.map(|(id, _)| *id).collect()
    }

    /// A lane broke: whether a control was carried out is unknown, so it fails; a query is asked
    /// again.
    pub(crate) fn lane_lost(&mut self, peer: Pnn) -> Vec<(Origin, ControlReply)> {
        let fails = |relayed: &Relayed| relayed.peer == peer && !relayed.is_query();
        self.fail(fails, text::NODE_DISCONNECTED)
    }

    /// The node's processes can do no harm any more.
    pub(crate) fn is_harmless(&mut self, peer: Pnn) -> Vec<(Origin, ControlReply)> {
        self.harmless.insert(peer);
        self.fail(|relayed| relayed.peer == peer, text::NODE_DISCONNECTED)
    }

    pub(crate) fn time_out(&mut self, now_us: u64) -> Vec<(Origin, ControlReply)> {
        if self.next_deadline_us().is_none_or(|at_us| at_us > now_us) {
            return Vec::new();
        }
        self.fail(|relayed| relayed.deadline_us <= now_us, text::TIMED_OUT)
    }

    /// When the oldest control times out; all wait equally long, so that is the first.
    pub(crate) fn next_deadline_us(&self) -> Option<u64> {
        self.pending.first_key_value().map(|(_, relayed)| relayed.deadline_us)
    }

    fn fail(
        &mut self,
        fails: impl Fn(&Relayed) -> bool,
        text: &'static str,
    ) -> Vec<(Origin, ControlReply)> {
        let failed = self.pending.extract_if(.., |_, relayed| fails(relayed));
        failed
            .map(|(_, relayed)| (relayed.origin, ControlReply::failed_because(-1, text)))
            .collect()
    }
}

impl Relayed {
    pub(crate) fn new(
        origin: Origin,
        peer: Pnn,
        opcode: u32,
        srvid: Srvid,
        flags: u32,
        data: &[u8],
        deadline_us: u64,
    ) -> Self {
        Self { origin, peer, opcode, srvid, flags, data: data.into(), deadline_us }
    }

    fn is_query(&self) -> bool {
        let opcode = Opcode::from_number(self.opcode);
        matches!(opcode, Some(Opcode::ProcessExists | Opcode::CheckPidSrvid))
    }
}
