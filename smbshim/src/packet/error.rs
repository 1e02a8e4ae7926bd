//! The answer to a call that cannot be answered otherwise.

use super::{Padding, append};
use crate::fields::{Fields, Layout, LayoutFault, put_len};
use crate::header::{Header, Operation};
use alloc::vec::Vec;

/// Daemon to client: Samba takes it as EIO. The original never sends it to clients; it is the
/// right answer where a FETCH reply without data would mean "no such record" and abort Samba 4.25
/// (Samba 4.25 §1.2).
///
/// ```text
/// offset  size    field
///     32  4       status
///     36  4       msglen
///     40  msglen  message
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyError<'a> {
    pub header: Header,
    pub status: u32,
    pub message: &'a [u8],
}

impl<'a> ReplyError<'a> {
    #[inline]
    pub(super) fn decode(header: Header, fields: &mut Fields<'a>) -> Result<Self, LayoutFault> {
        let (status, msglen) = (fields.read()?, fields.read()?);
        Ok(Self { header, status, message: fields.take_u32(msglen)? })
    }

    /// Appends the packet to `out`.
    pub fn encode(&self, padding: Padding, out: &mut Vec<u8>) {
        append(Operation::ReplyError, &self.header, padding, out, |out| {
            self.status.encode(out);
            put_len(out, self.message.len());
            out.extend_from_slice(self.message);
        });
    }
}
