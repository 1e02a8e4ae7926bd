//! Calls: making a record come, or reading it from afar (client protocol §7.2).

use super::{Connection, Outstanding};
use crate::fault::ClientFault;
use bateria_smbshim::header::Header;
use bateria_smbshim::{CallFlags, CallId, LtdbHeader, Packet, ReqCall};
use bateria_wire::DbId;
use std::time::Duration;

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallReply {
    /// Samba ignores it.
    pub status: u32,
    pub data: Vec<u8>,
}

/// Names a started call until it is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StartedCall(u32);

impl Connection {
    /// Sends a call and waits for its reply, whatever its status.
    ///
    /// # Errors
    /// The connection is gone, the reply comes too late, or the daemon answers with an error.
    pub fn call(
        &mut self,
        db_id: DbId,
        call_id: CallId,
        flags: CallFlags,
        key: &[u8],
    ) -> Result<CallReply, ClientFault> {
        let started = self.start_call(db_id, call_id, flags, key)?;
        let timeout = self.timeout;
        self.finish_call(started, timeout)
    }

    /// Makes the record come to this node. When it has come it may already be on its way to the
    /// next one: look at it under its chain lock.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn migrate(&mut self, db_id: DbId, key: &[u8]) -> Result<(), ClientFault> {
        let started = self.start_call(db_id, CallId::NULL, CallFlags::IMMEDIATE_MIGRATION, key)?;
        let timeout = self.timeout;
        self.finish_call_with(started, timeout, |_, _| ())
    }

    /// The record's header and value as the daemon sees them (Samba 4.25 §1.2).
    ///
    /// # Errors
    /// As [`Self::call`]; [`ClientFault::NoHeader`] where Samba 4.25 would abort.
    pub fn fetch_with_header(
        &mut self,
        db_id: DbId,
        flags: CallFlags,
        key: &[u8],
    ) -> Result<(LtdbHeader, Vec<u8>), ClientFault> {
        let reply = self.call(db_id, CallId::FETCH_WITH_HEADER, flags, key)?;
        let (header, value) =
            LtdbHeader::split(&reply.data).map_err(|_| ClientFault::NoHeader { db_id })?;
        Ok((header, value.to_vec()))
    }

    /// Sends a call and leaves its reply for later.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn start_call(
        &mut self,
        db_id: DbId,
        call_id: CallId,
        flags: CallFlags,
        key: &[u8],
    ) -> Result<StartedCall, ClientFault> {
        let reqid = self.next_reqid();
        let header = Header::call(reqid);
        let call = ReqCall { header, flags, db_id, call_id, hop_count: 0, key, data: &[] };
        self.out.clear();
        call.encode(self.padding, &mut self.out);
        self.stream.send(&self.out)?;
        self.outstanding.insert(reqid, Outstanding::Awaited);
        Ok(StartedCall(reqid))
    }

    /// Waits for the reply to a started call. On [`ClientFault::Timeout`] the reply is abandoned.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn finish_call(
        &mut self,
        started: StartedCall,
        timeout: Option<Duration>,
    ) -> Result<CallReply, ClientFault> {
        self.finish_call_with(started, timeout, |status, data| CallReply {
            status,
            data: data.to_vec(),
        })
    }

    /// Gives up on a started call; its reply will be dropped. The record may come all the same.
    pub fn abandon_call(&mut self, started: StartedCall) {
        self.outstanding.remove(&started.0);
    }

    /// Waits for the reply to a started call and hands its status and data to `read` in place.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn finish_call_with<T>(
        &mut self,
        started: StartedCall,
        timeout: Option<Duration>,
        read: impl FnOnce(u32, &[u8]) -> T,
    ) -> Result<T, ClientFault> {
        let answer = self.wait_for(started.0, timeout)?;
        match Packet::parse(self.view(&answer))? {
            Packet::ReplyCall(reply) => Ok(read(reply.status, reply.data)),
            Packet::ReplyError(error) => Err(ClientFault::CallFailed {
                status: error.status,
                text: String::from_utf8_lossy(error.message).into_owned(),
            }),
            _ => Err(ClientFault::WrongAnswer { reqid: started.0 }),
        }
    }
}
