//! Sends that report only failure, and when their silence means success.

use crate::slots::SlotKey;

/// Sends that never wait (`MSG_DONTWAIT`) and complete only when they fail or fall short.
///
/// Such a send is over when its submission is: had it failed, its completion were in the queue.
/// So once the completions that are there right after the submission have been handled, whatever
/// is still listed was sent in full. This saves the completion of nearly every send, and lets the
/// same system call that sends also wait for the answer.
///
/// ```text
/// push -> fresh --- submitted: n completions are waiting ---> settling --- n reaped ---> settled
/// ```
#[derive(Debug, Default)]
pub(crate) struct PromptSends {
    /// Not known to be submitted, or submitted while others were settling.
    fresh: Vec<PromptSend>,
    settling: Vec<PromptSend>,
    /// Completions to be handled before silence is success for those in `settling`.
    awaited: usize,
}

/// A stream and the number of its send, which tells whether it is still the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PromptSend {
    pub(crate) stream: SlotKey,
    pub(crate) number: u32,
}

impl PromptSends {
    pub(crate) fn push(&mut self, send: PromptSend) {
        self.fresh.push(send);
    }

    /// Whether none is listed.
    pub(crate) const fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.settling.is_empty()
    }

    /// Everything pushed so far has been submitted, and `completions_count` wait to be handled.
    pub(crate) fn submitted(&mut self, completions_count: usize) {
        if self.settling.is_empty() {
            std::mem::swap(&mut self.fresh, &mut self.settling);
            self.awaited = completions_count;
        }
    }

    /// The next `count` completions have been handled.
    pub(crate) fn handled(&mut self, count: usize) {
        self.awaited = self.awaited.saturating_sub(count);
    }

    /// A send that was silent long enough.
    pub(crate) fn pop_settled(&mut self) -> Option<PromptSend> {
        if self.awaited == 0 { self.settling.pop() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(number: u32) -> PromptSend {
        PromptSend { stream: SlotKey { index: 0, generation: 0 }, number }
    }

    #[test]
    fn a_send_settles_after_the_completions_that_could_be_its_own() {
        let mut sends = PromptSends::default();
        sends.push(send(1));
        assert_eq!(sends.pop_settled(), None, "it is not submitted");
        sends.submitted(3);
        sends.handled(2);
        assert_eq!(sends.pop_settled(), None);
        sends.handled(1);
        assert_eq!(sends.pop_settled(), Some(send(1)));
        assert!(sends.is_empty());
    }

    #[test]
    fn later_sends_do_not_hold_up_earlier_ones() {
        let mut sends = PromptSends::default();
        sends.push(send(1));
        sends.submitted(2);
        sends.push(send(2));
        sends.handled(1);
        sends.submitted(5);
        sends.handled(1);
        assert_eq!(sends.pop_settled(), Some(send(1)));
        assert_eq!(sends.pop_settled(), None);
        sends.submitted(4);
        sends.handled(4);
        assert_eq!(sends.pop_settled(), Some(send(2)));
    }
}
