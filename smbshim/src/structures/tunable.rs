//! Tunables: what they are called, where they stand, how they are set (client protocol §4.7).
//!
//! A replacement accepts, stores and lists all of them, since scripts set them, also where it has
//! no use for one.

mod request;
mod table;

pub use request::{GetTunable, SetTunable};
pub use table::Tunable;

use crate::fields::{Fields, FixedLayout, Layout, LayoutFault};
use alloc::string::String;
use alloc::vec::Vec;

/// The values of all tunables, which is also the answer to GET_ALL_TUNABLES.
///
/// ```text
/// offset    size  field
///  4*index     4  value    index as in `Tunable::ALL`
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunables([u32; Tunable::ALL.len()]);

/// What became of SET_TUNABLE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOutcome {
    Stored(Tunable),
    /// Stored, though nothing uses it any more.
    StoredObsolete(Tunable),
    Unknown,
}

/// Answer to LIST_TUNABLES: every live name behind a colon, and a NUL.
///
/// ```text
/// offset  size  field
///      0     4  len
///      4   len  text    ":SeqnumInterval:ControlTimeout:…" with its NUL
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunableList(pub Vec<String>);

impl Tunables {
    #[must_use]
    pub fn get(&self, tunable: Tunable) -> u32 {
        self.0[tunable as usize]
    }

    pub fn set(&mut self, tunable: Tunable, value: u32) {
        self.0[tunable as usize] = value;
    }

    /// Sets a tunable by its name, in whatever case it is written.
    pub fn set_named(&mut self, name: &str, value: u32) -> SetOutcome {
        let Some(tunable) = Tunable::from_name(name) else { return SetOutcome::Unknown };
        self.set(tunable, value);
        if tunable.is_obsolete() {
            SetOutcome::StoredObsolete(tunable)
        } else {
            SetOutcome::Stored(tunable)
        }
    }
}

impl Default for Tunables {
    fn default() -> Self {
        Self(Tunable::ALL.map(Tunable::default_value))
    }
}

impl SetOutcome {
    /// The status of the reply (client protocol §3.1).
    #[must_use]
    pub fn status(self) -> i32 {
        match self {
            Self::Stored(_) => 0,
            Self::StoredObsolete(_) => 1,
            Self::Unknown => -1,
        }
    }
}

impl TunableList {
    /// The list every daemon gives. Its order is that of the table with one exception.
    #[must_use]
    pub fn of_live() -> Self {
        let mut tunables: Vec<Tunable> = Tunable::ALL.to_vec();
        let moved = tunables.remove(Tunable::VacuumFastPathCount as usize);
        tunables.insert(Tunable::MaxQueueDropMsg as usize, moved);
        let live = tunables.into_iter().filter(|tunable| !tunable.is_obsolete());
        Self(live.map(|tunable| tunable.name().into()).collect())
    }
}

impl Layout<'_> for Tunables {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, LayoutFault> {
        fields.read().map(Self)
    }
}

impl FixedLayout for Tunables {
    const SIZE_BYTES: usize = 248;
}

impl Layout<'_> for TunableList {
    fn encode(&self, out: &mut Vec<u8>) {
        let len: usize = self.0.iter().map(|name| name.len() + 1).sum();
        crate::fields::put_len(out, len + 1);
        for name in &self.0 {
            out.push(b':');
            out.extend_from_slice(name.as_bytes());
        }
        out.push(0);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, LayoutFault> {
        let len = fields.read()?;
        let text = crate::fields::text_of(fields.take_u32(len)?)?;
        Ok(Self(text.split(':').filter(|name| !name.is_empty()).map(String::from).collect()))
    }
}

/// The status of GET_TUNABLE for a name that no tunable has.
pub const UNKNOWN_TUNABLE_STATUS: i32 = -22;

const _: () = assert!(size_of::<Tunables>() == Tunables::SIZE_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_in_any_case() {
        let mut tunables = Tunables::default();
        let outcome = tunables.set_named("databasehashsize", 7);
        assert_eq!(outcome, SetOutcome::Stored(Tunable::DatabaseHashSize));
        assert_eq!(tunables.get(Tunable::DatabaseHashSize), 7);
        assert_eq!(tunables.set_named("foo", 7), SetOutcome::Unknown);
    }

    #[test]
    fn obsolete_tunables_are_stored_and_say_so() {
        let mut tunables = Tunables::default();
        assert_eq!(tunables.set_named("VacuumLimit", 7).status(), 1);
        assert_eq!(tunables.get(Tunable::VacuumLimit), 7);
    }

    #[test]
    fn the_list_is_as_long_as_the_original() {
        let list = TunableList::of_live();
        let bytes = list.to_bytes();
        assert_eq!((list.0.len(), bytes.len()), (49, 4 + 0x333));
        assert_eq!(TunableList::from_bytes(&bytes), Ok(list));
    }

    #[test]
    fn the_list_leaves_the_order_of_the_table_once() {
        let TunableList(names) = TunableList::of_live();
        let at = names.iter().position(|name| name == "VacuumFastPathCount").unwrap();
        assert_eq!(names[at - 1], "RepackLimit");
        assert_eq!(names[at + 1..at + 3], ["MaxQueueDropMsg", "AllowUnhealthyDBRead"]);
        assert_eq!(names.last().unwrap(), "AllowMixedVersions");
    }

    #[test]
    fn values_stand_in_the_order_of_the_table() {
        let bytes = Tunables::default().to_bytes();
        assert_eq!(bytes[4 * 17..4 * 18], 100_001_u32.to_ne_bytes());
        assert_eq!(bytes[4 * 60..4 * 61], 2_u32.to_ne_bytes());
    }
}
