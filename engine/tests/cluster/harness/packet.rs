//! Packets on a daemon's socket, made by hand: independent of the codec that the daemon uses.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A connection to a daemon's client socket. It times out rather than hang a test.
pub(crate) struct Client {
    stream: UnixStream,
    reqid: u32,
    /// Messages that came before an answer.
    messages: VecDeque<Packet>,
}

/// One packet as it came.
///
/// offset  size  field
///      0     4  length      of the whole packet
///      4     4  magic       0x43544442
///      8     4  version     1
///     12     4  generation
///     16     4  operation
///     20     4  destnode
///     24     4  srcnode
///     28     4  reqid
///
/// Little-endian (client protocol §1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
}

/// Opcodes of the controls that the tests send (client protocol §3.2).
pub(crate) mod control {
    pub(crate) const PROCESS_EXISTS: u32 = 0;
    pub(crate) const PING: u32 = 3;
    pub(crate) const GETDBPATH: u32 = 4;
    pub(crate) const DB_ATTACH: u32 = 18;
    pub(crate) const GET_PNN: u32 = 35;
    pub(crate) const REGISTER_SRVID: u32 = 23;
    pub(crate) const DEREGISTER_SRVID: u32 = 24;
    pub(crate) const REGISTER_NOTIFY: u32 = 114;
    pub(crate) const DB_OPEN_FLAGS: u32 = 149;
}

impl Client {
    pub(crate) fn connect(socket: &Path) -> io::Result<Client> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        Ok(Client { stream, reqid: 0, messages: VecDeque::new() })
    }

    /// Sends a control to a node and waits for its answer: status and data.
    pub(crate) fn control(
        &mut self,
        opcode: u32,
        srvid: u64,
        data: &[u8],
    ) -> io::Result<(i32, Vec<u8>)> {
        self.reqid += 1;
        let reqid = self.reqid;
        self.send(&control_packet(reqid, opcode, srvid, data))?;
        let reply = self.reply(OPERATION_REPLY_CONTROL, reqid)?;
        let status = reply.word(32).cast_signed();
        Ok((status, reply.tail(44, reply.word(36))))
    }

    /// Sends a control to a node, whose number may also be one of the special ones.
    pub(crate) fn control_to(
        &mut self,
        node: u32,
        opcode: u32,
        data: &[u8],
    ) -> io::Result<(i32, Vec<u8>)> {
        self.reqid += 1;
        let reqid = self.reqid;
        let mut bytes = control_packet(reqid, opcode, 0, data);
        bytes[20..24].copy_from_slice(&node.to_le_bytes());
        self.send(&bytes)?;
        let reply = self.reply(OPERATION_REPLY_CONTROL, reqid)?;
        Ok((reply.word(32).cast_signed(), reply.tail(44, reply.word(36))))
    }

    /// Asks for a record (flag 1: migrate it here) and waits for the answer: status and data. An
    /// error packet is an answer, too: its status and text stand in the same places.
    pub(crate) fn call(
        &mut self,
        db_id: u32,
        flags: u32,
        callid: u32,
        key: &[u8],
    ) -> io::Result<(u32, Vec<u8>)> {
        self.reqid += 1;
        let reqid = self.reqid;
        let key_size = u32::try_from(key.len()).expect("keys are short");
        let mut body = Vec::new();
        for word in [flags, db_id, callid, 0, key_size, 0] {
            body.extend(word.to_le_bytes());
        }
        body.extend(key);
        self.send(&packet(OPERATION_REQ_CALL, 0, reqid, &body))?;
        let reply = self.reply_of(&[OPERATION_REPLY_CALL], reqid)?;
        Ok((reply.word(32), reply.tail(40, reply.word(36))))
    }

    /// Sends a message to a srvid on a node; there is no answer.
    pub(crate) fn message(&mut self, destnode: u32, srvid: u64, data: &[u8]) -> io::Result<()> {
        let mut body = srvid.to_le_bytes().to_vec();
        body.extend(u32::try_from(data.len()).expect("messages are short").to_le_bytes());
        body.extend(data);
        self.send(&packet(OPERATION_REQ_MESSAGE, destnode, 0, &body))
    }

    /// From now on a read that gets nothing in time fails.
    pub(crate) fn limit_reads(&mut self, limit: Duration) {
        self.stream.set_read_timeout(Some(limit)).expect("a time-out above zero");
    }

    /// Waits for a message and returns its srvid and data.
    pub(crate) fn next_message(&mut self) -> io::Result<(u64, Vec<u8>)> {
        let packet = match self.messages.pop_front() {
            Some(packet) => packet,
            None => self.reply(OPERATION_REQ_MESSAGE, 0)?,
        };
        let srvid = u64::from(packet.word(32)) | u64::from(packet.word(36)) << 32;
        Ok((srvid, packet.tail(44, packet.word(40))))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// From now on a write that the daemon does not take in time fails.
    pub(crate) fn limit_writes(&mut self, limit: Duration) {
        self.stream.set_write_timeout(Some(limit)).expect("a time-out above zero");
    }

    /// The next packet, whatever it is.
    pub(crate) fn recv(&mut self) -> io::Result<Packet> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let size = u32::from_le_bytes(length) as usize;
        assert!(
            (HEADER_SIZE..=PACKET_SIZE_BYTES_MAX).contains(&size),
            "a daemon sent a packet of {size} bytes"
        );
        let mut bytes = vec![0; size];
        bytes[..4].copy_from_slice(&length);
        self.stream.read_exact(&mut bytes[4..])?;
        Ok(Packet { bytes })
    }

    /// Whether the daemon has closed this connection, or does so within `limit`.
    pub(crate) fn is_closed_within(&mut self, limit: Duration) -> bool {
        self.stream.set_read_timeout(Some(limit)).expect("a time-out above zero");
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(fault) => return fault.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }

    fn reply(&mut self, operation: u32, reqid: u32) -> io::Result<Packet> {
        self.reply_of(&[operation], reqid)
    }

    fn reply_of(&mut self, operations: &[u32], reqid: u32) -> io::Result<Packet> {
        loop {
            let packet = self.recv()?;
            if operations.contains(&packet.word(16)) && packet.word(28) == reqid {
                return Ok(packet);
            }
            if packet.word(16) == OPERATION_REQ_MESSAGE {
                self.messages.push_back(packet);
            }
        }
    }
}

