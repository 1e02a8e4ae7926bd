//! What this node knows of another one.

use crate::cluster::{Capabilities, Micros, NodeView, RunState};
use bateria_wire::control::{Heartbeat, Want};
use bateria_wire::{NodeFlags, Pnn};

/// One other node of the nodes list.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub(super) struct Peer {
    pub(super) presence: Presence,
    /// The control connection works.
    pub(super) linked: bool,
    /// Of the process last heard of; 0 before.
    pub(super) incarnation: u64,
    pub(super) heard_at: Micros,
    /// When the latest sign came that its process has ended.
    pub(super) ended_at: Micros,
    /// Newest of this incarnation, and when it came.
    pub(super) beat: Option<(Micros, Heartbeat)>,
    /// The peer runs with other settings and takes no part.
    pub(super) foreign: bool,
    /// Own send time of the latest heartbeat whose echo was a grant.
    pub(super) granted_sent: Option<Micros>,
    /// The peer's lease has surely ended by then, as far as this node granted it.
    pub(super) horizon: Micros,
    pub(super) next_beat_at: Micros,
    /// `granted` of the latest echo to the peer.
    pub(super) granting: bool,
    /// A heartbeat waits for its echo.
    pub(super) owes_echo: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Not heard of since this node started.
    Unknown,
    /// Heard of within the detection time; its link may be broken at the moment.
    Here,
    /// Nothing is known but silence.
    Silent,
    /// Its process has ended, or its clients are gone.
    Gone,
    /// Not in the cluster any more, says the nodes file.
    Deleted,
}

impl Peer {
    /// A node that may have been granted a lease by the former life of this one, until `horizon`.
    pub(super) fn unknown(deleted: bool, horizon: Micros) -> Self {
        Self {
            presence: if deleted { Presence::Deleted } else { Presence::Unknown },
            linked: false,
            incarnation: 0,
            heard_at: Micros(0),
            ended_at: Micros(0),
            beat: None,
            foreign: false,
            granted_sent: None,
            horizon,
            next_beat_at: Micros(0),
            granting: false,
            owes_echo: false,
        }
    }

    pub(super) fn is_here(&self) -> bool {
        self.presence == Presence::Here
    }

    /// The peer's newest heartbeat, when frames reach it now.
    pub(super) fn in_contact(&self) -> Option<&Heartbeat> {
        let usable = self.is_here() && self.linked && !self.foreign;
        self.beat.as_ref().filter(|_| usable).map(|(_, beat)| beat)
    }

    /// Whether waiting for the peer to become a member is pointless at the moment.
    pub(super) fn is_out_of_service(&self) -> bool {
        let busy = self.in_contact().is_some_and(|beat| !beat.ready);
        busy || matches!(self.presence, Presence::Gone | Presence::Deleted)
    }

    /// Whether the peer offers to be a member.
    pub(super) fn is_ready(&self) -> bool {
        self.in_contact().is_some_and(|beat| beat.ready && self.flags().is_active())
    }

    /// Requests that a generation on its way answers already.
    pub(super) fn forget_want(&mut self) {
        if let Some((_, beat)) = &mut self.beat {
            beat.want = Want::Nothing;
        }
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        let bits = self.beat.as_ref().map_or(0, |(_, beat)| beat.capabilities);
        Capabilities::from_bits_retain(bits)
    }

    /// The peer's own flags; DISCONNECTED and DELETED as this node knows them.
    pub(super) fn flags(&self) -> NodeFlags {
        if self.presence == Presence::Deleted {
            return NodeFlags::DELETED | NodeFlags::DISCONNECTED;
        }
        match &self.beat {
            // A broken link of a node that lives is mended within the detection time, unseen.
            Some((_, beat)) if self.is_here() && !self.foreign => {
                NodeFlags::from_bits_truncate(beat.flags)
                    - NodeFlags::DISCONNECTED
                    - NodeFlags::DELETED
            }
            _ => NodeFlags::DISCONNECTED | NodeFlags::UNHEALTHY,
        }
    }

    pub(super) fn view(&self, pnn: Pnn) -> NodeView {
        let flags = self.flags();
        let connected = !flags.contains(NodeFlags::DISCONNECTED);
        let run_state = self.beat.as_ref().map_or(0, |(_, beat)| beat.run_state);
        NodeView {
            pnn,
            flags,
            connected,
            incarnation: self.incarnation,
            capabilities: self.capabilities(),
            run_state: RunState::from_number(if connected { run_state } else { 0 }),
        }
    }
}
