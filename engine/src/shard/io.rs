//! Everything through which a shard touches the world: its ring, clients, lanes and mailboxes.
//!
//! Kept apart from the machines and the files, so that a machine can be stepped while its effects
//! are carried out here.

use crate::mail::{CallResult, ControlMail, Origin, ShardMail};
use crate::outbox::Outbox;
use crate::registry::SessionId;
use crate::shard::client::{Client, Residence};
use crate::shard::lanes::Lanes;
use crate::shard::moves::Moves;
use crate::shared::Shared;
use crate::statistics::{ShardCounters, count};
use bateria_core::record::{Caller, Function, RecordHeader};
use bateria_ring::{Ring, StreamId};
use bateria_smbshim::control::ControlReply;
use bateria_smbshim::header::Header;
use bateria_smbshim::packet::{Packet, Padding, ReplyCall, ReplyError, ReqMessage};
use bateria_smbshim::session::{Pending, Ticket};
use bateria_wire::head::{Head, RelayHead};
use bateria_wire::{DbId, Generation, Pnn, Srvid};
use slab::Slab;
use std::sync::Arc;

/// One shard's world.
pub(crate) struct Io {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: u32,
    pub(crate) ring: Ring,
    pub(crate) lanes: Lanes,
    pub(crate) clients: Slab<Client>,
    pub(crate) shards: Vec<Outbox<ShardMail>>,
    pub(crate) control: Outbox<ControlMail>,
    /// Generation of frames that are sent, and shown to clients.
    pub(crate) generation: Generation,
    /// Chains that a machine wants to be told about; looked at after its step.
    pub(crate) chains_wanted: Vec<(DbId, u32)>,
    /// Answers of other nodes to pushes; counted after the event that brought them.
    pub(crate) pushes_answered: Vec<(u64, ControlReply)>,
    pub(crate) packet: Vec<u8>,
    pub(crate) moves: Moves,
}

impl Io {
    pub(crate) fn counters(&self) -> &ShardCounters {
        self.shared.statistics.shard(self.index)
    }

    pub(crate) fn tell_shard(&mut self, shard: usize, mail: ShardMail) {
        self.shards[shard].send(&mut self.ring, mail);
    }

    pub(crate) fn tell_control(&mut self, mail: ControlMail) {
        self.control.send(&mut self.ring, mail);
    }

    pub(crate) fn is_own(&self, shard: usize) -> bool {
        shard == self.index as usize
    }

    /// Sends a frame of the current generation. Without a lane it is lost, which the control
    /// thread knows and answers with another generation.
    pub(crate) fn send_frame(&mut self, to: Pnn, head: &Head, bulk: &[&[u8]]) -> bool {
        count(&self.counters().node_packets_sent);
        self.lanes.send(&mut self.ring, self.generation, to, head, bulk)
    }

    /// Puts a packet into a client's send queue; a client that does not read is closed.
    pub(crate) fn send_packet(&mut self, stream: StreamId, packet: &[u8]) {
        count(&self.counters().client_packets_sent);
        if self.ring.send(stream, packet).is_err() {
            tracing::warn!("a client does not read its replies; closing its connection");
            self.ring.abort(stream);
        }
    }

    /// Answers a call of any shard's client.
    pub(crate) fn reply_call(&mut self, caller: Caller, result: CallResult) {
        let shard = SessionId(caller.session).shard();
        if !self.is_own(shard) {
            self.tell_shard(shard, ShardMail::CallDone { caller, result });
            return;
        }
        let Some((stream, pending)) = self.finish(SessionId(caller.session), caller.request) else {
            return;
        };
        let header = Header::to_client(self.generation, self.shared.me, pending.reqid);
        let mut packet = std::mem::take(&mut self.packet);
        packet.clear();
        match &result {
            CallResult::Data(data) => {
                Packet::ReplyCall(ReplyCall { header, status: 0, data })
                    .encode(Padding::Aligned, &mut packet);
            }
            CallResult::Refused => {
                Packet::ReplyError(ReplyError { header, status: u32::MAX, message: b"" })
                    .encode(Padding::Aligned, &mut packet);
            }
        }
        self.send_packet(stream, &packet);
        self.packet = packet;
    }

    /// Answers a call for a database that is not attached, where ctdbd is silent (client protocol
    /// §2). Stock clients know no error packet, but a status.
    pub(crate) fn refuse_unknown_database(&mut self, caller: Caller) {
        let finished = self.finish(SessionId(caller.session), caller.request);
        let Some((stream, pending)) = finished else { return };
        let header = Header::to_client(self.generation, self.shared.me, pending.reqid);
        let mut packet = Vec::new();
        Packet::ReplyCall(ReplyCall { header, status: u32::MAX, data: &[] })
            .encode(Padding::Aligned, &mut packet);
        self.send_packet(stream, &packet);
    }

