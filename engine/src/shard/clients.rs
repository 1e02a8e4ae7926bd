//! A shard's clients: connecting, their packets, and undoing what they leave behind.

use crate::clock;
use crate::mail::{CallResult, Origin, ShardMail};
use crate::registry::SessionId;
use crate::shard::client::{Client, Residence, limits};
use crate::shard::intake::{ALLOWED_BYTES, Share};
use crate::shard::moves::Attraction;
use crate::shard::{Shard, tokens};
use crate::statistics::count;
use bateria_core::persistent;
use bateria_core::record::{Caller, Function, Input, RecordFlags, RecordHeader};
use bateria_core::traverse::WalkInput;
use bateria_ring::{FrameBuffer, ReceivedBuffer};
use bateria_smbshim::framer::packet_length;
use bateria_smbshim::header::Header;
use bateria_smbshim::packet::{Packet, Padding, ReqCall, ReqMessage, ReqTunnel};
use bateria_smbshim::session::{Session, Undo, Verdict};
use bateria_wire::head::{Head, RelayHead};
use bateria_wire::{DbKind, NodeFlags, Pnn, Rsn, Srvid};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

impl Shard {
    /// A client has connected.
    pub(crate) fn add_client(&mut self, fd: OwnedFd, pid: i32) {
        let pid = u32::try_from(pid).unwrap_or(0);
        if let Some(place) = self.open_client(fd, pid) {
            self.io.shared.registry.add_client(pid, self.io.clients[place].id);
        }
    }

