//! Requests that wait for an answer. Tickets find them again, and a ticket that was used does not
//! fit the next request in the same slot, so an answer that comes late reaches nobody.

use super::{REQUESTS_IN_FLIGHT_MAX, Refusal};
use crate::control::Opcode;
use crate::packet::CallId;
use alloc::vec::Vec;
use bateria_wire::DbId;

/// Names a request within its session. It survives a way through other shards and nodes as a
/// number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    index: u32,
    serial: u32,
}

/// What is needed to answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The client's own number, echoed in the reply. Clients may use one twice.
    pub reqid: u32,
    pub wants_reply: bool,
    pub kind: PendingKind,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingKind {
    Call { db_id: DbId, call_id: CallId },
    Control { opcode: Opcode },
    Commit { db_id: DbId },
}

/// The table of waiting requests. Slots are reused, so it allocates only while it grows.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    serial: u32,
    pending: Option<Pending>,
}

impl Ticket {
    #[must_use]
    pub fn to_u64(self) -> u64 {
        u64::from(self.serial) << 32 | u64::from(self.index)
    }

    #[must_use]
    pub fn from_u64(number: u64) -> Self {
        let word = |bits: u64| u32::try_from(bits).expect("half of 64 bits");
        Self { index: word(number & u64::from(u32::MAX)), serial: word(number >> 32) }
    }
}

impl InFlight {
    pub(super) fn add(&mut self, pending: Pending) -> Result<Ticket, Refusal> {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            assert!(slot.pending.is_none(), "a free slot is empty");
            slot.pending = Some(pending);
            return Ok(Ticket { index, serial: slot.serial });
        }
        if self.slots.len() >= REQUESTS_IN_FLIGHT_MAX {
            return Err(Refusal::RequestsInFlight);
        }
        let index = u32::try_from(self.slots.len()).expect("the limit fits 32 bits");
        self.slots.push(Slot { serial: 0, pending: Some(pending) });
        Ok(Ticket { index, serial: 0 })
    }

    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Pending> {
        let slot = self.slots.get_mut(ticket.index as usize)?;
        if slot.serial != ticket.serial {
            return None;
        }
        let pending = slot.pending.take()?;
        slot.serial = slot.serial.wrapping_add(1);
        self.free.push(ticket.index);
        Some(pending)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn into_pending(self) -> Vec<(Ticket, Pending)> {
        let slots = (0_u32..).zip(self.slots);
        slots
            .filter_map(|(index, slot)| {
                Some((Ticket { index, serial: slot.serial }, slot.pending?))
            })
            .collect()
    }
}
