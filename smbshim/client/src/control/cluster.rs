//! The cluster's nodes and their state.
#![expect(clippy::missing_errors_doc, reason = "the parent module says how all of them fail")]

use super::pick;
use crate::connection::Connection;
use crate::fault::ClientFault;
use bateria_smbshim::structures::node::{BanState, NodeMap, RecoveryMode};
use bateria_smbshim::{ControlRequest, ReplyData};
use bateria_wire::{Pnn, VnnMap};

impl Connection {
    pub fn get_node_map(&mut self, target: Pnn) -> Result<NodeMap, ClientFault> {
        self.data(target, &ControlRequest::GetNodeMap, pick!(NodeMap))
    }

    /// The nodes as the node's file names them now.
    pub fn get_nodes_file(&mut self, target: Pnn) -> Result<NodeMap, ClientFault> {
        self.data(target, &ControlRequest::GetNodesFile, pick!(NodeMap))
    }

    pub fn reload_nodes_file(&mut self, target: Pnn) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::ReloadNodesFile)
    }

    pub fn get_vnn_map(&mut self, target: Pnn) -> Result<VnnMap, ClientFault> {
        self.data(target, &ControlRequest::GetVnnMap, pick!(VnnMap))
    }

    pub fn get_recovery_mode(&mut self, target: Pnn) -> Result<RecoveryMode, ClientFault> {
        let mode = self.value(target, &ControlRequest::GetRecMode)?;
        Ok(RecoveryMode::from_number(mode).unwrap_or(RecoveryMode::Active))
    }

    /// `Active` makes the cluster recover.
    pub fn set_recovery_mode(
        &mut self,
        target: Pnn,
        mode: RecoveryMode,
    ) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::SetRecMode { mode: mode as u32 })
    }

    /// The cluster lock, or `None` when there is none.
    pub fn get_reclock_file(&mut self, target: Pnn) -> Result<Option<String>, ClientFault> {
        self.data(target, &ControlRequest::GetReclockFile, |data| match data {
            ReplyData::Empty => Some(None),
            ReplyData::Text(text) => Some(Some(text)),
            _ => None,
        })
    }

    pub fn stop_node(&mut self, target: Pnn) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::StopNode)
    }

    pub fn continue_node(&mut self, target: Pnn) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::ContinueNode)
    }

    pub fn disable_node(&mut self, target: Pnn) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::DisableNode)
    }

    pub fn enable_node(&mut self, target: Pnn) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::EnableNode)
    }

    /// Bans the node, or with 0 seconds lifts its ban.
    pub fn set_ban_state(&mut self, pnn: Pnn, duration_s: u32) -> Result<(), ClientFault> {
        self.done(pnn, &ControlRequest::SetBanState(BanState { pnn, duration_s }))
    }

    pub fn get_ban_state(&mut self, target: Pnn) -> Result<BanState, ClientFault> {
        self.data(target, &ControlRequest::GetBanState, pick!(BanState))
    }
}
