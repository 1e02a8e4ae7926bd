//! Everything at once, in random order, from a seed.

mod world;

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bateria_ring::{Event, RingConfig, StreamId, StreamLimits, Wait};
use world::{PATIENCE, World, pattern};

/// A small generator with a fixed sequence (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let wide = u128::from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)) * bound as u128;
        usize::try_from(wide >> 64).expect("below the bound")
    }
}

/// What must hold of one stream: each side has a prefix of what the other sent.
#[derive(Debug, Default)]
struct Model {
    peer: Option<UnixStream>,
    peer_sent: usize,
    peer_received: usize,
    our_sent: usize,
    our_received: usize,
    /// We asked for the end, and whether what was queued has to arrive.
    flushes: bool,
    forgets: bool,
    has_ended: bool,
}

struct Chaos {
    world: World,
    chance: Chance,
    bytes: Vec<u8>,
    streams: HashMap<StreamId, Model>,
    ended_count: usize,
}

impl Chaos {
    fn open(&mut self) {
        let limits = StreamLimits {
            send_queue_bytes_max: 300_000,
            send_queue_bytes_low: 50_000,
            close_flush_max: PATIENCE,
        };
        let (stream, peer) = self.world.stream(limits);
        peer.set_nonblocking(true).expect("it is a socket");
        self.streams.insert(stream, Model { peer: Some(peer), ..Model::default() });
    }

    fn any(&mut self) -> Option<StreamId> {
        let mut streams: Vec<_> = self.streams.keys().copied().collect();
        streams.sort_unstable();
        (!streams.is_empty()).then(|| streams[self.chance.below(streams.len())])
    }

    fn act(&mut self) {
        let (action, amount) = (self.chance.below(100), 1 + self.chance.below(40_000));
        let Some(stream) = self.any() else { return self.open() };
        let ring = &mut self.world.ring;
        let model = self.streams.get_mut(&stream).expect("it is one of them");
        match action {
            0..30 => {
                let next =
                    &self.bytes[model.our_sent..][..amount.min(self.bytes.len() - model.our_sent)];
                if ring.send(stream, next).is_ok() {
                    model.our_sent += next.len();
                }
            }
            30..55 => model.peer_sends(&self.bytes, amount),
            55..80 => model.peer_receives(&self.bytes, amount),
            80..84 => ring.pause_receive(stream),
            84..90 => ring.resume_receive(stream),
            90..92 => ring.tell_when_drained(stream),
            92 => {
                ring.close(stream);
                model.flushes = !model.has_ended && !model.forgets;
                model.forgets = true;
            }
            93 => {
                ring.abort(stream);
                model.flushes = false;
                model.forgets = true;
            }
            94 => ring.detach(stream),
            95 => model.peer = None,
            _ if self.streams.len() < 40 => self.open(),
            _ => {}
        }
    }

