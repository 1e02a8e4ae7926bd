//! Listeners, connects, exact receives and watches.

mod world;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use bateria_ring::{Event, SockAddr, StreamLimits, Token, Wait};
use socket2::{Domain, Socket, Type};
use world::{PATIENCE, World};

fn tcp_listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is up");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

#[test]
fn tcp_connections_are_accepted_and_made_by_the_ring() {
    let mut world = World::new();
    let (listener, address) = tcp_listener();
    let listener = world.ring.listen(listener.into(), Token(1));
    let bind = SockAddr::from("127.0.0.1:0".parse::<SocketAddr>().unwrap());
    let connect =
        world.ring.connect(&SockAddr::from(address), Some(&bind), Token(2), PATIENCE).unwrap();
    let (mut accepted, mut connected) = (None, None);
    world.until(|event| {
        match event {
            Event::Accepted { listener: at, token: Token(1), fd } => {
                assert_eq!(at, listener);
                accepted = Some(fd);
            }
            Event::Connected { connect: of, token: Token(2), fd } => {
                assert_eq!(of, connect);
                connected = Some(fd);
            }
            other => panic!("{other:?}"),
        }
        (accepted.is_some() && connected.is_some()).then_some(())
    });
    let limits = StreamLimits::default();
    let one = world.ring.open_stream(connected.unwrap(), Token(3), limits).unwrap();
    world.ring.open_stream(accepted.unwrap(), Token(4), limits).unwrap();
    world.ring.send(one, b"across").unwrap();
    assert_eq!(world.received(6).1, b"across");
}

#[test]
fn a_closed_listener_accepts_no_more() {
    let mut world = World::new();
    let (listener, address) = tcp_listener();
    let listener = world.ring.listen(listener.into(), Token(0));
    let first = TcpStream::connect(address).unwrap();
    world.until(|event| matches!(event, Event::Accepted { .. }).then_some(()));
    world.ring.close_listener(listener);
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < end);
        world.ring.turn(Wait::No).unwrap();
        assert!(world.ring.next_event().is_none());
    }
    drop(first);
}

#[test]
fn a_refused_connection_says_so() {
    let mut world = World::new();
    let (listener, address) = tcp_listener();
    drop(listener);
    world.ring.connect(&SockAddr::from(address), None, Token(5), PATIENCE).unwrap();
    world.until(|event| match event {
        Event::ConnectFailed { token: Token(5), error, .. } => {
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            Some(())
        }
        other => panic!("{other:?}"),
    });
}

/// A listening socket whose backlog is full: further connects get no answer.
fn deaf_listener() -> (Socket, SockAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("descriptors are left");
    let any_port = SockAddr::from("127.0.0.1:0".parse::<SocketAddr>().expect("an address"));
    socket.bind(&any_port).expect("loopback is up");
    socket.listen(0).expect("it is bound");
    let address = socket.local_addr().expect("it is bound");
    (socket, address)
}

#[test]
fn a_connect_that_gets_no_answer_times_out() {
    let mut world = World::new();
    let (_deaf, address) = deaf_listener();
    let timeout = Duration::from_millis(50);
    for attempt in 0..4 {
        world.ring.connect(&address, None, Token(attempt), timeout).unwrap();
    }
    let (mut timed_out, mut connected) = (0, Vec::new());
    world.until(|event| {
        match event {
            Event::Connected { fd, .. } => connected.push(fd),
            Event::ConnectFailed { error, .. } => {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                timed_out += 1;
            }
            other => panic!("{other:?}"),
        }
        (timed_out + connected.len() == 4).then_some(())
    });
    assert!(timed_out > 0, "the backlog takes one or two");
}

#[test]
fn a_cancelled_connect_ends_with_its_one_event() {
    let mut world = World::new();
    let (_deaf, address) = deaf_listener();
    let attempts: Vec<_> =
        (0..4).map(|_| world.ring.connect(&address, None, Token(0), PATIENCE).unwrap()).collect();
    world.ring.turn(Wait::No).unwrap();
    attempts.iter().for_each(|&attempt| world.ring.cancel_connect(attempt));
    let mut ended = Vec::new();
    world.until(|event| {
        match event {
            Event::Connected { connect, .. } => ended.push(connect),
            Event::ConnectFailed { connect, error, .. } => {
                assert_eq!(error.kind(), ErrorKind::Interrupted);
                ended.push(connect);
            }
            other => panic!("{other:?}"),
        }
        (ended.len() == attempts.len()).then_some(())
    });
    ended.sort_unstable();
    ended.dedup();
    assert_eq!(ended.len(), attempts.len());
}

