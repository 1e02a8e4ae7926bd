//! Traverse requests (client protocol §4.4, §7.5).

use crate::fields::{Fields, FixedLayout, Layout, LayoutFault, structure};
use alloc::vec::Vec;
use bateria_wire::{DbId, Srvid};

structure! {
    /// Payload of TRAVERSE_START.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TraverseStart [16 bytes] {
        0 => db_id: DbId,
        /// Chosen by the client, echoed in every record.
        4 => reqid: u32,
        /// Where the records go.
        8 => srvid: Srvid,
    }
}

structure! {
    /// Payload of TRAVERSE_START_EXT.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TraverseStartExt [24 bytes] {
        0 => start: TraverseStart,
        /// Records without a value are sent too.
        16 => with_empty: Switch,
    }
}

/// A C `bool`: any byte but 0 is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Switch(pub bool);

impl Layout<'_> for Switch {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.0));
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, LayoutFault> {
        fields.read::<u8>().map(|byte| Self(byte != 0))
    }
}

impl FixedLayout for Switch {
    const SIZE_BYTES: usize = 1;
}
