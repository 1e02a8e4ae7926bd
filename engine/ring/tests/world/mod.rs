//! A ring with peers, for tests.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bateria_ring::{Event, Ring, RingConfig, StreamId, StreamLimits, Token, Wait};

pub(crate) struct World {
    pub(crate) ring: Ring,
}

/// No test waits longer for something that should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

impl World {
    pub(crate) fn new() -> Self {
        Self::with(&RingConfig::default())
    }

    pub(crate) fn with(config: &RingConfig) -> Self {
        Self { ring: Ring::new(config).expect("io_uring works here") }
    }

    /// A stream of the ring and its other end.
    pub(crate) fn stream(&mut self, limits: StreamLimits) -> (StreamId, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("descriptors are left");
        (self.ring.open_stream(ours.into(), Token(0), limits).expect("it is a socket"), theirs)
    }

    /// Turns until `pick` takes an event.
    pub(crate) fn until<T>(&mut self, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            while let Some(event) = self.ring.next_event() {
                if let Some(picked) = pick(event) {
                    return picked;
                }
            }
            assert!(Instant::now() < end, "it happens in time: {:?}", self.ring);
            self.ring.turn(Wait::Until(end)).expect("the ring goes on");
        }
    }

    /// Turns until at least `count` bytes have arrived on one stream.
    pub(crate) fn received(&mut self, count: usize) -> (StreamId, Vec<u8>) {
        let mut all = Vec::new();
        self.until(|event| {
            let Event::Received { stream, buffer, .. } = event else { panic!("{event:?}") };
            all.extend_from_slice(&buffer);
            (all.len() >= count).then(|| (stream, std::mem::take(&mut all)))
        })
    }

    /// Turns until the stream's last event, and gives its error.
    pub(crate) fn closed(&mut self, stream: StreamId) -> Option<io::Error> {
        self.until(|event| match event {
            Event::Closed { stream: closed, error, .. } if closed == stream => Some(error),
            Event::Received { .. } => panic!("input of a closed stream is forgotten"),
            _ => None,
        })
    }
}

/// Bytes that show when they are out of place.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    (0..=u8::MAX)
        .cycle()
        .enumerate()
        .map(|(at, byte)| byte ^ (at >> 12).to_le_bytes()[0])
        .take(count)
        .collect()
}

pub(crate) fn raise_descriptor_limit(wanted: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted as u64) {
        let wanted = Rlimit { current: Some(wanted as u64), maximum: limit.maximum };
        setrlimit(Resource::Nofile, wanted).expect("the hard limit allows 20000 descriptors");
    }
}

/// Wakes up to `count` waiters of a shared futex; tells how many there were.
pub(crate) fn wake(word: &std::sync::atomic::AtomicU32, count: u32) -> usize {
    rustix::thread::futex::wake(word, rustix::thread::futex::Flags::empty(), count)
        .expect("a word that is ours")
}
