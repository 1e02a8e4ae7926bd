//! One connection to the daemon: requests out, answers and messages in.

mod call;
mod message;
mod samba;

pub use call::{CallReply, StartedCall};
pub use message::{Message, TunnelPacket};
pub use samba::{Release, SAMBA_PROCESSES, random_srvid};

use crate::fault::ClientFault;
use crate::stream::PacketStream;
use bateria_smbshim::header::Header;
use bateria_smbshim::{
    ControlFlags, ControlReply, ControlRequest, Opcode, Packet, Padding, ReplyControl,
};
use bateria_wire::Pnn;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

/// A connection. Requests may be started in any number and finished in any order; answers are
/// matched by their number, and messages that arrive in between are kept for later.
#[derive(Debug)]
pub struct Connection {
    stream: PacketStream,
    pnn: Pnn,
    padding: Padding,
    timeout: Option<Duration>,
    last_reqid: u32,
    outstanding: BTreeMap<u32, Outstanding>,
    messages: VecDeque<Message>,
    tunnel_packets: VecDeque<TunnelPacket>,
    unasked_answers: u64,
    out: Vec<u8>,
}

/// A request without its answer, or with an answer that nobody has asked for yet.
#[derive(Debug)]
enum Outstanding {
    Awaited,
    Answered(Vec<u8>),
}

/// Names a started control until it is finished.
#[derive(Debug)]
#[must_use = "a started control is finished or abandoned"]
pub struct StartedControl {
    reqid: u32,
    opcode: Opcode,
}

/// Where an answer is.
enum Answer {
    InBuffer(Range<usize>),
    Kept(Vec<u8>),
}

impl Connection {
    /// Connects and asks for the node's number.
    ///
    /// # Errors
    /// Nobody listens at `path`, or whoever does is no cluster daemon.
    pub fn connect(path: &Path) -> Result<Self, ClientFault> {
        let mut connection = Self {
            stream: PacketStream::connect(path)?,
            pnn: Pnn::UNKNOWN,
            padding: Padding::Exact,
            timeout: None,
            last_reqid: 0,
            outstanding: BTreeMap::new(),
            messages: VecDeque::new(),
            tunnel_packets: VecDeque::new(),
            unasked_answers: 0,
            out: Vec::new(),
        };
        connection.pnn = connection.get_pnn(Pnn::CURRENT)?;
        Ok(connection)
    }

    /// The local node.
    #[must_use]
    pub fn pnn(&self) -> Pnn {
        self.pnn
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        self.stream.path()
    }

    /// Answers that nobody waited for: late ones, and ones that should not have been sent.
    #[must_use]
    pub fn unasked_answers(&self) -> u64 {
        self.unasked_answers
    }

    /// Sets how long synchronous requests wait. Without a limit, as Samba, they wait for ever.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Sends padded packets as the stock tool does; at first packets are exact, as Samba's.
    pub fn set_padding(&mut self, padding: Padding) {
        self.padding = padding;
    }

