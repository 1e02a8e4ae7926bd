//! Links and heartbeats: who is there.

use crate::cluster::peer::Presence;
use crate::cluster::{Cluster, Death, Effect, Fact, FenceReason, LinkLoss, Micros};
use alloc::vec;
use alloc::vec::Vec;
use bateria_wire::control::{ControlHead, Echo, Heartbeat, Want};
use bateria_wire::{Generation, Pnn};

impl Cluster {
    pub(super) fn link_up(&mut self, pnn: Pnn, incarnation: u64) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&pnn).filter(|peer| peer.presence != Presence::Deleted)
        else {
            return;
        };
        let same_life = peer.incarnation == incarnation;
        let was = core::mem::replace(&mut peer.presence, Presence::Here);
        peer.linked = true;
        peer.heard_at = now;
        peer.owes_echo = false;
        peer.next_beat_at = Micros(0);
        if !same_life || was != Presence::Here {
            peer.beat = None;
        }
        if let Some(lead) = &mut self.lead {
            lead.told.remove(&pnn);
        }
        let unbroken = same_life && was == Presence::Here;
        let fact = if unbroken {
            Fact::LinkReset { node: pnn }
        } else {
            Fact::NodeConnected { node: pnn }
        };
        self.log(fact);
        if same_life {
            // It may have been given up, and be back before a generation without it was made.
            self.want_repair(pnn);
            return;
        }
        self.new_life(pnn, incarnation);
        if self.grants(pnn, incarnation) && self.works_on_promise() {
            // Both were fenced while nothing got through, and the leader has joined them again:
            // what they sent each other since went into the old connection.
            self.want_repair(pnn);
        }
    }

    pub(super) fn link_down(&mut self, pnn: Pnn, how: LinkLoss) {
        let Some(peer) = self.peers.get_mut(&pnn).filter(|peer| peer.presence != Presence::Deleted)
        else {
            return;
        };
        if how == LinkLoss::Refused && peer.linked {
            // An attempt from before the peer connected to us.
            return;
        }
        peer.linked = false;
        if how == LinkLoss::Refused {
            // A daemon that was never there has also ended: nobody waits for it at the start.
            peer.ended_at = self.now;
            if peer.presence != Presence::Gone {
                self.ended(pnn, Death::Refused);
            }
        }
    }

    pub(super) fn leaving(&mut self, pnn: Pnn, incarnation: u64) {
        if let Some(peer) = self.peers.get_mut(&pnn).filter(|p| p.incarnation == incarnation) {
            peer.ended_at = self.now;
            self.ended(pnn, Death::Left);
        }
    }

    pub(super) fn heartbeat(&mut self, pnn: Pnn, beat: Heartbeat) {
        let (now, settings) = (self.now, self.config.settings_crc32c);
        let Some(peer) = self.peers.get_mut(&pnn) else { return };
        let foreign = beat.settings != settings;
        if foreign && !peer.foreign {
            self.out.push(Effect::Log(Fact::SettingsDiffer { node: pnn }));
        }
        peer.foreign = foreign;
        let new_life = peer.incarnation != beat.incarnation;
        peer.owes_echo = true;
        if peer.beat.is_none() && !Generation(beat.committed).is_valid() {
            // It had nothing when it met this life of ours, and forgot what the former one granted.
            peer.horizon = Micros(0);
        }
        peer.beat = Some((now, beat.clone()));
        if new_life {
            self.new_life(pnn, beat.incarnation);
        }
        if !foreign {
            self.heard_of_leader(pnn, &beat);
            self.judge_exclusion(&beat);
        }
    }

    /// Peers that were silent for too long are DISCONNECTED. That is an observation only: their
    /// processes count as dead when a generation is committed without them.
    pub(super) fn notice_silence(&mut self) {
        let detection_us = self.config.timing.detection_us;
        let mut silent = Vec::new();
        for (pnn, peer) in &mut self.peers {
            if !peer.is_here() {
                continue;
            }
            let until = peer.heard_at.after(detection_us);
            if until > self.now {
                self.alarm = self.alarm.min(until);
                continue;
            }
            peer.presence = Presence::Silent;
            if core::mem::take(&mut peer.linked) {
                self.out.push(Effect::DropLink { peer: *pnn });
            }
            silent.push((*pnn, self.now.since(peer.heard_at) / 1000));
        }
        for (node, silent_ms) in silent {
            self.log(Fact::NodeDead { node, how: Death::Silent { silent_ms } });
            self.leader_may_be_lost(node);
        }
    }

    pub(super) fn echo(&mut self, pnn: Pnn, echo: Echo) {
        if !echo.granted {
            return;
        }
        // An echo from the future would be a lease for ever.
        let sent = Micros(echo.sent_us).min(self.now);
        let peer = self.peers.get_mut(&pnn).expect("frames come from known peers");
        peer.granted_sent = peer.granted_sent.max(Some(sent));
        if echo.as_leader {
            self.leader_granted_sent = self.leader_granted_sent.max(Some(sent));
        }
    }

    /// Answers heartbeats, and sends those that are due or that bring news.
    pub(super) fn announce(&mut self) {
        let beat = self.own_beat();
        let news = self.announced.as_ref() != Some(&beat);
        let linked = self.peers.iter().filter(|(_, peer)| peer.linked);
        for pnn in linked.map(|(pnn, _)| *pnn).collect::<Vec<_>>() {
            let peer = &self.peers[&pnn];
            let granting = self.grants(pnn, peer.incarnation);
            let due = news || peer.next_beat_at <= self.now;
            let asked = peer.owes_echo || granting != peer.granting;
            if due {
                self.send_beat(pnn, beat.clone());
            }
            if asked {
                self.send_echo(pnn, granting);
            }
            self.alarm = self.alarm.min(self.peers[&pnn].next_beat_at);
        }
        self.announced = Some(beat);
    }

    fn send_beat(&mut self, pnn: Pnn, beat: Heartbeat) {
        let next_beat_at = self.now.after(self.config.timing.heartbeat_interval_us);
        let peer = self.peers.get_mut(&pnn).expect("only known peers have links");
        peer.next_beat_at = next_beat_at;
        let head = ControlHead::Heartbeat(Heartbeat { sent_us: self.now.0, ..beat });
        self.out.push(Effect::Send { to: pnn, head });
    }

    fn send_echo(&mut self, pnn: Pnn, granted: bool) {
        let as_leader = self.lead.is_some();
        let detection_us = self.config.timing.detection_us;
        let peer = self.peers.get_mut(&pnn).expect("only known peers have links");
        let Some((received, beat)) = peer.beat.as_ref().filter(|_| !peer.foreign) else { return };
        let echo = Echo { sent_us: beat.sent_us, granted, as_leader };
        if granted {
            peer.horizon = peer.horizon.max(received.after(detection_us));
        }
        peer.granting = granted;
        peer.owes_echo = false;
        self.out.push(Effect::Send { to: pnn, head: ControlHead::Echo(echo) });
    }

    /// What is true for all receivers; the time is filled in at sending.
    fn own_beat(&self) -> Heartbeat {
        Heartbeat {
            incarnation: self.incarnation,
            sent_us: 0,
            term: self.election.term,
            leader: self.election.leader.unwrap_or(Pnn::UNKNOWN).0,
            promised: self.member.promised.generation.0,
            committed: self.member.committed.generation.0,
            flags: self.flags.bits(),
            capabilities: self.capabilities.bits(),
            run_state: self.run_state as u32,
            ready: self.is_ready(),
            want: self.member.want,
            settings: self.config.settings_crc32c,
            reaches: self
                .peers
                .iter()
                .filter(|(_, peer)| peer.is_here() && !peer.foreign)
                .map(|(pnn, _)| pnn.0)
                .collect(),
        }
    }

    /// A life of the peer is over, by whatever sign; its clients are gone.
    fn ended(&mut self, pnn: Pnn, how: Death) {
        let peer = self.peers.get_mut(&pnn).expect("only known peers end");
        let was = core::mem::replace(&mut peer.presence, Presence::Gone);
        peer.linked = false;
        peer.horizon = Micros(0);
        if was != Presence::Unknown {
            self.log(Fact::NodeDead { node: pnn, how });
        }
        let members = self.member.rosters.iter().flatten();
        self.member.ended.extend(members.filter(|(member, _)| *member == pnn));
        self.out.push(Effect::Harmless { nodes: vec![pnn] });
        self.leader_may_be_lost(pnn);
    }

    /// The peer is a new process, or was fenced: what was before is over.
    fn new_life(&mut self, pnn: Pnn, incarnation: u64) {
        let has_data = self.has_data();
        let peer = self.peers.get_mut(&pnn).expect("only known peers live");
        let former = core::mem::replace(&mut peer.incarnation, incarnation);
        if !has_data {
            // See `heartbeat`. With data, the grants of its former life bridge its restart.
            peer.granted_sent = None;
        }
        // Grants of our own former life concern the life of the peer that we meet first.
        if former != 0 {
            peer.horizon = Micros(0);
            self.member.ended.insert((pnn, former));
            self.log(Fact::NodeDead { node: pnn, how: Death::Restarted });
            self.out.push(Effect::Harmless { nodes: vec![pnn] });
        }
    }

    /// Frames to or from a member were lost, and a record may have been in one of them.
    pub(super) fn want_repair(&mut self, pnn: Pnn) {
        if self.member.promised.has(pnn) || self.member.committed.has(pnn) {
            self.want(Want::Repair);
        }
    }

    /// A generation needs the answer of each of its members. So one that is committed elsewhere,
    /// and that this node neither promised nor was asked for, is without it.
    fn judge_exclusion(&mut self, beat: &Heartbeat) {
        let (theirs, promised) = (Generation(beat.committed), &self.member.promised);
        let without_us = theirs > promised.generation
            || theirs == promised.generation && !promised.has(self.config.pnn);
        if theirs.is_valid() && without_us && self.has_data() {
            self.fence(FenceReason::Excluded { committed: theirs });
        }
    }
}
