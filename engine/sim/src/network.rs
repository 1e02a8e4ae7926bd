//! Links as TCP has them: frames arrive in order and whole, or the link is broken. A partition
//! holds frames back; they arrive, late, when it ends and both ends still believe in the link.

use crate::random::Random;
use bateria_core::cluster::Micros;
use bateria_wire::control::ControlHead;
use bateria_wire::head::Head;
use bateria_wire::{Generation, Pnn};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One connection between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// A frame on its way to an end of a link.
#[derive(Clone, Debug)]
pub struct Packet {
    pub link: LinkId,
    pub from: Pnn,
    pub to: Pnn,
    pub payload: Payload,
    /// Record frames are lost when their lanes are reset meanwhile.
    lanes_epoch: u64,
}

/// What a frame carries. Each lane has its own connection, so lanes overtake each other.
#[derive(Clone, Debug)]
pub enum Payload {
    Control(ControlHead),
    Record {
        lane: u32,
        generation: Generation,
        head: Head,
        key: Vec<u8>,
        body: Vec<u8>,
    },
    /// A client here has attached the database; attach it, too.
    Attach,
    Attached,
}

/// One direction of one lane of a link; `None` is the control lane.
type Stream = (LinkId, Pnn, Option<u32>);

#[derive(Debug)]
pub struct Network {
    random: Random,
    latency_us: (u64, u64),
    /// The link that each node believes to have with each other.
    ends: BTreeMap<(Pnn, Pnn), LinkId>,
    links_count: u64,
    /// Directed pairs without a network.
    cut: BTreeSet<(Pnn, Pnn)>,
    /// What waits for the end of a cut, in order.
    held: BTreeMap<Stream, VecDeque<Packet>>,
    /// Nothing on a stream overtakes what was sent before.
    last_arrival: BTreeMap<Stream, Micros>,
    /// How often the record lanes from one node to another were lost.
    lanes_epochs: BTreeMap<(Pnn, Pnn), u64>,
}

impl Network {
    #[must_use]
    pub fn new(random: Random) -> Self {
        Self {
            random,
            latency_us: (50, 400),
            ends: BTreeMap::new(),
            links_count: 0,
            cut: BTreeSet::new(),
            held: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            lanes_epochs: BTreeMap::new(),
        }
    }

    pub fn set_latency(&mut self, low_us: u64, high_us: u64) {
        self.latency_us = (low_us, high_us);
    }

    pub fn latency(&mut self) -> u64 {
        self.random.between(self.latency_us.0, self.latency_us.1)
    }

    pub fn new_link(&mut self) -> LinkId {
        self.links_count += 1;
        LinkId(self.links_count)
    }

    /// One side believes in this link from now on.
    pub fn open_end(&mut self, owner: Pnn, peer: Pnn, link: LinkId) {
        self.ends.insert((owner, peer), link);
    }

    #[must_use]
    pub fn end(&self, owner: Pnn, peer: Pnn) -> Option<LinkId> {
        self.ends.get(&(owner, peer)).copied()
    }

    /// One side gives the link up; says which one, so that the other side may be told.
    pub fn close_end(&mut self, owner: Pnn, peer: Pnn) -> Option<LinkId> {
        self.ends.remove(&(owner, peer))
    }

    #[must_use]
    pub fn ends_of(&self, owner: Pnn) -> Vec<Pnn> {
        self.ends.keys().filter(|(end, _)| *end == owner).map(|(_, peer)| *peer).collect()
    }

    /// When a packet arrives that is sent now; `None` when the sender has no link.
    pub fn send(
        &mut self,
        now: Micros,
        from: Pnn,
        to: Pnn,
        payload: Payload,
    ) -> Option<(Micros, Packet)> {
        let link = self.end(from, to)?;
        let lanes_epoch = self.lanes_epoch(from, to);
        let packet = Packet { link, from, to, payload, lanes_epoch };
        Some((self.arrival(now, &packet), packet))
    }

    /// Record frames that are on their way are lost.
    pub fn lose_lanes(&mut self, from: Pnn, to: Pnn) {
        *self.lanes_epochs.entry((from, to)).or_default() += 1;
    }

    /// A packet reaches its end: to be read there, held back, or nobody's.
    pub fn arrive(&mut self, packet: Packet) -> Arrival {
        let stream = packet.stream();
        let behind_others = self.held.get(&stream).is_some_and(|held| !held.is_empty());
        if self.is_cut(packet.from, packet.to) || behind_others {
            self.held.entry(stream).or_default().push_back(packet);
            return Arrival::Held;
        }
        let lost =
            stream.2.is_some() && packet.lanes_epoch != self.lanes_epoch(packet.from, packet.to);
        if lost {
            Arrival::Lost
        } else if self.end(packet.to, packet.from) == Some(packet.link) {
            Arrival::Read(packet)
        } else {
            Arrival::Nobody(packet)
        }
    }

    pub fn cut(&mut self, from: Pnn, to: Pnn) {
        self.cut.insert((from, to));
    }

    #[must_use]
    pub fn is_cut(&self, from: Pnn, to: Pnn) -> bool {
        self.cut.contains(&(from, to))
    }

    /// Ends the cuts that `mended` selects; returns what was held back, with its new arrival.
    pub fn heal(
        &mut self,
        now: Micros,
        mended: impl Fn(Pnn, Pnn) -> bool,
    ) -> Vec<(Micros, Packet)> {
        self.cut.retain(|(from, to)| !mended(*from, *to));
        let free: Vec<Stream> = self
            .held
            .iter()
            .filter(|(_, held)| held.front().is_some_and(|p| !self.is_cut(p.from, p.to)))
            .map(|(stream, _)| *stream)
            .collect();
        let mut packets = Vec::new();
        for stream in free {
            for packet in self.held.remove(&stream).into_iter().flatten() {
                packets.push((self.arrival(now, &packet), packet));
            }
        }
        packets
    }

    fn arrival(&mut self, now: Micros, packet: &Packet) -> Micros {
        let at = now.after(self.latency());
        let last = self.last_arrival.entry(packet.stream()).or_default();
        *last = at.max(last.after(1));
        *last
    }

    fn lanes_epoch(&self, from: Pnn, to: Pnn) -> u64 {
        self.lanes_epochs.get(&(from, to)).copied().unwrap_or(0)
    }
}

impl Packet {
    fn stream(&self) -> Stream {
        let lane = match &self.payload {
            Payload::Control(_) | Payload::Attach | Payload::Attached => None,
            Payload::Record { lane, .. } => Some(*lane),
        };
        (self.link, self.to, lane)
    }
}

/// What becomes of a packet.
#[derive(Debug)]
pub enum Arrival {
    Read(Packet),
    Held,
    Lost,
    /// The end is closed: its host answers with a reset.
    Nobody(Packet),
}
