//! This shard's connections to the shards of other nodes.
//!
//! A lane goes one way: its frames come from one shard, so all frames about one key between two
//! nodes travel in one lane and keep their order. Each shard opens one lane to every peer that the
//! control thread can reach, and receives on lanes that peers' shards have opened.

use crate::hello;
use crate::shared::Shared;
use bateria_ring::{FrameBuffer, Ring, SockAddr, StreamId, StreamLimits, Token};
use bateria_wire::frame::{self, Frame, Scratch};
use bateria_wire::head::Head;
use bateria_wire::{Generation, Pnn};
use slab::Slab;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// Lanes out of and into this shard.
pub(crate) struct Lanes {
    shared: Arc<Shared>,
    lane: u32,
    out: BTreeMap<Pnn, LaneOut>,
    inward: Slab<LaneIn>,
    scratch: Scratch,
    encoded: Vec<u8>,
}

struct LaneOut {
    /// What the control thread knows of the peer; its own lanes learn it from the peer.
    incarnation: Option<u64>,
    state: State,
    received: FrameBuffer,
}

enum State {
    /// A new attempt at this time.
    Down {
        retry_at_us: u64,
    },
    Connecting,
    /// Connected; the peer has not answered yet.
    Greeting(StreamId),
    Up {
        stream: StreamId,
        incarnation: u64,
    },
}

struct LaneIn {
    peer: Pnn,
    incarnation: u64,
    stream: StreamId,
    received: FrameBuffer,
}

/// What happened to a lane.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LaneNews {
    Nothing,
    Up,
    /// Frames may be lost.
    Lost,
}

/// A peer that takes no more than this away is too slow to stay: its lane is closed, which is a
/// change of membership.
const LANE_QUEUE_BYTES_MAX: usize = 512 << 20;
/// Above this, clients wait.
const LANE_CONGESTED_BYTES: usize = 16 << 20;
const RETRY_PAUSE_US: u64 = 20_000;
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

pub(crate) fn limits() -> StreamLimits {
    StreamLimits {
        send_queue_bytes_max: LANE_QUEUE_BYTES_MAX,
        send_queue_bytes_low: LANE_CONGESTED_BYTES / 2,
        close_flush_max: Duration::from_millis(500),
    }
}

impl Lanes {
    pub(crate) fn new(shared: Arc<Shared>, lane: u32) -> Self {
        Self {
            shared,
            lane,
            out: BTreeMap::new(),
            inward: Slab::new(),
            scratch: Scratch::new(),
            encoded: Vec::new(),
        }
    }

    /// The control threads have found each other: connects.
    pub(crate) fn peer_up(
        &mut self,
        ring: &mut Ring,
        peer: Pnn,
        incarnation: Option<u64>,
        token: Token,
    ) {
        self.peer_down(ring, peer);
        let state = State::Down { retry_at_us: 0 };
        self.out.insert(peer, LaneOut { incarnation, state, received: FrameBuffer::new() });
        self.connect(ring, peer, token);
    }

    pub(crate) fn peer_down(&mut self, ring: &mut Ring, peer: Pnn) {
        if let Some(lane) = self.out.remove(&peer)
            && let State::Greeting(stream) | State::Up { stream, .. } = lane.state
        {
            ring.abort(stream);
        }
        let old: Vec<_> = self.inward.iter().filter(|(_, lane)| lane.peer == peer).collect();
        old.into_iter().for_each(|(_, lane)| ring.abort(lane.stream));
    }

    pub(crate) fn connected(&mut self, ring: &mut Ring, peer: Pnn, fd: OwnedFd, token: Token) {
        let Some(lane) = self.out.get_mut(&peer) else { return };
        if !matches!(lane.state, State::Connecting) {
            return;
        }
        match open_lane(ring, fd, token) {
            Ok(stream) => {
                lane.received = FrameBuffer::new();
                lane.state = State::Greeting(stream);
                let greeting = hello::hello(&self.shared, peer, self.lane);
                if ring.send(stream, &greeting).is_err() {
                    ring.abort(stream);
                }
            }
            Err(error) => {
                tracing::warn!("lane to node {peer}: {error}");
                self.connect_failed(peer);
            }
        }
    }

    pub(crate) fn connect_failed(&mut self, peer: Pnn) {
        if let Some(lane) = self.out.get_mut(&peer) {
            lane.state = State::Down { retry_at_us: crate::clock::now_us() + RETRY_PAUSE_US };
        }
    }

    /// Connects again where a pause is over.
    pub(crate) fn retry(&mut self, ring: &mut Ring, now_us: u64, token: fn(Pnn) -> Token) {
        let due = |lane: &LaneOut| matches!(lane.state, State::Down { retry_at_us } if retry_at_us <= now_us);
        let peers: Vec<Pnn> =
            self.out.iter().filter(|(_, lane)| due(lane)).map(|(peer, _)| *peer).collect();
        peers.into_iter().for_each(|peer| self.connect(ring, peer, token(peer)));
    }

    pub(crate) fn next_retry_us(&self) -> Option<u64> {
        let retries = self.out.values().filter_map(|lane| match lane.state {
            State::Down { retry_at_us } => Some(retry_at_us),
            _ => None,
        });
        retries.min()
    }

