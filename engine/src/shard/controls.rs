//! Controls of clients on their way: to this node's answers, or to another node and back.

use crate::mail::Origin;
use crate::shard::Shard;
use crate::shard::relays::{Begun, Relayed};
use crate::statistics::count;
use bateria_smbshim::control::{
    ControlFault, ControlReply, ControlRequest, Opcode, ReplyData, text,
};
use bateria_smbshim::packet::ReqControl;
use bateria_smbshim::session::Refusal;
use bateria_wire::Pnn;
use bateria_wire::head::{Head, RelayHead};

/// Who has sent a control.
#[derive(Clone, Copy)]
pub(crate) enum Asker {
    /// A client of this shard, by its place.
    Client(usize),
    /// A client of another node.
    Peer,
}

impl Shard {
    /// A client's control, for this node or another.
    pub(crate) fn control(&mut self, place: usize, control: &ReqControl<'_>) {
        count(&self.io.counters().client_controls);
        let destination = control.header.destnode;
        let me = self.io.shared.me;
        if destination == Pnn::CURRENT || destination == me {
            self.control_here(place, control);
        } else if !is_broadcast(destination) {
            self.relay(place, control);
        } else {
            // Broadcasts are carried out and never answered (client protocol §3.1).
            for node in self.nodes_of(destination) {
                if node == me {
                    self.execute_unanswered(place, control);
                } else {
                    self.send_relay(node, 0, control);
                }
            }
        }
    }

    /// Another node's client asks.
    pub(crate) fn control_from_peer(&mut self, origin: Origin, control: &ReqControl<'_>) {
        count(&self.io.counters().node_controls);
        let origin = if control.wants_reply() { origin } else { Origin::Nobody };
        let reply = match ControlRequest::decode(control) {
            Ok(request) => self.execute(Asker::Peer, origin, &request),
            Err(fault) => Some(ControlReply::value(fault.status())),
        };
        if let Some(reply) = reply {
            self.io.answer(origin, &reply);
        }
    }

    /// The answer of another node.
    pub(crate) fn relay_answered(
        &mut self,
        peer: Pnn,
        id: u64,
        status: i32,
        error_len: u32,
        bulk: &[u8],
    ) {
        count(&self.io.counters().node_control_replies);
        let Some(relayed) = self.relays.end(id, peer) else { return };
        let split = bulk.len().saturating_sub(error_len as usize);
        let (data, error) = bulk.split_at(split);
        let reply = if status == 0 {
            let opcode = Opcode::from_number(relayed.opcode);
            match opcode.map(|opcode| ReplyData::decode(opcode, data)) {
                Some(Ok(data)) => ControlReply::data(data),
                _ if data.is_empty() => ControlReply::done(),
                _ => ControlReply::failed(),
            }
        } else if error.is_empty() {
            ControlReply::value(status)
        } else {
            ControlReply::failed_because(status, String::from_utf8_lossy(error).into_owned())
        };
        self.io.answer(relayed.origin, &reply);
    }

    /// Sends a waiting control to its node, if there is a lane.
    pub(crate) fn send_relayed(&mut self, id: u64) {
        let Some(relayed) = self.relays.get(id) else { return };
        let peer = relayed.peer;
        if self.io.lanes.is_up(peer) {
            let head = RelayHead::Control {
                id,
                opcode: relayed.opcode,
                srvid: relayed.srvid.0,
                flags: relayed.flags,
            };
            self.io.send_frame(peer, &Head::Relay(head), &[&relayed.data]);
        }
    }

    fn control_here(&mut self, place: usize, control: &ReqControl<'_>) {
        let request = match ControlRequest::decode(control) {
            Ok(request) => request,
            Err(fault) => {
                self.refuse_control(place, control, &fault);
                return;
            }
        };
        let Some(client) = self.io.clients.get_mut(place) else { return };
        let stream = client.stream;
        let opcode = request.opcode();
        if leads_to_a_file(&request) {
            client.session.note_file_use();
        }
        if self.io.shared.is_fenced() && works_on_records(&request) {
            if control.wants_reply() {
                self.io.reply_control(stream, control.header.reqid, &ControlReply::failed());
            }
            return;
        }
        if !answers_later(&request) {
            if let Some(reply) = self.execute(Asker::Client(place), Origin::Nobody, &request)
                && control.wants_reply()
            {
                self.io.reply_control(stream, control.header.reqid, &reply);
            }
            return;
        }
        let entered = match &request {
            ControlRequest::Trans3Commit(marshall) => {
                client.session.begin_commit(control, marshall.db_id)
            }
            _ => client.session.begin_control(control, opcode),
        };
        match entered {
            Ok(ticket) => {
                let origin = self.origin_of(place, ticket.to_u64());
                let reply = match &request {
                    ControlRequest::Trans3Commit(buffer) => {
                        self.commit(origin, buffer.db_id, control.data)
                    }
                    _ => self.execute(Asker::Client(place), origin, &request),
                };
                if let Some(reply) = reply {
                    self.io.answer(origin, &reply);
                }
            }
            Err(refusal) => self.refuse(place, control, &refusal),
        }
    }

