//! Processes, notifications and tunnels.
#![expect(clippy::missing_errors_doc, reason = "the parent module says how all of them fail")]

use crate::connection::Connection;
use crate::fault::ClientFault;
use bateria_smbshim::ControlRequest;
use bateria_smbshim::structures::notify::Notify;
use bateria_wire::{Pnn, Srvid};

impl Connection {
    /// Whether a client of this pid is connected to the node's daemon and alive.
    pub fn process_exists(&mut self, target: Pnn, pid: i32) -> Result<bool, ClientFault> {
        let reply = self.control(target, &ControlRequest::ProcessExists { pid })?;
        Ok(reply.status() == 0)
    }

    /// Whether a connection of this pid to the node's daemon has registered the srvid.
    pub fn check_pid_srvid(
        &mut self,
        target: Pnn,
        pid: i32,
        srvid: Srvid,
    ) -> Result<bool, ClientFault> {
        let reply = self.control(target, &ControlRequest::CheckPidSrvid { pid, srvid })?;
        Ok(reply.status() == 0)
    }

    /// Has the daemon send `data` to `srvid` on all nodes when this connection ends.
    pub fn register_notify(&mut self, srvid: Srvid, data: &[u8]) -> Result<(), ClientFault> {
        self.done(Pnn::CURRENT, &ControlRequest::RegisterNotify(Notify { srvid, data }))
    }

    pub fn deregister_notify(&mut self, srvid: Srvid) -> Result<(), ClientFault> {
        self.done(Pnn::CURRENT, &ControlRequest::DeregisterNotify(srvid))
    }

    pub fn register_tunnel(&mut self, tunnel_id: u64) -> Result<(), ClientFault> {
        self.done(Pnn::CURRENT, &ControlRequest::TunnelRegister { tunnel_id })
    }

    pub fn deregister_tunnel(&mut self, tunnel_id: u64) -> Result<(), ClientFault> {
        self.done(Pnn::CURRENT, &ControlRequest::TunnelDeregister { tunnel_id })
    }
}