    /// Bytes on a lane that this shard opened: the peer's answer to the greeting, and nothing else.
    pub(crate) fn received_out(
        &mut self,
        ring: &mut Ring,
        peer: Pnn,
        stream: StreamId,
        bytes: &[u8],
    ) -> LaneNews {
        let Some(lane) = self.out.get_mut(&peer) else { return LaneNews::Nothing };
        if !matches!(lane.state, State::Greeting(greeting) if greeting == stream) {
            ring.abort(stream);
            return LaneNews::Nothing;
        }
        lane.received.push(bytes);
        let judged = match lane.received.next_frame(frame::frame_length) {
            Ok(None) => return LaneNews::Nothing,
            Ok(Some(bytes)) => Frame::parse(bytes)
                .map_err(hello::GreetingFault::from)
                .and_then(|frame| hello::judge_ack(peer, &frame)),
            Err(fault) => Err(fault.into()),
        };
        match judged {
            Ok(incarnation) if lane.incarnation.is_none_or(|known| known == incarnation) => {
                lane.state = State::Up { stream, incarnation };
                LaneNews::Up
            }
            Ok(_) => {
                ring.abort(stream);
                LaneNews::Nothing
            }
            Err(fault) => {
                tracing::warn!("lane to node {peer}: {fault}");
                ring.abort(stream);
                LaneNews::Nothing
            }
        }
    }

    /// A lane that this shard opened has ended.
    pub(crate) fn closed_out(&mut self, peer: Pnn, stream: StreamId) -> LaneNews {
        let Some(lane) = self.out.get_mut(&peer) else { return LaneNews::Nothing };
        let (State::Greeting(open) | State::Up { stream: open, .. }) = lane.state else {
            return LaneNews::Nothing;
        };
        if open != stream {
            return LaneNews::Nothing;
        }
        let was_up = matches!(lane.state, State::Up { .. });
        self.connect_failed(peer);
        if was_up { LaneNews::Lost } else { LaneNews::Nothing }
    }

    /// A peer's shard has opened a lane; the greeting is done.
    pub(crate) fn accept(
        &mut self,
        ring: &mut Ring,
        fd: OwnedFd,
        peer: Pnn,
        incarnation: u64,
        token: fn(usize) -> Token,
    ) {
        let entry = self.inward.vacant_entry();
        match open_lane(ring, fd, token(entry.key())) {
            Ok(stream) => {
                let received = FrameBuffer::new();
                entry.insert(LaneIn { peer, incarnation, stream, received });
            }
            Err(error) => tracing::warn!("lane from node {peer}: {error}"),
        }
    }

    /// The lane that a peer opened, and what has arrived on it; `put_back` follows.
    pub(crate) fn take_inward(&mut self, place: usize) -> Option<(Pnn, StreamId, FrameBuffer)> {
        let lane = self.inward.get_mut(place)?;
        Some((lane.peer, lane.stream, std::mem::take(&mut lane.received)))
    }

    pub(crate) fn put_back(&mut self, place: usize, received: FrameBuffer) {
        if let Some(lane) = self.inward.get_mut(place) {
            lane.received = received;
        }
    }

    pub(crate) fn closed_in(&mut self, place: usize) -> Option<Pnn> {
        self.inward.try_remove(place).map(|lane| lane.peer)
    }

    pub(crate) fn is_up(&self, peer: Pnn) -> bool {
        self.out.get(&peer).is_some_and(|lane| matches!(lane.state, State::Up { .. }))
    }

    /// Sends a frame; false when there is no lane.
    pub(crate) fn send(
        &mut self,
        ring: &mut Ring,
        generation: Generation,
        to: Pnn,
        head: &Head,
        bulk: &[&[u8]],
    ) -> bool {
        let Some(LaneOut { state: State::Up { stream, .. }, .. }) = self.out.get(&to) else {
            return false;
        };
        self.encoded.clear();
        frame::encode(&mut self.encoded, &mut self.scratch, generation, self.shared.me, head, bulk);
        let taken = ring.send(*stream, &self.encoded).is_ok();
        if !taken {
            tracing::warn!("node {to} does not take frames away; closing its lane");
            ring.abort(*stream);
        }
        taken
    }

    pub(crate) fn is_congested(&self, ring: &Ring) -> bool {
        self.out.values().any(|lane| match lane.state {
            State::Up { stream, .. } => ring.queued_bytes(stream) > LANE_CONGESTED_BYTES,
            _ => false,
        })
    }

    /// The incarnation of a peer that this lane reaches and that has opened a lane to us.
    pub(crate) fn both_ways(&self, peer: Pnn) -> Option<u64> {
        let State::Up { incarnation, .. } = self.out.get(&peer)?.state else { return None };
        self.hears(peer, incarnation).then_some(incarnation)
    }

    /// Whether a lane from this incarnation of a peer is open.
    pub(crate) fn hears(&self, peer: Pnn, incarnation: u64) -> bool {
        self.inward.iter().any(|(_, lane)| lane.peer == peer && lane.incarnation == incarnation)
    }

    fn connect(&mut self, ring: &mut Ring, peer: Pnn, token: Token) {
        let Some(lane) = self.out.get_mut(&peer) else { return };
        let own = self.shared.addresses[self.shared.me.index()];
        let Some(Some(address)) = self.shared.addresses.get(peer.index()) else { return };
        let bind = own.map(|own| SockAddr::from(SocketAddr::new(own.ip(), 0)));
        match ring.connect(&SockAddr::from(*address), bind.as_ref(), token, CONNECT_TIME_MAX) {
            Ok(_) => lane.state = State::Connecting,
            Err(error) => {
                tracing::warn!("lane to node {peer}: {error}");
                self.connect_failed(peer);
            }
        }
    }
}

/// A connection between nodes: small frames go out at once, a silent peer is noticed.
pub(crate) fn open_lane(ring: &mut Ring, fd: OwnedFd, token: Token) -> io::Result<StreamId> {
    let socket = socket2::SockRef::from(&fd);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(Duration::from_secs(5)))?;
    ring.open_stream(fd, token, limits())
}
