//! Waiting for a futex without a thread to wait in.

use io_uring::opcode;

use crate::event::{Event, FutexOutcome};
use crate::kernel_queues::Completion;
use crate::operation::{Kind, Tag};
use crate::ring::Ring;
use crate::slots::SlotKey;
use crate::token::{Token, WaitId};

/// Where a futex word lies, in memory shared with other processes.
///
/// The kernel reads the word once, when the wait is submitted, and answers with an error when
/// nothing is mapped there; nobody writes through it. So any address is safe, and the mapping need
/// not outlive the wait: the futex is the page's, not the address's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FutexWord(*const u32);

/// A wait that the kernel has.
#[derive(Debug)]
pub(crate) struct FutexWait {
    token: Token,
}

/// `FUTEX2_SIZE_U32` without `FUTEX2_PRIVATE`: 32 bits, found by page, shared between processes.
const FUTEX2_SIZE_U32: u32 = 2;

/// Woken by every waker, as `FUTEX_WAIT` is.
const FUTEX_BITSET_MATCH_ANY: u64 = 0xffff_ffff;

impl FutexWord {
    /// The word at `address`, which must be a multiple of 4.
    #[must_use]
    pub fn at(address: *const u32) -> Self {
        assert!(address.is_aligned(), "a futex word is aligned");
        Self(address)
    }
}

impl Ring {
    /// Waits until the word is woken, if it still holds `expected` when the next turn submits.
    ///
    /// Ends with one [`Event::FutexWoken`]. `None` when the kernel cannot
    /// ([`crate::Capabilities::futex_wait`]).
    pub fn futex_wait(&mut self, word: FutexWord, expected: u32, token: Token) -> Option<WaitId> {
        if !self.capabilities.futex_wait {
            return None;
        }
        let slot = self.waits.insert(FutexWait { token });
        let expected = u64::from(expected);
        let wait =
            opcode::FutexWait::new(word.0, expected, FUTEX_BITSET_MATCH_ANY, FUTEX2_SIZE_U32)
                .build()
                .user_data(Tag::new(Kind::FutexWait, slot).to_user_data());
        // SAFETY: the kernel checks the address itself and only reads there, once.
        unsafe { self.queues.push(wait) };
        Some(WaitId(slot))
    }

    /// Asks to end a wait. A wake-up may come first: the event tells.
    pub fn cancel_wait(&mut self, wait: WaitId) {
        if self.waits.get(wait.0).is_some() {
            self.cancel(Tag::new(Kind::FutexWait, wait.0));
        }
    }

    pub(crate) fn complete_futex_wait(&mut self, slot: SlotKey, completion: Completion) {
        let FutexWait { token } = self.waits.remove(slot).expect("a wait outlives its operation");
        let outcome = match completion.outcome() {
            Ok(_) => FutexOutcome::Woken,
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => FutexOutcome::Changed,
                Some(libc::ECANCELED | libc::EINTR) => FutexOutcome::Cancelled,
                _ => FutexOutcome::Failed(error),
            },
        };
        self.events.push_back(Event::FutexWoken { wait: WaitId(slot), token, outcome });
    }
}