    fn turn(&mut self, wait: Wait) {
        self.world.ring.turn(wait).expect("the ring goes on");
        while let Some(event) = self.world.ring.next_event() {
            match event {
                Event::Received { stream, buffer, .. } => {
                    let model = self.streams.get_mut(&stream).expect("it has not ended");
                    assert!(!model.forgets, "input of a closed stream is forgotten");
                    let expected = &self.bytes[model.our_received..][..buffer.len()];
                    assert!(buffer.as_slice() == expected, "bytes in their order");
                    model.our_received += buffer.len();
                    assert!(model.our_received <= model.peer_sent);
                }
                // It tells of the moment it was queued; more may have collected since.
                Event::Drained { .. } => {}
                Event::Closed { stream, .. } => self.end(stream, None),
                Event::Detached { stream, fd, .. } => self.end(stream, Some(fd.into())),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The stream's one last event has come.
    fn end(&mut self, stream: StreamId, detached: Option<UnixStream>) {
        let mut model = self.streams.remove(&stream).expect("it ends once");
        self.ended_count += 1;
        model.has_ended = true;
        let must_arrive = detached.is_some() || model.flushes && model.peer.is_some();
        if let Some(mut socket) = detached
            && model.peer.is_some()
        {
            // What the ring has not received is still in the socket.
            socket.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
            let mut rest = vec![0; model.peer_sent - model.our_received];
            socket.read_exact(&mut rest).expect("no byte is lost");
            assert!(rest == self.bytes[model.our_received..model.peer_sent]);
        }
        if must_arrive && model.peer.is_some() {
            while model.peer_received < model.our_sent {
                let before = model.peer_received;
                model.peer_receives(&self.bytes, usize::MAX);
                assert!(model.peer_received > before, "all that was queued has arrived");
            }
        }
        assert!(model.peer_received <= model.our_sent);
    }
}

impl Model {
    fn peer_sends(&mut self, bytes: &[u8], amount: usize) {
        let Some(peer) = &mut self.peer else { return };
        let amount = amount.min(bytes.len() - self.peer_sent);
        match peer.write(&bytes[self.peer_sent..][..amount]) {
            Ok(count) => self.peer_sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => {}
        }
    }

    fn peer_receives(&mut self, bytes: &[u8], amount: usize) {
        let Some(peer) = &mut self.peer else { return };
        let mut piece = vec![0; amount.min(100_000)];
        if let Ok(count) = peer.read(&mut piece) {
            let expected = &bytes[self.peer_received..][..count];
            assert!(&piece[..count] == expected, "bytes in their order");
            self.peer_received += count;
        }
    }
}

/// How many histories to try; more of them for a long run.
fn seeds_count() -> u64 {
    std::env::var("BATERIA_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(12)
}

#[test]
fn random_histories_keep_every_promise() {
    for seed in 1..=seeds_count() {
        let config = RingConfig {
            entries: 16,
            completions: 32,
            buffers_count: 16,
            buffer_size_bytes: 4096,
            completions_per_turn_max: 7,
            ..RingConfig::default()
        };
        println!("seed {seed}");
        let mut chaos = Chaos {
            world: World::with(&config),
            chance: Chance(seed),
            bytes: pattern(1 << 20),
            streams: HashMap::new(),
            ended_count: 0,
        };
        for _ in 0..6_000 {
            chaos.act();
            if chaos.chance.below(3) == 0 {
                chaos.turn(Wait::No);
            }
        }
        // Then everything heals: readers read, and whoever was asked to end does.
        let end = Instant::now() + PATIENCE;
        for stream in chaos.streams.keys().copied().collect::<Vec<_>>() {
            chaos.world.ring.resume_receive(stream);
            chaos.world.ring.close(stream);
            let model = chaos.streams.get_mut(&stream).expect("it is one of them");
            model.flushes = !model.forgets;
            model.forgets = true;
        }
        while !chaos.streams.is_empty() {
            assert!(Instant::now() < end, "seed {seed}: {:?}", chaos.world.ring);
            for model in chaos.streams.values_mut() {
                model.peer_receives(&chaos.bytes, usize::MAX);
            }
            chaos.turn(Wait::Until(Instant::now() + Duration::from_millis(1)));
        }
        assert_eq!(chaos.world.ring.streams_count(), 0);
        assert!(chaos.ended_count > 0);
        let dropping = Instant::now();
        drop(chaos);
        assert!(dropping.elapsed() < Duration::from_secs(2), "the ring lets go at once");
    }
}

#[test]
fn a_ring_dropped_at_any_moment_lets_go_at_once() {
    for seed in 100..140 {
        let mut chaos = Chaos {
            world: World::new(),
            chance: Chance(seed),
            bytes: pattern(1 << 20),
            streams: HashMap::new(),
            ended_count: 0,
        };
        for _ in 0..200 + 10 * chaos.chance.below(20) {
            chaos.act();
            if chaos.chance.below(5) == 0 {
                chaos.turn(Wait::No);
            }
        }
        let dropping = Instant::now();
        drop(chaos.world);
        assert!(dropping.elapsed() < Duration::from_secs(2), "seed {seed}");
    }
}
