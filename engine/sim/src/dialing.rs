//! How nodes get connected, and how packets find their way.

use crate::cluster::SimCluster;
use crate::events::{Event, Happening};
use crate::network::{Arrival, LinkId, Packet, Payload};
use crate::records::Waiter;
use bateria_core::cluster::{Cluster, Input, LinkLoss};
use bateria_wire::Pnn;

impl SimCluster {
    pub(crate) fn arrive(&mut self, packet: Packet) {
        if !self.hosts[&packet.to].powered {
            return;
        }
        match self.network.arrive(packet) {
            Arrival::Read(packet) => self.read(packet),
            Arrival::Held | Arrival::Lost => {}
            Arrival::Nobody(packet) => {
                if !self.network.is_cut(packet.to, packet.from) {
                    let at = self.now.after(self.network.latency());
                    let Packet { from, to, link, .. } = packet;
                    self.at(at, Event::Reset { owner: from, peer: to, link });
                }
            }
        }
    }

    pub(crate) fn dial(&mut self, from: Pnn, life: u64, to: Pnn) {
        let dials = self.hosts[&from].life() == Some(life);
        if !dials || self.network.end(from, to).is_some() {
            return;
        }
        if self.hosts[&from].is_stopped() {
            return self.dial_later(from, to, 10_000, 20_000);
        }
        let at = self.now.after(self.network.latency());
        self.at(at, Event::Knock { from, life, to });
    }

    pub(crate) fn knock(&mut self, from: Pnn, life: u64, to: Pnn) {
        let target = &self.hosts[&to];
        let cut = self.network.is_cut(from, to) || self.network.is_cut(to, from);
        if cut || !target.powered || target.is_stopped() {
            let how = LinkLoss::TimedOut;
            let at = self.now.after(300_000);
            return self.at(at, Event::DialFailed { from, life, to, how });
        }
        let at = self.now.after(self.network.latency());
        let Some(process) = &self.hosts[&to].process else {
            let how = LinkLoss::Refused;
            return self.at(at, Event::DialFailed { from, life, to, how });
        };
        let (their_life, theirs) = (process.life, process.machine.incarnation());
        let link = self.network.new_link();
        let (owner, peer) = (from, to);
        self.at(at, Event::Open { owner, life, peer, link, incarnation: theirs });
        if self.hosts[&from].life() == Some(life) {
            let ours = self.hosts[&from].machine().map_or(0, Cluster::incarnation);
            self.open(to, their_life, from, link, ours);
        }
    }

    pub(crate) fn dial_failed(&mut self, from: Pnn, life: u64, to: Pnn, how: LinkLoss) {
        let dials = self.hosts[&from].life() == Some(life);
        if dials && self.network.end(from, to).is_none() {
            self.input(from, Input::LinkDown { peer: to, how });
            self.dial_later(from, to, 20_000, 100_000);
        }
    }

    pub(crate) fn open(
        &mut self,
        owner: Pnn,
        life: u64,
        peer: Pnn,
        link: LinkId,
        incarnation: u64,
    ) {
        if self.hosts[&owner].life() != Some(life) {
            return;
        }
        let dialled_twice = self.network.end(owner, peer).is_some_and(|known| known > link);
        if dialled_twice {
            return;
        }
        if let Some(former) = self.network.close_end(owner, peer) {
            self.tell_reset(peer, owner, former);
        }
        self.network.open_end(owner, peer, link);
        self.input(owner, Input::LinkUp { peer, incarnation });
    }

    pub(crate) fn link_reset(&mut self, owner: Pnn, peer: Pnn, link: LinkId) {
        if self.network.end(owner, peer) == Some(link) {
            self.network.close_end(owner, peer);
            self.input(owner, Input::LinkDown { peer, how: LinkLoss::Reset });
            // The daemon connects again at once.
            self.dial_later(owner, peer, 200, 5_000);
        }
    }

    pub(crate) fn tell_reset(&mut self, owner: Pnn, peer: Pnn, link: LinkId) {
        if !self.network.is_cut(peer, owner) {
            let at = self.now.after(self.network.latency());
            self.at(at, Event::Reset { owner, peer, link });
        }
    }

    pub(crate) fn dial_later(&mut self, from: Pnn, to: Pnn, low_us: u64, high_us: u64) {
        let Some(life) = self.hosts[&from].life() else { return };
        // The higher PNN waits a little, so that both seldom dial at once.
        let wait_us = self.random.between(low_us, high_us) + if from > to { 3_000 } else { 0 };
        self.at(self.now.after(wait_us), Event::Dial { from, life, to });
    }

    fn read(&mut self, packet: Packet) {
        let Packet { from, to, .. } = packet;
        match packet.payload {
            Payload::Control(head) => self.input(to, Input::Frame { from, head }),
            Payload::Attach => self.later(0, to, Happening::Attach(Waiter::Peer(from))),
            Payload::Attached => self.later(0, to, Happening::PeerAttached { peer: from }),
            Payload::Record { .. } => {
                let what = Happening::Record(Box::new(packet));
                self.later(0, to, what);
            }
        }
    }
}
