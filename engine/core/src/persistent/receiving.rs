//! The target of a distribution: keeps the parts of another node's copy until all are there.

use bateria_wire::frame::FrameFault;
use bateria_wire::{Generation, Pnn};

/// The part in work. Parts are staged outside of the database, so no lock of a file that clients
/// use is held while waiting for the network (database semantics, appendix C.7).
#[derive(Clone, Copy, Debug)]
pub(super) struct Receiving {
    pub(super) source: Pnn,
    pub(super) part: u32,
    pub(super) is_last: bool,
    pub(super) updated_in: Generation,
}

impl Receiving {
    /// The part that follows `former`, or the first one of a copy: another source begins anew.
    ///
    /// # Errors
    /// Parts come in order, from one source.
    pub(super) fn after(former: Option<&Self>, arrived: Self) -> Result<Self, FrameFault> {
        let follows = former.is_some_and(|former| {
            former.source == arrived.source
                && !former.is_last
                && former.part.checked_add(1) == Some(arrived.part)
        });
        if follows || arrived.part == 0 {
            Ok(arrived)
        } else {
            Err(FrameFault::Meaning { rule: "parts of a copy come in order" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_in_order_and_from_one_source() {
        let part = |source, part, is_last| Receiving {
            source: Pnn(source),
            part,
            is_last,
            updated_in: Generation::INVALID,
        };
        assert!(Receiving::after(None, part(1, 0, false)).is_ok());
        assert!(Receiving::after(None, part(1, 1, false)).is_err());
        let former = part(1, 0, false);
        assert!(Receiving::after(Some(&former), part(1, 1, true)).is_ok());
        assert!(Receiving::after(Some(&former), part(2, 1, true)).is_err());
        assert!(Receiving::after(Some(&former), part(2, 0, true)).is_ok());
        assert!(Receiving::after(Some(&part(1, 0, true)), part(1, 1, true)).is_err());
    }
}