#[test]
fn a_ring_dropped_while_it_connects_and_receives_lets_go_at_once() {
    let mut world = World::new();
    let (_deaf, address) = deaf_listener();
    for _ in 0..4 {
        world.ring.connect(&address, None, Token(0), PATIENCE).unwrap();
    }
    let (ours, _theirs) = UnixStream::pair().unwrap();
    world.ring.receive_exactly(ours.into(), 8, Token(0), PATIENCE).unwrap();
    let (listener, accepting) = tcp_listener();
    world.ring.listen(listener.into(), Token(0));
    let _waits = TcpStream::connect(accepting).unwrap();
    world.ring.turn(Wait::No).unwrap();
    let dropping = Instant::now();
    drop(world);
    assert!(dropping.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_greeting_is_read_to_the_byte_and_the_rest_left_for_the_next() {
    let mut world = World::new();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    world.ring.receive_exactly(ours.into(), 8, Token(9), PATIENCE).unwrap();
    theirs.write_all(b"gree").unwrap();
    world.ring.turn(Wait::No).unwrap();
    world.ring.turn(Wait::No).unwrap();
    theirs.write_all(b"tingand what follows").unwrap();
    let (fd, bytes) = world.until(|event| match event {
        Event::ReceivedExactly { token: Token(9), fd, bytes, .. } => Some((fd, bytes)),
        other => panic!("{other:?}"),
    });
    assert_eq!(bytes, b"greeting");
    let mut other = World::new();
    other.ring.open_stream(fd, Token(0), StreamLimits::default()).unwrap();
    assert_eq!(other.received(1).1, b"and what follows");
}

#[test]
fn a_greeting_that_does_not_come_fails() {
    let mut world = World::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let timeout = Duration::from_millis(10);
    world.ring.receive_exactly(ours.into(), 8, Token(0), timeout).unwrap();
    let failure = |event| match event {
        Event::ReceiveFailed { error, .. } => Some(error.kind()),
        other => panic!("{other:?}"),
    };
    assert_eq!(world.until(failure), ErrorKind::TimedOut);
    drop(theirs);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    world.ring.receive_exactly(ours.into(), 8, Token(0), PATIENCE).unwrap();
    theirs.write_all(b"half").unwrap();
    drop(theirs);
    assert_eq!(world.until(failure), ErrorKind::UnexpectedEof);
}

#[test]
fn a_watched_pipe_reports_each_arrival_and_its_end() {
    let mut world = World::new();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let watch = world.ring.watch(&reader, Token(4)).unwrap();
    for _ in 0..3 {
        writer.write_all(b"x").unwrap();
        world.until(|event| match event {
            Event::Readable { watch: of, token: Token(4), hung_up: false } => {
                assert_eq!(of, watch);
                Some(())
            }
            other => panic!("{other:?}"),
        });
        reader.read_exact(&mut [0]).unwrap();
    }
    drop(writer);
    world.until(|event| matches!(event, Event::Readable { hung_up: true, .. }).then_some(()));
    world.ring.unwatch(watch);
    world.ring.turn(Wait::No).unwrap();
    world.ring.turn(Wait::No).unwrap();
    assert!(world.ring.next_event().is_none());
}

#[test]
fn a_unix_listener_serves_many_clients() {
    let mut world = World::new();
    let name = format!("bateria-ring-many-{}", std::process::id());
    let address = {
        use std::os::linux::net::SocketAddrExt;
        std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap()
    };
    let listener = UnixListener::bind_addr(&address).unwrap();
    world.ring.listen(listener.into(), Token(0));
    let client = std::thread::spawn(move || {
        for _ in 0..100 {
            let mut stream = UnixStream::connect_addr(&address).unwrap();
            stream.write_all(b"hello").unwrap();
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).unwrap();
        }
    });
    let mut closed = 0;
    while closed < 100 {
        world.ring.turn(Wait::Until(Instant::now() + PATIENCE)).unwrap();
        while let Some(event) = world.ring.next_event() {
            match event {
                Event::Accepted { fd, .. } => {
                    world.ring.open_stream(fd, Token(0), StreamLimits::default()).unwrap();
                }
                Event::Received { stream, buffer, .. } => {
                    world.ring.send(stream, &buffer).unwrap();
                }
                Event::Closed { error, .. } => {
                    assert!(error.is_none_or(|error| error.kind() == ErrorKind::ConnectionReset));
                    closed += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    client.join().unwrap();
}
