//! Lists: a count and that many items of one size, back to back.
//!
//! ```text
//! offset        size  field
//!      0           4  count
//!      4   count * n  items
//! ```

use super::{Fields, FixedLayout, Layout, LayoutFault, put_len};
use alloc::vec::Vec;

impl<T: FixedLayout> Layout<'_> for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_len(out, self.len());
        for item in self {
            item.encode(out);
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, LayoutFault> {
        let count = fields.read()?;
        decode_items(fields, count)
    }
}

/// Reads `count` items. The bytes must be there before memory is asked for, so a count from
/// outside never allocates more than a small multiple of what was received.
///
/// # Errors
/// Fewer items are left, or one of them does not have its layout.
pub fn decode_items<T: FixedLayout>(
    fields: &mut Fields<'_>,
    count: u32,
) -> Result<Vec<T>, LayoutFault> {
    let size = (count as usize).saturating_mul(T::SIZE_BYTES);
    let mut items = Fields::new(fields.take(size)?);
    (0..count).map(|_| items.read()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_without_its_items_allocates_nothing() {
        let fault = LayoutFault::TooShort { need_bytes: 0xFFFF_FFFF * 8, have_bytes: 3 };
        assert_eq!(Vec::<u64>::from_bytes(&[255, 255, 255, 255, 1, 2, 3]), Err(fault));
    }

    #[test]
    fn items_follow_their_count() {
        let bytes = alloc::vec![7_u16, 8].to_bytes();
        assert_eq!(bytes, [2, 0, 0, 0, 7, 0, 8, 0]);
        assert_eq!(Vec::<u16>::from_bytes(&bytes).unwrap(), [7, 8]);
    }
}