    /// Sends bytes as they are. For tests of what a daemon does about garbage.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<(), ClientFault> {
        self.stream.send(bytes)
    }

    /// Sends a control to a node and waits for its reply, whatever its status.
    ///
    /// # Errors
    /// The connection is gone, the reply comes too late or is malformed.
    pub fn control(
        &mut self,
        target: Pnn,
        request: &ControlRequest<'_>,
    ) -> Result<ControlReply, ClientFault> {
        let started = self.start_control(target, request)?;
        let timeout = self.timeout;
        self.finish_control(started, timeout)
    }

    /// Sends a control that nobody answers.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn control_without_reply(
        &mut self,
        target: Pnn,
        request: &ControlRequest<'_>,
    ) -> Result<(), ClientFault> {
        let reqid = self.next_reqid();
        self.send_control(target, request, reqid, ControlFlags::NOREPLY)
    }

    /// Sends a control and leaves its reply for later.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn start_control(
        &mut self,
        target: Pnn,
        request: &ControlRequest<'_>,
    ) -> Result<StartedControl, ClientFault> {
        let reqid = self.next_reqid();
        self.send_control(target, request, reqid, ControlFlags::empty())?;
        self.outstanding.insert(reqid, Outstanding::Awaited);
        Ok(StartedControl { reqid, opcode: request.opcode() })
    }

    /// Waits for the reply to a started control. On [`ClientFault::Timeout`] the reply is
    /// abandoned.
    ///
    /// # Errors
    /// As [`Self::control`].
    pub fn finish_control(
        &mut self,
        started: StartedControl,
        timeout: Option<Duration>,
    ) -> Result<ControlReply, ClientFault> {
        let StartedControl { reqid, opcode } = started;
        let answer = self.wait_for(reqid, timeout)?;
        match Packet::parse(self.view(&answer))? {
            Packet::ReplyControl(reply) => ControlReply::decode(opcode, &reply)
                .map_err(|fault| ClientFault::Reply { opcode, fault }),
            _ => Err(ClientFault::WrongAnswer { reqid }),
        }
    }

    /// Gives up on a started control; its reply will be dropped.
    pub fn abandon_control(&mut self, started: StartedControl) {
        self.outstanding.remove(&started.reqid);
    }

    /// Sends a control made of raw parts and hands its reply to `read`. For tests of what a daemon
    /// does about controls that no client sends.
    ///
    /// # Errors
    /// The connection is gone, or the reply comes too late.
    pub fn raw_control<T>(
        &mut self,
        target: Pnn,
        opcode: u32,
        data: &[u8],
        read: impl FnOnce(&ReplyControl<'_>) -> T,
    ) -> Result<T, ClientFault> {
        let reqid = self.next_reqid();
        let (srvid, flags) = (bateria_wire::Srvid(0), ControlFlags::empty());
        let header = Header::control(target, reqid);
        let packet =
            bateria_smbshim::ReqControl { header, opcode, srvid, client_id: 0, flags, data };
        self.out.clear();
        packet.encode(self.padding, &mut self.out);
        self.stream.send(&self.out)?;
        self.outstanding.insert(reqid, Outstanding::Awaited);
        let answer = self.wait_for(reqid, self.timeout)?;
        match Packet::parse(self.view(&answer))? {
            Packet::ReplyControl(reply) => Ok(read(&reply)),
            _ => Err(ClientFault::WrongAnswer { reqid }),
        }
    }

    fn send_control(
        &mut self,
        target: Pnn,
        request: &ControlRequest<'_>,
        reqid: u32,
        flags: ControlFlags,
    ) -> Result<(), ClientFault> {
        self.out.clear();
        request.encode(Header::control(target, reqid), flags, self.padding, &mut self.out);
        self.stream.send(&self.out)
    }

    /// Request ids count from 1 and leave out 0, as Samba's do, and those still in use.
    fn next_reqid(&mut self) -> u32 {
        loop {
            self.last_reqid = self.last_reqid.wrapping_add(1);
            if self.last_reqid != 0 && !self.outstanding.contains_key(&self.last_reqid) {
                return self.last_reqid;
            }
        }
    }

    /// Waits for the answer to one request and puts aside whatever comes before it.
    fn wait_for(&mut self, reqid: u32, timeout: Option<Duration>) -> Result<Answer, ClientFault> {
        if let Some(Outstanding::Answered(packet)) = self.outstanding.remove(&reqid) {
            return Ok(Answer::Kept(packet));
        }
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let place = self.stream.receive(deadline)?;
            let packet = Packet::parse(self.stream.bytes(place.clone()))?;
            if is_answer(&packet) && packet.header().reqid == reqid {
                return Ok(Answer::InBuffer(place));
            }
            self.put_aside(place)?;
        }
    }

    /// Keeps a packet that nobody waits for right now; answers to abandoned requests are dropped.
    fn put_aside(&mut self, place: Range<usize>) -> Result<(), ClientFault> {
        let bytes = self.stream.bytes(place);
        match Packet::parse(bytes)? {
            Packet::Message(message) if self.messages.len() < UNREAD_COUNT_MAX => {
                self.messages.push_back(Message::from_packet(&message));
            }
            Packet::Tunnel(tunnel) if self.tunnel_packets.len() < UNREAD_COUNT_MAX => {
                self.tunnel_packets.push_back(TunnelPacket::from_packet(&tunnel));
            }
            Packet::Message(_) | Packet::Tunnel(_) => {
                return Err(ClientFault::MessagesUnread(UNREAD_COUNT_MAX));
            }
            answer if is_answer(&answer) => {
                let reqid = answer.header().reqid;
                match self.outstanding.get_mut(&reqid) {
                    Some(outstanding) => *outstanding = Outstanding::Answered(bytes.to_vec()),
                    None => self.unasked_answers += 1,
                }
            }
            other => return Err(ClientFault::WrongAnswer { reqid: other.header().reqid }),
        }
        Ok(())
    }

    fn view<'a>(&'a self, answer: &'a Answer) -> &'a [u8] {
        match answer {
            Answer::InBuffer(place) => self.stream.bytes(place.clone()),
            Answer::Kept(packet) => packet,
        }
    }
}

fn is_answer(packet: &Packet<'_>) -> bool {
    matches!(packet, Packet::ReplyCall(_) | Packet::ReplyControl(_) | Packet::ReplyError(_))
}

/// Messages kept for later; more means that nobody reads them, and losing some in silence would
/// hide it.
const UNREAD_COUNT_MAX: usize = 1024 * 1024;