impl Packet {
    /// The little-endian word at an offset.
    pub(crate) fn word(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.bytes[offset..offset + 4].try_into().expect("four bytes"))
    }

    fn tail(&self, offset: usize, size_bytes: u32) -> Vec<u8> {
        self.bytes[offset..offset + size_bytes as usize].to_vec()
    }
}

/// A packet with a right header around `body`.
pub(crate) fn packet(operation: u32, destnode: u32, reqid: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_SIZE + body.len()).expect("packets are short");
    let mut bytes = Vec::with_capacity(HEADER_SIZE + body.len());
    for word in [length, MAGIC, 1, 0, operation, destnode, 0, reqid] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(body);
    bytes
}

/// A control for the local node.
pub(crate) fn control_packet(reqid: u32, opcode: u32, srvid: u64, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(opcode.to_le_bytes());
    body.extend(0_u32.to_le_bytes());
    body.extend(srvid.to_le_bytes());
    for word in [0, 0, u32::try_from(data.len()).expect("controls are short")] {
        body.extend(word.to_le_bytes());
    }
    body.extend(data);
    packet(OPERATION_REQ_CONTROL, CURRENT_NODE, reqid, &body)
}

pub(crate) const CURRENT_NODE: u32 = 0xF000_0001;
pub(crate) const OPERATION_REQ_CALL: u32 = 0;
pub(crate) const OPERATION_REPLY_CALL: u32 = 1;
pub(crate) const OPERATION_REQ_MESSAGE: u32 = 5;
pub(crate) const OPERATION_REQ_CONTROL: u32 = 7;
pub(crate) const OPERATION_REPLY_CONTROL: u32 = 8;
pub(crate) const MAGIC: u32 = 0x4354_4442;
pub(crate) const HEADER_SIZE: usize = 32;
const PACKET_SIZE_BYTES_MAX: usize = 64 << 20;
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
