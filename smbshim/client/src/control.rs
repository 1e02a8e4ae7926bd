//! Every control of tiers A and B as a method (client protocol §3.2).
//!
//! All of them fail as [`Connection::control`] does, and with [`ClientFault::Refused`] when the
//! daemon answers a status that means failure. `target` is a node's PNN or `Pnn::CURRENT`; methods
//! without it make sense only at the own daemon.

mod address;
mod cluster;
mod daemon;
mod database;
mod process;
mod restore;
mod tunable;

use crate::connection::Connection;
use crate::fault::ClientFault;
use bateria_smbshim::{ControlReply, ControlRequest, LayoutFault, ReplyData};
use bateria_wire::Pnn;

impl Connection {
    /// A control whose success is status 0 and nothing else.
    pub(crate) fn done(
        &mut self,
        target: Pnn,
        request: &ControlRequest<'_>,
    ) -> Result<(), ClientFault> {
        let reply = self.control(target, request)?;
        match reply.status() {
            0 => Ok(()),
            _ => Err(refused(request, &reply)),
        }
    }

    /// A control whose answer is its status; negative ones are failures.
    fn value(&mut self, target: Pnn, request: &ControlRequest<'_>) -> Result<u32, ClientFault> {
        let reply = self.control(target, request)?;
        u32::try_from(reply.status()).map_err(|_| refused(request, &reply))
    }

    /// A control that answers data; `pick` knows which.
    fn data<T>(
        &mut self,
        target: Pnn,
        request: &ControlRequest<'_>,
        pick: impl FnOnce(ReplyData) -> Option<T>,
    ) -> Result<T, ClientFault> {
        let reply = self.control(target, request)?;
        if reply.status() != 0 {
            return Err(refused(request, &reply));
        }
        let missing = ClientFault::Reply {
            opcode: request.opcode(),
            fault: LayoutFault::TooShort { need_bytes: 1, have_bytes: 0 },
        };
        pick(reply.into_data()).ok_or(missing)
    }
}

fn refused(request: &ControlRequest<'_>, reply: &ControlReply) -> ClientFault {
    ClientFault::Refused {
        opcode: request.opcode(),
        status: reply.status(),
        text: reply.error_text().into(),
    }
}

/// Takes the payload out of one kind of reply data.
macro_rules! pick {
    ($variant:ident) => {
        |data| match data {
            bateria_smbshim::ReplyData::$variant(value) => Some(value),
            _ => None,
        }
    };
}

pub(crate) use pick;
