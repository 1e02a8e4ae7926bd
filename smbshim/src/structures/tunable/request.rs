//! Payloads of GET_TUNABLE and SET_TUNABLE (client protocol §4.7).

use crate::fields::{Fields, Layout, LayoutFault, put_len, put_text, text_of};
use alloc::vec::Vec;

/// Payload of GET_TUNABLE.
///
/// ```text
/// offset  size  field
///      0     4  len     of the name with its NUL
///      4   len  name
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetTunable<'a> {
    pub name: &'a str,
}

/// Payload of SET_TUNABLE.
///
/// ```text
/// offset  size  field
///      0     4  value
///      4     4  len     of the name with its NUL
///      8   len  name
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetTunable<'a> {
    pub value: u32,
    pub name: &'a str,
}

impl<'a> Layout<'a> for GetTunable<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_len(out, self.name.len() + 1);
        put_text(out, self.name);
    }

    fn decode(fields: &mut Fields<'a>) -> Result<Self, LayoutFault> {
        let len = fields.read()?;
        Ok(Self { name: text_of(fields.take_u32(len)?)? })
    }
}

impl<'a> Layout<'a> for SetTunable<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.value.encode(out);
        GetTunable { name: self.name }.encode(out);
    }

    fn decode(fields: &mut Fields<'a>) -> Result<Self, LayoutFault> {
        let value = fields.read()?;
        let GetTunable { name } = fields.read()?;
        Ok(Self { value, name })
    }
}
