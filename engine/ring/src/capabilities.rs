//! What this kernel's io_uring can do.

use io_uring::{Probe, opcode};

use crate::config::RingConfig;
use crate::error::RingError;

/// What the ring can and does use; the caller has another way for what is `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// [`crate::Ring::futex_wait`] works (Linux 6.7); else a waiter thread has to wait.
    pub futex_wait: bool,
    /// [`crate::Ring::knock`] travels with the next submission; else it is an eventfd write.
    pub ring_messages: bool,
    /// Submissions need no index array (Linux 6.6).
    pub direct_submission: bool,
}

impl Capabilities {
    /// Judges a probe.
    ///
    /// # Errors
    /// [`RingError::KernelTooOld`] names the first operation that there is no way around.
    pub(crate) fn judge(
        probe: &Probe,
        config: &RingConfig,
        direct_submission: bool,
    ) -> Result<Self, RingError> {
        for (code, missing) in NEEDED {
            if !probe.is_supported(code) {
                return Err(RingError::KernelTooOld { missing });
            }
        }
        Ok(Self {
            futex_wait: config.futex_wait && probe.is_supported(opcode::FutexWait::CODE),
            ring_messages: config.ring_messages && probe.is_supported(opcode::MsgRingData::CODE),
            direct_submission,
        })
    }
}

const NEEDED: [(u8, &str); 6] = [
    (opcode::AcceptMulti::CODE, "accept operation"),
    (opcode::RecvMulti::CODE, "receive operation"),
    (opcode::Send::CODE, "send operation"),
    (opcode::Connect::CODE, "connect operation"),
    (opcode::PollAdd::CODE, "poll operation"),
    (opcode::AsyncCancel::CODE, "cancel operation"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_probe_names_what_is_missing() {
        let error = Capabilities::judge(&Probe::new(), &RingConfig::default(), false).unwrap_err();
        assert!(error.to_string().contains("accept operation"), "{error}");
    }
}
