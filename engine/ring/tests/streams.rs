//! Streams over real sockets.

mod world;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bateria_ring::{Event, RingConfig, SendRefused, StreamLimits, Token, Wait};
use world::{World, pattern};

#[test]
fn bytes_come_back_from_an_echo() {
    let mut world = World::new();
    let (stream, mut peer) = world.stream(StreamLimits::default());
    peer.write_all(b"question").unwrap();
    let (_, bytes) = world.received(1);
    assert_eq!(bytes, b"question");
    world.ring.send(stream, b"answer").unwrap();
    world.ring.turn(Wait::No).unwrap();
    let mut answer = [0; 6];
    peer.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"answer");
}

#[test]
fn frames_of_one_turn_travel_together() {
    let mut world = World::new();
    let (stream, mut peer) = world.stream(StreamLimits::default());
    world.ring.send(stream, b"one ").unwrap();
    world.ring.send_buffer(stream).unwrap().extend_from_slice(b"two ");
    world.ring.send(stream, b"three").unwrap();
    assert_eq!(world.ring.queued_bytes(stream), 13);
    world.ring.turn(Wait::No).unwrap();
    let mut bytes = [0; 64];
    assert_eq!(peer.read(&mut bytes).unwrap(), 13);
    assert_eq!(&bytes[..13], b"one two three");
}

#[test]
fn a_slow_reader_gets_everything_in_order() {
    let mut world = World::new();
    let limits = StreamLimits { send_queue_bytes_max: 1 << 20, ..StreamLimits::default() };
    let (stream, mut peer) = world.stream(limits);
    let total = 8 << 20;
    let reader = std::thread::spawn(move || {
        let (mut all, mut piece) = (Vec::new(), vec![0; 10_007]);
        while all.len() < total {
            let count = peer.read(&mut piece).unwrap();
            assert_ne!(count, 0, "the stream stays open");
            all.extend_from_slice(&piece[..count]);
            if all.len() % 7 == 0 {
                std::thread::yield_now();
            }
        }
        all
    });
    let (bytes, mut sent, mut refusals, mut drains) = (pattern(total), 0, 0, 0);
    while sent < total {
        let end = (sent + 70_001).min(total);
        match world.ring.send(stream, &bytes[sent..end]) {
            Ok(()) => {
                sent = end;
                world.ring.turn(Wait::No).unwrap();
            }
            Err(SendRefused::QueueFull { queued_bytes, max_bytes }) => {
                assert!(queued_bytes <= max_bytes);
                refusals += 1;
                world.until(|event| matches!(event, Event::Drained { .. }).then_some(()));
                drains += 1;
            }
            Err(SendRefused::Closed) => panic!("the stream stays open"),
        }
    }
    while world.ring.queued_bytes(stream) > 0 {
        world.ring.turn(Wait::Until(Instant::now() + Duration::from_millis(100))).unwrap();
    }
    assert!(reader.join().unwrap() == bytes, "every byte in its place");
    assert_eq!(refusals, drains);
    assert!(refusals > 0, "the reader was slow");
}

#[test]
fn an_empty_queue_takes_a_frame_of_any_size() {
    let mut world = World::new();
    let limits = StreamLimits { send_queue_bytes_max: 10, ..StreamLimits::default() };
    let (stream, _peer) = world.stream(limits);
    world.ring.send(stream, &[1; 100]).unwrap();
    assert_eq!(
        world.ring.send(stream, &[1]),
        Err(SendRefused::QueueFull { queued_bytes: 100, max_bytes: 10 })
    );
}

#[test]
fn close_sends_what_is_queued_first() {
    let mut world = World::new();
    let (stream, mut peer) = world.stream(StreamLimits::default());
    let bytes = pattern(3 << 20);
    world.ring.send(stream, &bytes).unwrap();
    world.ring.close(stream);
    assert_eq!(world.ring.send(stream, b"more"), Err(SendRefused::Closed));
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        all
    });
    assert!(world.closed(stream).is_none());
    assert!(reader.join().unwrap() == bytes);
    assert_eq!(world.ring.streams_count(), 0);
}

#[test]
fn closing_to_a_reader_that_does_not_read_is_bounded_by_time() {
    let mut world = World::new();
    let close_flush_max = Duration::from_millis(50);
    let limits = StreamLimits { close_flush_max, ..StreamLimits::default() };
    let (stream, _peer) = world.stream(limits);
    world.ring.send(stream, &pattern(4 << 20)).unwrap();
    let start = Instant::now();
    world.ring.close(stream);
    let error = world.closed(stream).expect("not all was sent");
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert!(start.elapsed() >= close_flush_max);
}

