//! A daemon and its statistics.
#![expect(clippy::missing_errors_doc, reason = "the parent module says how all of them fail")]

use super::pick;
use crate::connection::Connection;
use crate::fault::ClientFault;
use bateria_smbshim::ControlRequest;
use bateria_smbshim::structures::db_statistics::{DbStatistics, StatisticsHistory};
use bateria_smbshim::structures::node::{Capabilities, RunState, Uptime};
use bateria_smbshim::structures::statistics::Statistics;
use bateria_wire::{DbId, Pnn};

impl Connection {
    pub fn get_pnn(&mut self, target: Pnn) -> Result<Pnn, ClientFault> {
        self.value(target, &ControlRequest::GetPnn).map(Pnn)
    }

    pub fn get_pid(&mut self, target: Pnn) -> Result<u32, ClientFault> {
        self.value(target, &ControlRequest::GetPid)
    }

    pub fn uptime(&mut self, target: Pnn) -> Result<Uptime, ClientFault> {
        self.data(target, &ControlRequest::Uptime, pick!(Uptime))
    }

    /// Number of the daemon's clients.
    pub fn ping(&mut self, target: Pnn) -> Result<u32, ClientFault> {
        self.value(target, &ControlRequest::Ping)
    }

    /// Nobody answers; the local daemon closes the connection when it has ended.
    pub fn shutdown(&mut self, target: Pnn) -> Result<(), ClientFault> {
        self.control_without_reply(target, &ControlRequest::Shutdown)
    }

    /// Numbers that no run state has become `Unknown`.
    pub fn get_run_state(&mut self, target: Pnn) -> Result<RunState, ClientFault> {
        let number = self.data(target, &ControlRequest::GetRunState, pick!(Number))?;
        Ok(RunState::from_number(number).unwrap_or(RunState::Unknown))
    }

    pub fn get_capabilities(&mut self, target: Pnn) -> Result<Capabilities, ClientFault> {
        self.data(target, &ControlRequest::GetCapabilities, pick!(Number))
            .map(Capabilities::from_bits_retain)
    }

    pub fn set_lmaster_role(&mut self, target: Pnn, enabled: bool) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::SetLmasterRole { enabled })
    }

    pub fn set_leader_role(&mut self, target: Pnn, enabled: bool) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::SetRecMasterRole { enabled })
    }

    pub fn get_debug(&mut self, target: Pnn) -> Result<i32, ClientFault> {
        self.data(target, &ControlRequest::GetDebug, pick!(LogLevel))
    }

    pub fn set_debug(&mut self, target: Pnn, level: i32) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::SetDebug { level })
    }

    pub fn dump_memory(&mut self, target: Pnn) -> Result<String, ClientFault> {
        self.data(target, &ControlRequest::DumpMemory, pick!(Report))
    }

    pub fn statistics(&mut self, target: Pnn) -> Result<Box<Statistics>, ClientFault> {
        self.data(target, &ControlRequest::Statistics, pick!(Statistics))
    }

    pub fn statistics_reset(&mut self, target: Pnn) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::StatisticsReset)
    }

    pub fn statistics_history(&mut self, target: Pnn) -> Result<StatisticsHistory, ClientFault> {
        self.data(target, &ControlRequest::GetStatHistory, pick!(StatisticsHistory))
    }

    pub fn db_statistics(
        &mut self,
        target: Pnn,
        db_id: DbId,
    ) -> Result<Box<DbStatistics>, ClientFault> {
        self.data(target, &ControlRequest::GetDbStatistics(db_id), pick!(DbStatistics))
    }

    /// The daemon sends the bytes back.
    pub fn echo(
        &mut self,
        target: Pnn,
        delay_ms: u32,
        data: &[u8],
    ) -> Result<Vec<u8>, ClientFault> {
        let request = ControlRequest::Echo { delay_ms, data };
        self.data(target, &request, pick!(Echo)).map(|echo| echo.data)
    }
}
