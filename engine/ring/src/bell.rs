//! Who may sleep and who must wake whom: the state behind a doorbell.

use std::sync::atomic::{AtomicU32, Ordering, fence};

/// One word that the sleeper and everyone who rings share.
///
/// ```text
///             ring: no call            doze
///      RUNG <--------------- AWAKE ---------------> ASLEEP
///        |                    ^ ^                     |  |
///        +---- take: look ----+ +------- wake up -----+  | ring: wake the sleeper
///        ^                                               |
///        +-----------------------------------------------+
/// ```
///
/// Rule of the ringer: first publish (push into the channel), then [`ring`](Self::ring). Rule of
/// the sleeper: look at everything published after [`take`](Self::take) said `true`, and sleep
/// only after [`doze`](Self::doze) said `true`.
///
/// No wake-up is lost. All changes are read-modify-writes of one word, so they have one order. A
/// `ring` that comes before the sleeper's `doze` makes it fail. One that comes after it reads
/// `ASLEEP` and wakes. A `ring` that finds `RUNG` needs no write: the ringer's fence comes before
/// the sleeper's fence in the order of all fences, for else its load had seen what `take` wrote;
/// so what was published before the one is seen after the other.
#[derive(Debug)]
pub(crate) struct Bell<W = AtomicU32> {
    word: W,
}

/// The atomic operations that a bell needs; the standard ones, or those of a model checker.
pub(crate) trait Word {
    fn new(value: u32) -> Self;
    fn load_relaxed(&self) -> u32;
    fn swap(&self, value: u32) -> u32;
    fn compare_exchange(&self, current: u32, new: u32) -> bool;
    fn fence();
}

impl<W: Word> Bell<W> {
    pub(crate) fn new() -> Self {
        Self { word: W::new(AWAKE) }
    }

    /// Says that something was published. `true`: the owner sleeps, the caller must wake it.
    #[must_use]
    pub(crate) fn ring(&self) -> bool {
        // In a storm most find the bell rung: they share the word and write nothing.
        W::fence();
        self.word.load_relaxed() != RUNG && self.word.swap(RUNG) == ASLEEP
    }

    /// Whether somebody rang since the last time; the owner then looks at everything.
    #[must_use]
    pub(crate) fn take(&self) -> bool {
        if self.word.load_relaxed() != RUNG {
            return false;
        }
        self.word.swap(AWAKE);
        W::fence();
        true
    }

    /// Whether [`take`](Self::take) would say `true`; for a look while polling.
    pub(crate) fn is_rung(&self) -> bool {
        self.word.load_relaxed() == RUNG
    }

    /// Announces that the owner goes to sleep. `false`: somebody rang, it must not.
    #[must_use]
    pub(crate) fn doze(&self) -> bool {
        self.word.compare_exchange(AWAKE, ASLEEP)
    }

    /// The owner is back, for whatever reason.
    pub(crate) fn wake(&self) {
        // Fails when somebody rang: then it stays rung for `take`.
        self.word.compare_exchange(ASLEEP, AWAKE);
    }
}

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
const RUNG: u32 = 2;

impl Word for AtomicU32 {
    fn new(value: u32) -> Self {
        Self::new(value)
    }

    fn load_relaxed(&self) -> u32 {
        self.load(Ordering::Relaxed)
    }

    fn swap(&self, value: u32) -> u32 {
        self.swap(value, Ordering::AcqRel)
    }

    fn compare_exchange(&self, current: u32, new: u32) -> bool {
        self.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn fence() {
        fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU32 as ModelU32, Ordering, fence};

    use super::*;

    impl Word for ModelU32 {
        fn new(value: u32) -> Self {
            Self::new(value)
        }

        fn load_relaxed(&self) -> u32 {
            self.load(Ordering::Relaxed)
        }

        fn swap(&self, value: u32) -> u32 {
            self.swap(value, Ordering::AcqRel)
        }

        fn compare_exchange(&self, current: u32, new: u32) -> bool {
            self.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
        }

        fn fence() {
            fence(Ordering::SeqCst);
        }
    }

    /// What a ringer published: one word per ringer, written relaxed, so that only the bell orders
    /// it against the owner's look.
    struct World {
        bell: Bell<ModelU32>,
        published: Vec<ModelU32>,
        wake_calls: ModelU32,
    }

    /// Every interleaving of an owner that looks and then sleeps with `ringers` that publish: the
    /// owner has seen everything, or somebody was told to wake it.
    fn nothing_is_lost(ringers: usize, owner_turns: usize) {
        loom::model(move || {
            let world = Arc::new(World {
                bell: Bell::new(),
                published: (0..ringers).map(|_| ModelU32::new(0)).collect(),
                wake_calls: ModelU32::new(0),
            });
            let threads: Vec<_> = (0..ringers)
                .map(|ringer| {
                    let world = Arc::clone(&world);
                    loom::thread::spawn(move || {
                        world.published[ringer].store(1, Ordering::Relaxed);
                        if world.bell.ring() {
                            world.wake_calls.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();

            let mut seen = vec![false; ringers];
            let mut asleep = false;
            for _ in 0..owner_turns {
                if world.bell.take() {
                    for (seen, published) in seen.iter_mut().zip(&world.published) {
                        *seen |= published.load(Ordering::Relaxed) == 1;
                    }
                }
                if world.bell.doze() {
                    asleep = true;
                    break;
                }
            }
            for thread in threads {
                thread.join().unwrap();
            }
            let all_seen = seen.iter().all(|&seen| seen);
            let wake_calls = world.wake_calls.load(Ordering::Relaxed);
            assert!(wake_calls <= 1, "a sleeper is woken once");
            if asleep {
                assert!(all_seen || wake_calls == 1, "a sleeper misses nothing");
            } else {
                assert!(all_seen || world.bell.is_rung(), "an owner that is awake will look");
            }
        });
    }

    #[test]
    fn one_ringer_never_leaves_a_sleeper_unaware() {
        nothing_is_lost(1, 3);
    }

    #[test]
    fn two_ringers_never_leave_a_sleeper_unaware() {
        nothing_is_lost(2, 2);
    }

    #[test]
    fn a_ring_keeps_the_owner_from_sleeping_until_it_has_looked() {
        let bell: Bell = Bell::new();
        assert!(!bell.ring());
        assert!(!bell.doze());
        assert!(bell.take());
        assert!(!bell.take());
        assert!(bell.doze());
        assert!(bell.ring());
        bell.wake();
        assert!(bell.take());
    }
}
