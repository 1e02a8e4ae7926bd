//! Single values: integers in host order and the identifiers made of them.

use super::{Fields, FixedLayout, Layout, LayoutFault};
use alloc::vec::Vec;
use bateria_wire::{DbId, Generation, NodeFlags, Pnn, Rsn, Srvid};

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Layout<'_> for $type {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_ne_bytes());
            }

            #[inline]
            fn decode(fields: &mut Fields<'_>) -> Result<Self, LayoutFault> {
                fields.array().map(Self::from_ne_bytes)
            }
        }

        impl FixedLayout for $type {
            const SIZE_BYTES: usize = size_of::<Self>();
        }
    )*};
}

macro_rules! identifier {
    ($($type:ty: $number:ty),*) => {$(
        impl Layout<'_> for $type {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
            }

            #[inline]
            fn decode(fields: &mut Fields<'_>) -> Result<Self, LayoutFault> {
                fields.read().map(Self)
            }
        }

        impl FixedLayout for $type {
            const SIZE_BYTES: usize = size_of::<$number>();
        }
    )*};
}

number!(u8, u16, u32, u64, i32, i64, f64);
identifier!(Pnn: u32, Rsn: u64, DbId: u32, Srvid: u64, Generation: u32);

impl Layout<'_> for NodeFlags {
    fn encode(&self, out: &mut Vec<u8>) {
        self.bits().encode(out);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, LayoutFault> {
        fields.read().map(Self::from_bits_retain)
    }
}

impl FixedLayout for NodeFlags {
    const SIZE_BYTES: usize = size_of::<u32>();
}

impl<T: FixedLayout + Copy + Default, const COUNT: usize> Layout<'_> for [T; COUNT] {
    fn encode(&self, out: &mut Vec<u8>) {
        for item in self {
            item.encode(out);
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, LayoutFault> {
        let mut items = [T::default(); COUNT];
        for item in &mut items {
            *item = fields.read()?;
        }
        Ok(items)
    }
}

impl<T: FixedLayout + Copy + Default, const COUNT: usize> FixedLayout for [T; COUNT] {
    const SIZE_BYTES: usize = COUNT * T::SIZE_BYTES;
}