    /// What a call returns.
    pub(crate) fn call_data(function: Function, header: &RecordHeader, body: &[u8]) -> Vec<u8> {
        let (with_header, with_body) = function.returns();
        let mut data = if with_header { super::store::header_bytes(header) } else { Vec::new() };
        if with_body {
            data.extend_from_slice(body);
        }
        data
    }

    /// Answers a control, wherever its asker is.
    pub(crate) fn answer(&mut self, origin: Origin, reply: &ControlReply) {
        match origin {
            Origin::Nobody => {}
            Origin::Push { id, shard } => {
                assert!(self.is_own(shard as usize), "a push is counted where it began");
                self.pushes_answered.push((id, reply.clone()));
            }
            Origin::Session { session, ticket } => {
                if !self.is_own(session.shard()) {
                    let reply = reply.clone();
                    self.tell_shard(session.shard(), ShardMail::Answer { origin, reply });
                    return;
                }
                let Some((stream, pending)) = self.finish(session, ticket) else { return };
                if pending.wants_reply {
                    self.reply_control(stream, pending.reqid, reply);
                }
            }
            Origin::Peer { peer, id, shard } => {
                if !self.is_own(shard as usize) {
                    let reply = reply.clone();
                    self.tell_shard(shard as usize, ShardMail::Answer { origin, reply });
                    return;
                }
                let mut data = Vec::new();
                if reply.status() == 0 {
                    reply.reply_data().encode(&mut data);
                }
                let text = reply.error_text().as_bytes();
                let error_len = u32::try_from(text.len()).expect("texts are short");
                let head = RelayHead::ControlReply { id, status: reply.status(), error_len };
                self.send_frame(peer, &Head::Relay(head), &[&data, text]);
            }
        }
    }

    pub(crate) fn reply_control(&mut self, stream: StreamId, reqid: u32, reply: &ControlReply) {
        let header = Header::to_client(self.generation, self.shared.me, reqid);
        let mut packet = std::mem::take(&mut self.packet);
        packet.clear();
        reply.encode(&header, &mut packet);
        self.send_packet(stream, &packet);
        self.packet = packet;
    }

    /// Gives a message to everyone on this node who listens.
    pub(crate) fn deliver(&mut self, srvid: Srvid, data: &[u8]) {
        let listeners = self.shared.registry.listeners(srvid);
        if listeners.is_empty() {
            return;
        }
        let header = Header::to_client(self.generation, self.shared.me, 0);
        let mut packet = Vec::new();
        Packet::Message(ReqMessage { header, srvid, data }).encode(Padding::Aligned, &mut packet);
        self.deliver_packet(&listeners, &Arc::from(packet));
    }

    /// Puts one packet into several sessions' queues, in this shard or others.
    pub(crate) fn deliver_packet(&mut self, sessions: &[SessionId], packet: &Arc<[u8]>) {
        for session in sessions {
            if self.is_own(session.shard()) {
                self.deliver_here(*session, packet);
            } else {
                let (session, packet) = (*session, packet.clone());
                self.tell_shard(session.shard(), ShardMail::Deliver { session, packet });
            }
        }
    }

    pub(crate) fn deliver_here(&mut self, session: SessionId, packet: &[u8]) {
        match self.client(session).map(|client| (client.stream, &client.residence)) {
            Some((stream, Residence::Here)) => self.send_packet(stream, packet),
            Some((_, Residence::Leaving { .. } | Residence::Arriving)) => {
                self.hold(session.place(), packet);
            }
            None => self.deliver_moved(session, packet),
        }
    }

    /// Disconnects a client.
    pub(crate) fn close_client(&mut self, place: usize) {
        if let Some(client) = self.clients.get_mut(place) {
            client.is_closing = true;
            self.ring.abort(client.stream);
        }
    }

    pub(crate) fn client(&mut self, session: SessionId) -> Option<&mut Client> {
        self.clients.get_mut(session.place()).filter(|client| client.id == session)
    }

    /// Takes a request off its session's table.
    fn finish(&mut self, session: SessionId, request: u64) -> Option<(StreamId, Pending)> {
        let client = self.client(session)?;
        let pending = client.session.finish(Ticket::from_u64(request))?;
        Some((client.stream, pending))
    }

    /// Sends what waits for other threads.
    pub(crate) fn flush_outboxes(&mut self) {
        for outbox in &mut self.shards {
            outbox.flush(&mut self.ring);
        }
        self.control.flush(&mut self.ring);
    }

    /// Whether clients have to wait until others have caught up.
    pub(crate) fn is_congested(&self) -> bool {
        self.shards.iter().any(Outbox::is_congested)
            || self.control.is_congested()
            || self.lanes.is_congested(&self.ring)
    }

    pub(crate) fn has_unsent(&self) -> bool {
        !self.control.is_empty() || !self.shards.iter().all(Outbox::is_empty)
    }
}
