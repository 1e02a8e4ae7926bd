//! A listener without descriptors rests and goes on. Alone in its process, whose limit it lowers.

mod world;

use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use bateria_ring::{Event, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use world::World;

#[test]
fn a_listener_out_of_descriptors_rests_and_goes_on() {
    let mut world = World::new();
    let name = format!("bateria-ring-descriptors-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let clients: Vec<_> = (0..3).map(|_| UnixStream::connect_addr(&address).unwrap()).collect();
    world.ring.listen(listener.into(), Token(0));

    let limit = getrlimit(Resource::Nofile);
    let highest = clients.iter().map(|client| client.as_raw_fd().unsigned_abs()).max().unwrap();
    let lowered = Rlimit { current: Some(u64::from(highest) + 2), maximum: limit.maximum };
    setrlimit(Resource::Nofile, lowered).unwrap();

    let (mut accepted, mut rests) = (Vec::new(), 0);
    world.until(|event| {
        match event {
            Event::Accepted { fd, .. } => accepted.push(fd),
            Event::AcceptFailed { retry_in, error, .. } => {
                assert!(retry_in.is_some());
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                rests += 1;
                setrlimit(Resource::Nofile, limit).unwrap();
            }
            other => panic!("{other:?}"),
        }
        (accepted.len() == clients.len()).then_some(())
    });
    assert_eq!(rests, 1);
}