#[test]
fn abort_drops_what_is_queued_and_says_so_once() {
    let mut world = World::new();
    let (stream, mut peer) = world.stream(StreamLimits::default());
    world.ring.send(stream, &pattern(4 << 20)).unwrap();
    world.ring.turn(Wait::No).unwrap();
    peer.write_all(b"too late").unwrap();
    world.ring.abort(stream);
    world.ring.abort(stream);
    world.ring.close(stream);
    assert!(world.closed(stream).is_none());
    world.ring.turn(Wait::No).unwrap();
    assert!(world.ring.next_event().is_none());
    assert_eq!(world.ring.queued_bytes(stream), 0);
    let mut rest = Vec::new();
    let _ = peer.read_to_end(&mut rest);
    assert!(rest.len() < 4 << 20);
}

#[test]
fn what_the_peer_sent_before_it_closed_is_reported_before_the_end() {
    let mut world = World::new();
    let (stream, mut peer) = world.stream(StreamLimits::default());
    let bytes = pattern(100_000);
    peer.write_all(&bytes).unwrap();
    drop(peer);
    let mut all = Vec::new();
    world.until(|event| match event {
        Event::Received { buffer, .. } => {
            all.extend_from_slice(&buffer);
            None
        }
        Event::Closed { stream: closed, error, .. } => {
            assert_eq!(closed, stream);
            assert!(error.is_none());
            Some(())
        }
        other => panic!("{other:?}"),
    });
    assert!(all == bytes);
}

#[test]
fn a_flush_goes_on_when_the_peer_only_stops_sending() {
    let mut world = World::new();
    let (stream, mut peer) = world.stream(StreamLimits::default());
    let bytes = pattern(2 << 20);
    world.ring.send(stream, &bytes).unwrap();
    world.ring.close(stream);
    peer.shutdown(Shutdown::Write).unwrap();
    world.ring.turn(Wait::No).unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        all
    });
    assert!(world.closed(stream).is_none());
    assert!(reader.join().unwrap() == bytes);
}

#[test]
fn a_paused_stream_receives_nothing_until_it_resumes() {
    let mut world = World::new();
    let (stream, mut peer) = world.stream(StreamLimits::default());
    world.ring.turn(Wait::No).unwrap();
    world.ring.pause_receive(stream);
    world.ring.turn(Wait::No).unwrap();
    world.ring.turn(Wait::No).unwrap();
    peer.write_all(b"later").unwrap();
    for _ in 0..5 {
        world.ring.turn(Wait::Until(Instant::now() + Duration::from_millis(2))).unwrap();
        assert!(world.ring.next_event().is_none());
    }
    world.ring.resume_receive(stream);
    assert_eq!(world.received(1).1, b"later");
    // Back and forth within one turn leaves it receiving.
    world.ring.pause_receive(stream);
    world.ring.resume_receive(stream);
    peer.write_all(b"again").unwrap();
    assert_eq!(world.received(1).1, b"again");
}

#[test]
fn exhausted_buffers_delay_bytes_but_lose_none() {
    let config = RingConfig { buffers_count: 4, buffer_size_bytes: 64, ..RingConfig::default() };
    let mut world = World::with(&config);
    let mut peers = Vec::new();
    for _ in 0..8 {
        peers.push(world.stream(StreamLimits::default()));
    }
    for (at, (_, peer)) in (0_u8..).zip(&mut peers) {
        peer.write_all(&[at; 1000]).unwrap();
    }
    let mut held = Vec::new();
    let mut counts = [0; 8];
    world.until(|event| {
        let Event::Received { buffer, .. } = event else { panic!("{event:?}") };
        counts[usize::from(buffer[0])] += buffer.len();
        held.push(buffer);
        if held.len() == 4 {
            held.clear();
        }
        (counts == [1000; 8]).then_some(())
    });
}

#[test]
fn a_detached_stream_loses_no_byte() {
    let mut world = World::new();
    let (stream, mut peer) = world.stream(StreamLimits::default());
    let bytes = pattern(64_000);
    let writer = {
        let bytes = bytes.clone();
        std::thread::spawn(move || {
            for piece in bytes.chunks(999) {
                peer.write_all(piece).unwrap();
            }
            peer
        })
    };
    let mut all = world.received(1).1;
    world.ring.send(stream, b"bye").unwrap();
    world.ring.detach(stream);
    let fd = world.until(|event| match event {
        Event::Received { buffer, .. } => {
            all.extend_from_slice(&buffer);
            None
        }
        Event::Detached { fd, .. } => Some(fd),
        other => panic!("{other:?}"),
    });
    let mut rest = vec![0; bytes.len() - all.len()];
    UnixStream::from(fd).read_exact(&mut rest).unwrap();
    all.extend_from_slice(&rest);
    assert!(all == bytes);
    let mut bye = [0; 3];
    writer.join().unwrap().read_exact(&mut bye).unwrap();
    assert_eq!(&bye, b"bye");
}