    fn execute_unanswered(&mut self, place: usize, control: &ReqControl<'_>) {
        if let Ok(request) = ControlRequest::decode(control) {
            self.execute(Asker::Client(place), Origin::Nobody, &request);
        }
    }

    fn refuse_control(&mut self, place: usize, control: &ReqControl<'_>, fault: &ControlFault) {
        let Some(client) = self.io.clients.get(place) else { return };
        tracing::debug!("control {} of process {}: {fault}", control.opcode, client.pid);
        if control.wants_reply() {
            let (stream, reply) = (client.stream, ControlReply::value(fault.status()));
            self.io.reply_control(stream, control.header.reqid, &reply);
        }
    }

    fn refuse(&mut self, place: usize, control: &ReqControl<'_>, refusal: &Refusal) {
        let Some(client) = self.io.clients.get(place) else { return };
        tracing::warn!("control {} of process {}: {refusal}", control.opcode, client.pid);
        if control.wants_reply() {
            let stream = client.stream;
            self.io.reply_control(stream, control.header.reqid, &refusal.control_reply());
        }
    }

    fn relay(&mut self, place: usize, control: &ReqControl<'_>) {
        let node = control.header.destnode;
        let known = self.io.shared.addresses.get(node.index()).is_some_and(Option::is_some);
        let Some(client) = self.io.clients.get_mut(place) else { return };
        let stream = client.stream;
        if !known {
            if control.wants_reply() {
                let reply = ControlReply::failed_because(-1, text::TO_DISCONNECTED_NODE);
                self.io.reply_control(stream, control.header.reqid, &reply);
            }
            return;
        }
        if !control.wants_reply() {
            self.send_relay(node, 0, control);
            return;
        }
        let opcode = Opcode::from_number(control.opcode).unwrap_or(Opcode::Ping);
        let ticket = match client.session.begin_control(control, opcode) {
            Ok(ticket) => ticket,
            Err(refusal) => {
                self.refuse(place, control, &refusal);
                return;
            }
        };
        let origin = self.origin_of(place, ticket.to_u64());
        let (opcode, srvid, flags) = (control.opcode, control.srvid, control.flags.bits());
        let deadline_us = self.control_deadline_us();
        let relayed = Relayed::new(origin, node, opcode, srvid, flags, control.data, deadline_us);
        match self.relays.begin(relayed) {
            Begun::Send(id) => self.send_relayed(id),
            Begun::Fail(reply) => self.io.answer(origin, &reply),
        }
    }

    fn send_relay(&mut self, node: Pnn, id: u64, control: &ReqControl<'_>) {
        let head = RelayHead::Control {
            id,
            opcode: control.opcode,
            srvid: control.srvid.0,
            flags: control.flags.bits(),
        };
        self.io.send_frame(node, &Head::Relay(head), &[control.data]);
    }
}

/// Whether somebody else finds the answer, so that the request is entered into the session's
/// table.
fn answers_later(request: &ControlRequest<'_>) -> bool {
    matches!(
        request,
        ControlRequest::Attach(_)
            | ControlRequest::Trans3Commit(_)
            | ControlRequest::TraverseStart(_)
            | ControlRequest::TraverseStartExt(_)
            | ControlRequest::SetLmasterRole { .. }
            | ControlRequest::SetRecMasterRole { .. }
            | ControlRequest::StopNode
            | ControlRequest::ContinueNode
            | ControlRequest::DisableNode
            | ControlRequest::EnableNode
            | ControlRequest::GetDbSeqnum(_)
            | ControlRequest::PushRecord(_)
            | ControlRequest::PushRecordStore(_)
    )
}

/// Whether a client that sends this is about to open a database's file.
fn leads_to_a_file(request: &ControlRequest<'_>) -> bool {
    matches!(
        request,
        ControlRequest::Attach(_) | ControlRequest::GetDbPath(_) | ControlRequest::DbOpenFlags(_)
    )
}

/// Whether a control reads or changes records, which a fenced node has none of.
fn works_on_records(request: &ControlRequest<'_>) -> bool {
    matches!(
        request,
        ControlRequest::Trans3Commit(_)
            | ControlRequest::TraverseStart(_)
            | ControlRequest::TraverseStartExt(_)
            | ControlRequest::ScheduleForDeletion(_)
            | ControlRequest::PushRecord(_)
            | ControlRequest::PushRecordStore(_)
    )
}

fn is_broadcast(destination: Pnn) -> bool {
    let several = [Pnn::BROADCAST_ALL, Pnn::BROADCAST_ACTIVE, Pnn::BROADCAST_CONNECTED];
    several.contains(&destination)
}
