//! A session moves to the shard whose records its client works on.
//!
//! A call for a record of another shard takes two wake-ups of threads more than one at home. A
//! client that asks for nothing else moves, between two requests. Messages are addressed to
//! shards, and may not overtake each other on that occasion: what was sent to the old home is
//! passed on from there, and what comes to the new home directly waits until all of that has
//! arrived.
//!
//! ```text
//!   old home                      new home                   each thread
//!      |-- Move -------------------> |                            |
//!      |                             | enters itself in the registry
//!      |                             |-- Moved -----------------> |
//!      | <--------- Passed, behind all messages to the old home --|
//!      |-- those messages, Passed -> |
//!      |                             | when all have passed: what waited
//! ```

use crate::mail::{ControlMail, ShardMail};
use crate::registry::SessionId;
use crate::shard::Shard;
use crate::shard::client::{Client, Residence};
use crate::shard::io::Io;
use bateria_ring::FrameBuffer;
use bateria_smbshim::session::Session;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A session on its way.
pub(crate) struct Mover {
    /// What it was called at its old home.
    pub(crate) former: SessionId,
    pid: u32,
    fd: OwnedFd,
    session: Session,
    received: FrameBuffer,
    /// What the client had sent when the old home read no more.
    unread: Vec<u8>,
    /// Messages that came too late for the old home.
    held: VecDeque<Arc<[u8]>>,
    /// How often the old home had disconnected all its clients before.
    fences_count: u64,
}

/// Sessions that came to this shard or left it, as long as messages for their old home may come.
#[derive(Default)]
pub(crate) struct Moves {
    departures: FxHashMap<SessionId, Departure>,
    /// By the name of the old home.
    arrivals: FxHashMap<SessionId, Arrival>,
}

struct Departure {
    to: usize,
    passes_awaited: usize,
}

struct Arrival {
    session: SessionId,
    passes_awaited: usize,
}

/// The shard of a client's latest calls, and how many in a row were for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attraction {
    shard: usize,
    calls_count: u32,
}

/// So many calls in a row for another shard's records make a session move: on machines with two
/// shards, chance does that once in 2^64 calls.
const ATTRACTED_CALLS_COUNT: u32 = 64;

/// Messages held for a session that moves; a client that gets more meanwhile is disconnected.
const HELD_COUNT_MAX: usize = 64 * 1024;

impl Attraction {
    pub(crate) fn note(&mut self, shard: usize) {
        if self.shard != shard {
            *self = Self { shard, calls_count: 0 };
        }
        self.calls_count = self.calls_count.saturating_add(1);
    }
}

impl Shard {
    /// A call of the session has been answered by another shard: perhaps that is where it belongs.
    pub(crate) fn consider_move(&mut self, session: SessionId) {
        let walks = self.walks.serve(session);
        let Some(client) = self.io.client(session) else { return };
        let Attraction { shard, calls_count } = client.attraction;
        let between_requests = client.session.requests_in_flight() == 0 && !walks;
        if calls_count < ATTRACTED_CALLS_COUNT
            || !between_requests
            || client.is_closing
            || !matches!(client.residence, Residence::Here)
        {
            return;
        }
        client.residence = Residence::Leaving { to: shard, unread: Vec::new() };
        let stream = client.stream;
        self.io.ring.detach(stream);
    }

    /// The socket of a session that leaves is free.
    pub(crate) fn client_detached(&mut self, place: usize, fd: OwnedFd) {
        let Some(client) = self.io.clients.try_remove(place) else { return };
        let Client { id, pid, session, received, intake, residence, held, is_closing, .. } = client;
        self.io.shared.intake.release(intake);
        if is_closing {
            self.end_session(id, pid, session);
            return;
        }
        let Residence::Leaving { to, unread } = residence else {
            unreachable!("only sessions that leave are detached")
        };
        // The other shards, the new home itself, and the control thread.
        let passes_awaited = self.io.shards.len() + 1;
        self.io.moves.departures.insert(id, Departure { to, passes_awaited });
        let fences_count = self.fences_count;
        let mover = Mover { former: id, pid, fd, session, received, unread, held, fences_count };
        self.io.tell_shard(to, ShardMail::Move(Box::new(mover)));
    }