    /// A client's connection becomes this shard's; nobody knows of it yet.
    pub(crate) fn open_client(&mut self, fd: OwnedFd, pid: u32) -> Option<usize> {
        let entry = self.io.clients.vacant_entry();
        let place = entry.key();
        let stream = match self.io.ring.open_stream(fd, tokens::client(place), limits()) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!("client of process {pid}: {error}");
                return None;
            }
        };
        self.clients_uses = self.clients_uses.wrapping_add(1);
        let id = SessionId::new(self.io.index, self.clients_uses, place);
        entry.insert(Client {
            id,
            pid,
            stream,
            received: FrameBuffer::new(),
            intake: Share::default(),
            session: Session::new(pid.cast_signed()),
            is_closing: false,
            residence: Residence::Here,
            held: VecDeque::new(),
            attraction: Attraction::default(),
        });
        if self.is_paused {
            self.io.ring.pause_receive(stream);
        }
        Some(place)
    }

    pub(crate) fn client_received(&mut self, place: usize, buffer: &ReceivedBuffer) {
        match self.io.clients.get_mut(place).map(|client| &mut client.residence) {
            Some(Residence::Leaving { unread, .. }) => unread.extend_from_slice(buffer),
            Some(Residence::Here | Residence::Arriving) => self.client_sent(place, buffer),
            None => {}
        }
    }

    /// Takes the packets out of what a client has sent.
    pub(crate) fn client_sent(&mut self, place: usize, bytes: &[u8]) {
        let Some(client) = self.io.clients.get_mut(place) else { return };
        let mut received = std::mem::take(&mut client.received);
        let outcome = received.feed(bytes, packet_length, |bytes| self.packet(place, bytes));
        let Some(client) = self.io.clients.get_mut(place) else { return };
        // A long packet's memory does not stay.
        let has_room_to_free = received.is_empty() && received.capacity_bytes() > ALLOWED_BYTES;
        client.received = if has_room_to_free { FrameBuffer::new() } else { received };
        let fits = self.io.shared.intake.note(&mut client.intake, &client.received);
        if client.is_closing {
            return;
        }
        if let Err(fault) = outcome {
            tracing::warn!("closing a client of process {}: {fault}", client.pid);
            self.io.close_client(place);
        } else if !fits {
            tracing::warn!("closing a client of process {}: too much is unfinished", client.pid);
            self.io.close_client(place);
        }
    }

    /// The connection has ended: everything it stood for ends, too (client protocol §1.5).
    pub(crate) fn client_closed(&mut self, place: usize) {
        let Some(client) = self.io.clients.try_remove(place) else { return };
        let Client { id, pid, session, intake, .. } = client;
        self.io.shared.intake.release(intake);
        self.end_session(id, pid, session);
    }

    /// Undoes what a session leaves behind.
    pub(crate) fn end_session(&mut self, id: SessionId, pid: u32, session: Session) {
        self.io.shared.registry.remove_client(pid, id);
        let Undo { srvids, notifies, tunnels, .. } = session.on_close();
        for (srvid, registrations_count) in srvids {
            for _ in 0..registrations_count {
                self.io.shared.registry.deregister(srvid, id);
            }
        }
        for tunnel in tunnels {
            self.io.shared.registry.deregister_tunnel(tunnel, id);
        }
        for (srvid, data) in notifies {
            self.send_message(Pnn::BROADCAST_CONNECTED, srvid, &data);
        }
        for shard in 0..self.io.shards.len() {
            if !self.io.is_own(shard) {
                self.io.tell_shard(shard, ShardMail::SessionGone { session: id });
            }
        }
        self.forget_session(id);
    }

    /// Nothing is done in a session's name any more.
    pub(crate) fn forget_session(&mut self, session: SessionId) {
        self.step(Input::SessionGone { session: session.0 });
        self.step_walks(WalkInput::SessionGone { session: session.0 });
        let gone = persistent::Input::CallerGone { session: session.0 };
        self.step_persistent(gone).expect("a client is no frame");
    }

    /// One whole packet. An error closes the connection.
    fn packet(
        &mut self,
        place: usize,
        bytes: &[u8],
    ) -> Result<(), bateria_smbshim::fault::PacketFault> {
        count(&self.io.counters().client_packets_recv);
        if self.io.clients.get(place).is_none_or(|client| client.is_closing) {
            return Ok(());
        }
        match Packet::parse(bytes) {
            Ok(Packet::Call(call)) => self.call(place, &call),
            Ok(Packet::Control(control)) => self.control(place, &control),
            Ok(Packet::Message(message)) => self.message(&message),
            Ok(Packet::Tunnel(tunnel)) => self.tunnel(&tunnel),
            Ok(Packet::ReplyCall(_) | Packet::ReplyControl(_) | Packet::ReplyError(_)) => {
                tracing::debug!("a client sent a reply; dropped");
            }
            Err(fault) => {
                let Some(client) = self.io.clients.get_mut(place) else { return Ok(()) };
                let pid = client.pid;
                match client.session.on_fault(&fault) {
                    Verdict::Close => return Err(fault),
                    Verdict::Ignore { log: true } => {
                        tracing::warn!("dropped a packet of process {pid}: {fault}");
                    }
                    Verdict::Ignore { log: false } => {}
                }
            }
        }
        Ok(())
    }

    /// A client wants a record.
    fn call(&mut self, place: usize, call: &ReqCall<'_>) {
        count(&self.io.counters().client_calls);
        let Some(client) = self.io.clients.get_mut(place) else { return };
        let (id, stream) = (client.id, client.stream);
        let ticket = match client.session.begin_call(call) {
            Ok(ticket) => ticket,
            Err(refusal) => {
                let header =
                    Header::to_client(self.io.generation, self.io.shared.me, call.header.reqid);
                let mut packet = Vec::new();
                Packet::ReplyError(refusal.call_reply(header))
                    .encode(Padding::Aligned, &mut packet);
                tracing::warn!("refused a call of process {}: {refusal}", client.pid);
                self.io.send_packet(stream, &packet);
                return;
            }
        };
        let caller = Caller { session: id.0, request: ticket.to_u64() };
        let function = Function::from_call_id(call.call_id.0);
        let db = call.db_id;
        client.session.note_file_use();
        if self.io.shared.is_fenced() {
            // Nobody could attach a database since: no client of ours calls.
            self.io.reply_call(caller, CallResult::Refused);
            return;
        }
        let kind = self.io.shared.databases.get(db).map(|info| info.kind);
        if kind.is_some_and(|kind| kind != DbKind::Volatile) {
            self.call_for_full_copy(caller, function, call);
            return;
        }
        let key = crate::shard::store::Store::key(call.key);
        let shard = self.store.shard_of(db, key.hash);
        if let Some((shard, client)) = shard.zip(self.io.clients.get_mut(place)) {
            client.attraction.note(shard);
        }
        match shard {
            None if kind.is_some() => self.call_here(db, caller, function, key.to_owned()),
            None => self.io.refuse_unknown_database(caller),
            Some(shard) if self.io.is_own(shard) => {
                self.step(Input::Call { db, caller, function, key });
            }
            Some(shard) => {
                let key = key.to_owned();
                self.io.tell_shard(shard, ShardMail::Call { db, caller, function, key });
            }
        }
    }

    /// Records of persistent databases do not move: they are read here, and written by
    /// transactions.
    fn call_for_full_copy(&mut self, caller: Caller, function: Function, call: &ReqCall<'_>) {
        use bateria_core::record::{Lock, RecordStore};
        let (db, mut body) = (call.db_id, Vec::new());
        let chain = self.store.chain_of(db, call.key);
        let found = match self.store.try_lock(db, chain) {
            Ok(Lock::Taken) => {
                let found = self.store.fetch(db, call.key, &mut body);
                self.store.unlock(db, chain);
                found
            }
            // A transaction is being written; clients read their own file in any case.
            Ok(Lock::Busy) | Err(_) => Err(bateria_core::record::StoreFault),
        };
        let result = match found {
            Ok(found) => {
                let dmaster = self.io.shared.me;
                let rsn = found.map_or(Rsn(0), |header| header.rsn);
                let flags = found.map_or(RecordFlags::empty(), |header| header.flags);
                let header = RecordHeader { rsn, dmaster, flags };
                CallResult::Data(crate::shard::io::Io::call_data(function, &header, &body))
            }
            Err(_) => CallResult::Refused,
        };
        self.io.reply_call(caller, result);
    }

    fn message(&mut self, message: &ReqMessage<'_>) {
        count(&self.io.counters().client_messages);
        // Other nodes answer for themselves.
        if self.nodes_of(message.header.destnode).contains(&self.io.shared.me) {
            self.answer_as_recovery_daemon(message.srvid, message.data);
        }
        self.send_message(message.header.destnode, message.srvid, message.data);
    }

    /// Sends a message to one node or several. Whoever cannot be reached gets nothing.
    pub(crate) fn send_message(&mut self, to: Pnn, srvid: Srvid, data: &[u8]) {
        for node in self.nodes_of(to) {
            if node == self.io.shared.me {
                self.io.deliver(srvid, data);
            } else {
                let head = Head::Relay(RelayHead::Message { srvid: srvid.0 });
                self.io.send_frame(node, &head, &[data]);
            }
        }
    }

    /// The nodes that a PNN of the clients' protocol means (client protocol §1.4).
    pub(crate) fn nodes_of(&self, to: Pnn) -> Vec<Pnn> {
        let view = self.io.shared.view();
        let without = |flags: NodeFlags| {
            let nodes = view.nodes.iter().filter(move |node| !node.flags.intersects(flags));
            nodes.map(|node| node.pnn).collect()
        };
        match to {
            Pnn::CURRENT => vec![self.io.shared.me],
            Pnn::BROADCAST_ALL => without(NodeFlags::DELETED),
            Pnn::BROADCAST_ACTIVE => without(NodeFlags::INACTIVE),
            Pnn::BROADCAST_CONNECTED => without(NodeFlags::DELETED | NodeFlags::DISCONNECTED),
            node if node.is_node() => vec![node],
            _ => Vec::new(),
        }
    }

    /// A packet for the registrant of a tunnel; it must be registered here, too (client protocol
    /// §8.4).
    fn tunnel(&mut self, tunnel: &ReqTunnel<'_>) {
        count(&self.io.counters().client_tunnels);
        let to = tunnel.header.destnode;
        if !to.is_node() || self.io.shared.registry.tunnel(tunnel.tunnel_id).is_none() {
            return;
        }
        if to == self.io.shared.me {
            self.deliver_tunnel(tunnel.tunnel_id, tunnel.flags.bits(), tunnel.data);
        } else {
            let head = RelayHead::Tunnel { id: tunnel.tunnel_id, flags: tunnel.flags.bits() };
            self.io.send_frame(to, &Head::Relay(head), &[tunnel.data]);
        }
    }

    pub(crate) fn deliver_tunnel(&mut self, tunnel_id: u64, flags: u32, data: &[u8]) {
        use bateria_smbshim::packet::TunnelFlags;
        let Some(session) = self.io.shared.registry.tunnel(tunnel_id) else { return };
        let header = Header::to_client(self.io.generation, self.io.shared.me, 0);
        let flags = TunnelFlags::from_bits_retain(flags);
        let mut packet = Vec::new();
        Packet::Tunnel(ReqTunnel { header, tunnel_id, flags, data })
            .encode(Padding::Aligned, &mut packet);
        self.io.deliver_packet(&[session], &Arc::from(packet));
    }

    /// Messages that the original's recovery daemon answers (client protocol §10.2), from clients
    /// of any node. Whoever has registered their srvid gets them all the same.
    pub(crate) fn answer_as_recovery_daemon(&mut self, srvid: Srvid, data: &[u8]) {
        use bateria_smbshim::fields::Layout;
        use bateria_smbshim::structures::notify::{AnswerTo, Disable};
        let shared = &self.io.shared;
        let answer_to = match srvid {
            Srvid::TAKEOVER_RUN => {
                let is_leader = shared.view().leader == Some(shared.me);
                let asked = AnswerTo::from_bytes(data).ok().filter(|_| is_leader);
                asked.map(|to| (to.pnn, to.srvid))
            }
            Srvid::DISABLE_TAKEOVER_RUNS | Srvid::DISABLE_RECOVERIES => {
                Disable::from_bytes(data).ok().map(|to| (to.pnn, to.srvid))
            }
            _ => None,
        };
        let me = i32::try_from(shared.me.0).unwrap_or(-1);
        if let Some((node, srvid)) = answer_to.filter(|(_, srvid)| srvid.0 != 0) {
            self.send_message(node, srvid, &me.to_le_bytes());
        }
    }

    /// Closes the sessions of those who may have files of this node open.
    pub(crate) fn disconnect_file_users(&mut self) {
        for (_, client) in &mut self.io.clients {
            if client.session.uses_files() {
                client.is_closing = true;
                self.io.ring.abort(client.stream);
            }
        }
    }

    /// Every client of this shard is disconnected.
    pub(crate) fn disconnect_clients(&mut self) {
        for (_, client) in &mut self.io.clients {
            client.is_closing = true;
            self.io.ring.abort(client.stream);
        }
    }

    /// Closes the sessions of a process.
    pub(crate) fn disconnect_process(&mut self, pid: u32) {
        for (_, client) in &mut self.io.clients {
            if client.pid == pid {
                client.is_closing = true;
                self.io.ring.abort(client.stream);
            }
        }
    }

    pub(crate) fn control_deadline_us(&self) -> u64 {
        use bateria_smbshim::structures::tunable::Tunable;
        let timeout_s =
            self.io.shared.with_tunables(|tunables| tunables.get(Tunable::ControlTimeout));
        clock::now_us() + u64::from(timeout_s) * 1_000_000
    }

    pub(crate) fn origin_of(&self, place: usize, ticket: u64) -> Origin {
        match self.io.clients.get(place) {
            Some(client) => Origin::Session { session: client.id, ticket },
            None => Origin::Nobody,
        }
    }
}
