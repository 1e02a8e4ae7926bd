//! Tunables.
#![expect(clippy::missing_errors_doc, reason = "the parent module says how all of them fail")]

use super::pick;
use crate::connection::Connection;
use crate::fault::ClientFault;
use bateria_smbshim::ControlRequest;
use bateria_smbshim::structures::tunable::{GetTunable, SetTunable, TunableList, Tunables};
use bateria_wire::Pnn;

impl Connection {
    /// The names of all live tunables.
    pub fn list_tunables(&mut self, target: Pnn) -> Result<Vec<String>, ClientFault> {
        let list = self.data(target, &ControlRequest::ListTunables, pick!(TunableList))?;
        let TunableList(names) = list;
        Ok(names)
    }

    /// Status −22 for a name that no tunable has.
    pub fn get_tunable(&mut self, target: Pnn, name: &str) -> Result<u32, ClientFault> {
        self.data(target, &ControlRequest::GetTunable(GetTunable { name }), pick!(Number))
    }

    /// Status 1 for an obsolete one, which is stored all the same.
    pub fn set_tunable(&mut self, target: Pnn, name: &str, value: u32) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::SetTunable(SetTunable { value, name }))
    }

    pub fn get_all_tunables(&mut self, target: Pnn) -> Result<Box<Tunables>, ClientFault> {
        self.data(target, &ControlRequest::GetAllTunables, pick!(Tunables))
    }
}