#[test]
fn an_identifier_of_a_closed_stream_names_nothing() {
    let mut world = World::new();
    let (old, _peer) = world.stream(StreamLimits::default());
    world.ring.abort(old);
    world.closed(old);
    let (new, mut peer) = world.stream(StreamLimits::default());
    assert_ne!(old, new);
    assert_eq!(world.ring.send(old, b"stray"), Err(SendRefused::Closed));
    world.ring.abort(old);
    world.ring.pause_receive(old);
    peer.write_all(b"alive").unwrap();
    let (stream, bytes) = world.received(1);
    assert_eq!((stream, bytes.as_slice()), (new, &b"alive"[..]));
}

#[test]
fn a_turn_handles_a_bounded_count_of_completions() {
    let config = RingConfig { completions_per_turn_max: 3, ..RingConfig::default() };
    let mut world = World::with(&config);
    let mut peers: Vec<_> = (0..10).map(|_| world.stream(StreamLimits::default())).collect();
    for (_, peer) in &mut peers {
        peer.write_all(b"x").unwrap();
    }
    let mut total = 0;
    while total < 10 {
        world.ring.turn(Wait::Until(Instant::now() + Duration::from_secs(5))).unwrap();
        let mut of_this_turn = 0;
        while let Some(event) = world.ring.next_event() {
            assert!(matches!(event, Event::Received { .. }));
            of_this_turn += 1;
        }
        assert!(of_this_turn <= 3);
        total += of_this_turn;
    }
}

#[test]
fn operations_beyond_the_submission_queue_wait_their_turn() {
    let config = RingConfig { entries: 8, completions: 16, ..RingConfig::default() };
    let mut world = World::with(&config);
    let mut peers: Vec<_> = (0..200).map(|_| world.stream(StreamLimits::default())).collect();
    for (stream, _) in &peers {
        world.ring.send(*stream, b"hello").unwrap();
    }
    for (_, peer) in &mut peers {
        peer.write_all(b"x").unwrap();
    }
    let mut count = 0;
    world.until(|event| {
        assert!(matches!(event, Event::Received { .. }));
        count += 1;
        (count == 200).then_some(())
    });
    for (_, peer) in &mut peers {
        let mut hello = [0; 5];
        peer.read_exact(&mut hello).unwrap();
    }
    for (stream, _) in &peers {
        world.ring.abort(*stream);
    }
    let mut count = 0;
    world.until(|event| {
        assert!(matches!(event, Event::Closed { .. }));
        count += 1;
        (count == 200).then_some(())
    });
}

#[test]
fn a_ring_dropped_in_the_middle_of_everything_lets_go() {
    let mut world = World::new();
    let (stream, mut peer) = world.stream(StreamLimits::default());
    let (_idle, _other) = world.stream(StreamLimits::default());
    world.ring.send(stream, &pattern(4 << 20)).unwrap();
    peer.write_all(b"unread").unwrap();
    world.ring.turn(Wait::No).unwrap();
    let kept = world.until(|event| match event {
        Event::Received { buffer, .. } => Some(buffer),
        _ => None,
    });
    drop(world);
    assert_eq!(kept.as_slice(), b"unread");
    let mut rest = Vec::new();
    let _ = peer.read_to_end(&mut rest);
    assert!(rest.len() < 4 << 20);
}

#[test]
fn ten_thousand_streams_at_once() {
    const PAIRS: usize = 5_000;
    world::raise_descriptor_limit(2 * PAIRS + 100);
    let mut world = World::new();
    let mut streams = Vec::new();
    for at in 0..PAIRS as u64 {
        let (one, other) = UnixStream::pair().unwrap();
        for (token, end) in [(2 * at, one), (2 * at + 1, other)] {
            let limits = StreamLimits::default();
            streams.push(world.ring.open_stream(end.into(), Token(token), limits).unwrap());
        }
    }
    for (at, stream) in (0_u64..).zip(&streams) {
        world.ring.send(*stream, &at.to_le_bytes()).unwrap();
    }
    let mut heard = vec![false; 2 * PAIRS];
    let mut count = 0;
    world.until(|event| {
        let Event::Received { token, buffer, .. } = event else { panic!("{event:?}") };
        let from = u64::from_le_bytes(buffer.as_slice().try_into().unwrap());
        assert_eq!(from, token.0 ^ 1, "each end hears its other end");
        assert!(!std::mem::replace(&mut heard[usize::try_from(token.0).unwrap()], true));
        count += 1;
        (count == 2 * PAIRS).then_some(())
    });
    streams.iter().step_by(2).for_each(|&stream| world.ring.close(stream));
    let mut count = 0;
    world.until(|event| {
        assert!(matches!(event, Event::Closed { .. }), "{event:?}");
        count += 1;
        (count == 2 * PAIRS).then_some(())
    });
    assert_eq!(world.ring.streams_count(), 0);
}
