//! Structures of fixed size. The definition is the drawing: each field stands behind its offset,
//! and the compiler checks that fields neither overlap nor leave the structure.

/// Defines a structure with its codec. Bytes between fields are zero when written and ignored
/// when read, as padding of the C structures behind them is (client protocol §4).
macro_rules! structure {
    (
        $(#[$meta:meta])*
        pub struct $name:ident [$size:literal bytes] {
            $($(#[$field_meta:meta])* $offset:literal => $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $crate::fields::Layout<'_> for $name {
            fn encode(&self, out: &mut alloc::vec::Vec<u8>) {
                let start = out.len();
                $(
                    out.resize(start + $offset, 0);
                    $crate::fields::Layout::encode(&self.$field, out);
                )*
                out.resize(start + $size, 0);
            }

            fn decode(
                fields: &mut $crate::fields::Fields<'_>,
            ) -> Result<Self, $crate::fields::LayoutFault> {
                let start = fields.position();
                $(
                    fields.skip_to(start + $offset)?;
                    let $field = fields.read()?;
                )*
                fields.skip_to(start + $size)?;
                Ok(Self { $($field),* })
            }
        }

        impl $crate::fields::FixedLayout for $name {
            const SIZE_BYTES: usize = $size;
        }

        const _: () = $crate::fields::assert_layout(
            &[$(($offset, <$type as $crate::fields::FixedLayout>::SIZE_BYTES)),*],
            $size,
        );
    };
}

pub(crate) use structure;

/// Fields, given as (offset, size), follow each other inside a structure of `size` bytes.
pub(crate) const fn assert_layout(fields: &[(usize, usize)], size: usize) {
    let mut end = 0;
    let mut index = 0;
    while index < fields.len() {
        let (offset, field_size) = fields[index];
        assert!(offset >= end, "fields do not overlap");
        end = offset + field_size;
        index += 1;
    }
    assert!(end <= size, "fields end within their structure");
}