    /// A session comes from another shard.
    pub(crate) fn take_in(&mut self, mover: Mover) {
        let Mover { former, pid, fd, session, received, unread, held, fences_count } = mover;
        let Some(place) = self.open_client(fd, pid) else {
            self.end_session(former, pid, session);
            return;
        };
        let client = self.io.clients.get_mut(place).expect("it has just been entered");
        let id = client.id;
        self.io.shared.registry.rename(former, id, pid, &session);
        client.session = session;
        client.received = received;
        client.residence = Residence::Arriving;
        let stream = client.stream;
        let passes_awaited = self.io.shards.len() + 1;
        self.io.moves.arrivals.insert(former, Arrival { session: id, passes_awaited });
        for packet in held {
            self.io.send_packet(stream, &packet);
        }
        for shard in 0..self.io.shards.len() {
            if self.io.is_own(shard) {
                self.has_moved(former);
            } else {
                self.io.tell_shard(shard, ShardMail::Moved { former });
            }
        }
        self.io.tell_control(ControlMail::Moved { former });
        if self.fences_count > fences_count {
            // The old home would have disconnected it by now.
            self.io.close_client(place);
        }
        self.client_sent(place, &unread);
    }

    /// From now on this thread sends nothing more to the session's old home.
    pub(crate) fn has_moved(&mut self, former: SessionId) {
        let old_home = former.shard();
        if self.io.is_own(old_home) {
            self.passed(former);
        } else {
            self.io.tell_shard(old_home, ShardMail::Passed { former });
        }
    }

    /// All messages of one thread to the old home have passed.
    pub(crate) fn passed(&mut self, former: SessionId) {
        let moves = &mut self.io.moves;
        if let Some(departure) = moves.departures.get_mut(&former) {
            departure.passes_awaited -= 1;
            let (to, ends) = (departure.to, departure.passes_awaited == 0);
            if ends {
                moves.departures.remove(&former);
            }
            self.io.tell_shard(to, ShardMail::Passed { former });
        } else if let Some(arrival) = moves.arrivals.get_mut(&former) {
            arrival.passes_awaited -= 1;
            if arrival.passes_awaited == 0 {
                let session = arrival.session;
                moves.arrivals.remove(&former);
                self.io.settle(session);
            }
        }
    }
}

impl Io {
    /// Keeps a message for a session that moves.
    pub(crate) fn hold(&mut self, place: usize, packet: &[u8]) {
        let client = &mut self.clients[place];
        if client.held.len() < HELD_COUNT_MAX {
            client.held.push_back(packet.into());
        } else if !client.is_closing {
            tracing::warn!("process {} gets too many messages at once; closing it", client.pid);
            self.close_client(place);
        }
    }

    /// A message for a session that is not here under this name.
    pub(crate) fn deliver_moved(&mut self, session: SessionId, packet: &[u8]) {
        if let Some(departure) = self.moves.departures.get(&session) {
            let to = departure.to;
            self.tell_shard(to, ShardMail::Deliver { session, packet: packet.into() });
        } else if let Some(arrival) = self.moves.arrivals.get(&session) {
            let now = arrival.session;
            if let Some(stream) = self.client(now).map(|client| client.stream) {
                self.send_packet(stream, packet);
            }
        }
    }

    /// Nothing comes by the old home any more: what waited behind that goes out.
    fn settle(&mut self, session: SessionId) {
        let Some(client) = self.client(session) else { return };
        client.residence = Residence::Here;
        let (stream, held) = (client.stream, std::mem::take(&mut client.held));
        for packet in held {
            self.send_packet(stream, &packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_in_a_row_attract() {
        let mut attraction = Attraction::default();
        for _ in 0..ATTRACTED_CALLS_COUNT {
            attraction.note(3);
        }
        assert_eq!((attraction.shard, attraction.calls_count), (3, ATTRACTED_CALLS_COUNT));
        attraction.note(2);
        assert_eq!((attraction.shard, attraction.calls_count), (2, 1));
    }
}
