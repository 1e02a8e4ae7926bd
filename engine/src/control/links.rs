//! The control thread's own connections to its peers: one out, one in, like the lanes of shards.
//!
//! A link works when both do, and both ends are of the same incarnation.

use crate::control::{Control, tokens};
use crate::mail::ShardMail;
use crate::shard::lanes::{LaneNews, Lanes};
use crate::shared::Shared;
use bateria_core::cluster::{Input, LinkLoss};
use bateria_ring::{ReceivedBuffer, Ring, StreamId};
use bateria_wire::control::ControlHead;
use bateria_wire::frame::{self, Frame, FrameFault};
use bateria_wire::head::{ArchivedHead, ArchivedRelayHead, Head, LANE_CONTROL};
use bateria_wire::{DbKind, Generation, Pnn};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Links to all peers.
pub(crate) struct Links {
    shared: Arc<Shared>,
    pub(crate) lanes: Lanes,
    /// Incarnations of the peers whose link works.
    up: BTreeMap<Pnn, u64>,
}

impl Links {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let lanes = Lanes::new(shared.clone(), LANE_CONTROL);
        Self { shared, lanes, up: BTreeMap::new() }
    }

    pub(crate) fn connect_all(&mut self, ring: &mut Ring) {
        for peer in self.peers() {
            self.lanes.peer_up(ring, peer, None, tokens::link_out(peer));
        }
    }

    pub(crate) fn connected(&mut self, ring: &mut Ring, peer: Pnn, fd: OwnedFd) {
        self.lanes.connected(ring, peer, fd, tokens::link_out(peer));
    }

    pub(crate) fn retry(&mut self, ring: &mut Ring, now_us: u64) {
        self.lanes.retry(ring, now_us, tokens::link_out);
    }

    pub(crate) fn next_retry_us(&self) -> Option<u64> {
        self.lanes.next_retry_us()
    }

    pub(crate) fn send(&mut self, ring: &mut Ring, to: Pnn, head: ControlHead) {
        self.lanes.send(ring, Generation::INVALID, to, &Head::Control(head), &[]);
    }

    /// Closes both connections; a new attempt follows at once.
    pub(crate) fn drop_link(&mut self, ring: &mut Ring, peer: Pnn) {
        self.lanes.peer_down(ring, peer);
        self.lanes.peer_up(ring, peer, None, tokens::link_out(peer));
    }

    fn peers(&self) -> Vec<Pnn> {
        let listed = self.shared.addresses.iter().enumerate();
        let listed = listed.filter(|(_, address)| address.is_some());
        let nodes = listed.map(|(index, _)| Pnn(u32::try_from(index).expect("nodes are limited")));
        nodes.filter(|node| *node != self.shared.me).collect()
    }
}

impl Control {
    pub(crate) fn link_out_received(&mut self, peer: Pnn, stream: StreamId, bytes: &[u8]) {
        let news = self.links.lanes.received_out(&mut self.ring, peer, stream, bytes);
        if news == LaneNews::Up {
            self.link_may_be_up(peer);
        }
    }

    pub(crate) fn link_out_closed(&mut self, peer: Pnn, stream: StreamId) {
        if self.links.lanes.closed_out(peer, stream) == LaneNews::Lost {
            self.link_is_down(peer, LinkLoss::Reset);
        }
    }

    pub(crate) fn link_in_accepted(&mut self, fd: OwnedFd, peer: Pnn, incarnation: u64) {
        let ring = &mut self.ring;
        self.links.lanes.accept(ring, fd, peer, incarnation, tokens::link_in);
        self.link_may_be_up(peer);
    }

    pub(crate) fn link_in_closed(&mut self, place: usize) {
        let Some(peer) = self.links.lanes.closed_in(place) else { return };
        if self.links.lanes.both_ways(peer).is_none() {
            self.link_is_down(peer, LinkLoss::Reset);
        }
    }

    pub(crate) fn connect_failed(&mut self, peer: Pnn, error: &io::Error) {
        self.links.lanes.connect_failed(peer);
        let how = match error.kind() {
            io::ErrorKind::ConnectionRefused => LinkLoss::Refused,
            io::ErrorKind::TimedOut => LinkLoss::TimedOut,
            _ => LinkLoss::Reset,
        };
        self.links.up.remove(&peer);
        self.tell_cluster(Input::LinkDown { peer, how });
    }

    pub(crate) fn link_in_received(&mut self, place: usize, buffer: &ReceivedBuffer) {
        let Some((peer, stream, mut received)) = self.links.lanes.take_inward(place) else {
            return;
        };
        let outcome = received.feed(buffer, frame::frame_length, |bytes| {
            let frame = Frame::parse(bytes)?;
            if frame.source != peer {
                return Err(FrameFault::Meaning { rule: "a link carries its peer's frames" });
            }
            self.control_frame(peer, &frame)
        });
        self.links.lanes.put_back(place, received);
        if let Err(fault) = outcome {
            tracing::warn!("closing the control link from node {peer}: {fault}");
            self.ring.abort(stream);
        }
    }

    fn control_frame(&mut self, from: Pnn, frame: &Frame<'_>) -> Result<(), FrameFault> {
        match frame.head {
            ArchivedHead::Control(head) => {
                let head = ControlHead::from_archived(head).map_err(|_| FrameFault::Meaning {
                    rule: "control frames keep their limits",
                })?;
                self.tell_cluster(Input::Frame { from, head });
            }
            ArchivedHead::Relay(ArchivedRelayHead::Attach { id, kind_flags }) => {
                let name = str::from_utf8(frame.bulk)
                    .map_err(|_| FrameFault::Meaning { rule: "database names are text" })?;
                let kind = DbKind::from_flags(*kind_flags);
                self.attach_for_peer(from, id.to_native(), name.to_owned(), kind);
            }
            ArchivedHead::Relay(ArchivedRelayHead::Attached { id, status }) => {
                self.peer_attached(from, id.to_native(), status.to_native());
            }
            _ => return Err(FrameFault::Meaning { rule: "control links carry control frames" }),
        }
        Ok(())
    }

    /// Both directions may have met.
    fn link_may_be_up(&mut self, peer: Pnn) {
        let Some(incarnation) = self.links.lanes.both_ways(peer) else { return };
        if self.links.up.insert(peer, incarnation) == Some(incarnation) {
            return;
        }
        self.tell_shards(|| ShardMail::PeerUp { peer, incarnation });
        self.tell_cluster(Input::LinkUp { peer, incarnation });
    }

    fn link_is_down(&mut self, peer: Pnn, how: LinkLoss) {
        if self.links.up.remove(&peer).is_none() {
            return;
        }
        // One direction alone is of no use; both begin anew.
        self.links.drop_link(&mut self.ring, peer);
        self.tell_cluster(Input::LinkDown { peer, how });
        self.peer_left_attaches(peer);
    }

    /// Everybody must see that this node is not the one it was.
    pub(crate) fn reconnect_as_new(&mut self) {
        for peer in self.links.peers() {
            self.links.up.remove(&peer);
            self.links.drop_link(&mut self.ring, peer);
            self.tell_shards(|| ShardMail::PeerDown { peer });
            self.tell_cluster(Input::LinkDown { peer, how: LinkLoss::Reset });
        }
    }
}
