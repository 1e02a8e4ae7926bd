//! The tag that an operation carries through the kernel and that its completion brings back.

use crate::slots::{GENERATIONS_COUNT, SlotKey};

/// What an operation was for, and for whom.
///
/// ```text
///  63      56 55               32 31                 0
/// +----------+-------------------+--------------------+
/// |   kind   |    generation     |     slot index     |
/// +----------+-------------------+--------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) kind: Kind,
    pub(crate) slot: SlotKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A request to cancel; it owns nothing and its answer says nothing new.
    Cancel = 1,
    Accept = 2,
    Receive = 3,
    Send = 4,
    Connect = 5,
    FutexWait = 6,
    Watch = 7,
    ExactReceive = 8,
    /// The poll of this ring's own eventfd.
    Bell = 9,
    /// A message from another ring: look at the bell.
    Knocked = 10,
    /// A message to another ring that could not be delivered; the slot is the peer's number.
    Knock = 11,
}

impl Tag {
    pub(crate) const fn new(kind: Kind, slot: SlotKey) -> Self {
        Self { kind, slot }
    }

    /// The tag of an operation that the ring itself has one of.
    pub(crate) const fn alone(kind: Kind) -> Self {
        Self { kind, slot: SlotKey { index: 0, generation: 0 } }
    }

    pub(crate) const fn to_user_data(self) -> u64 {
        (self.kind as u64) << 56 | (self.slot.generation as u64) << 32 | self.slot.index as u64
    }

    /// `None` for a value that no operation of ours carries.
    pub(crate) fn from_user_data(user_data: u64) -> Option<Self> {
        let [kind, generation @ .., i0, i1, i2, i3] = user_data.to_be_bytes();
        let [g0, g1, g2] = generation;
        Some(Self {
            kind: Kind::from_byte(kind)?,
            slot: SlotKey {
                index: u32::from_be_bytes([i0, i1, i2, i3]),
                generation: u32::from_be_bytes([0, g0, g1, g2]),
            },
        })
    }
}

impl Kind {
    /// Whether the ring owes the operation a last completion before it may go away: it holds
    /// memory, a descriptor or a slot.
    pub(crate) const fn is_owed(self) -> bool {
        !matches!(self, Self::Cancel | Self::Knocked | Self::Knock)
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Cancel,
            2 => Self::Accept,
            3 => Self::Receive,
            4 => Self::Send,
            5 => Self::Connect,
            6 => Self::FutexWait,
            7 => Self::Watch,
            8 => Self::ExactReceive,
            9 => Self::Bell,
            10 => Self::Knocked,
            11 => Self::Knock,
            _ => return None,
        })
    }
}

const _: () = assert!(GENERATIONS_COUNT == 1 << 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_the_kernel() {
        for byte in 0..=u8::MAX {
            let Some(kind) = Kind::from_byte(byte) else { continue };
            assert_eq!(kind as u8, byte);
            let slot = SlotKey { index: 0xdead_beef, generation: GENERATIONS_COUNT - 3 };
            let tag = Tag::new(kind, slot);
            assert_eq!(Tag::from_user_data(tag.to_user_data()), Some(tag));
        }
    }

    #[test]
    fn foreign_user_data_is_nobodys_tag() {
        assert_eq!(Tag::from_user_data(0), None);
        assert_eq!(Tag::from_user_data(u64::MAX), None);
    }
}
