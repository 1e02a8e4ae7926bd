//! Measures the ring on this machine.
//!
//! ```text
//! measure serve NAME              echo server on an abstract Unix socket, until its clients left
//! measure load NAME CLIENTS SECS  clients that each wait for their echo before the next question
//! measure doorbells               nanoseconds for a ring, awake and asleep
//! ```
//!
//! System calls per echo: run the server under `strace -c -f`.

use std::error::Error;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use bateria_ring::mailbox::{self, MailboxReceiver, MailboxSender};
use bateria_ring::{Event, Ring, RingConfig, StreamLimits, Token, Wait};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", name] => serve(name),
        ["load", name, clients, seconds] => load(name, clients.parse()?, seconds.parse()?),
        ["doorbells"] => doorbells(),
        _ => Err("say serve NAME, load NAME CLIENTS SECONDS, or doorbells".into()),
    }
}

fn serve(name: &str) -> Outcome<()> {
    let mut ring = Ring::new(&RingConfig::default())?;
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    ring.listen(listener.into(), Token(0));
    let (mut echoes, mut turns, mut clients) = (0_u64, 0_u64, 0);
    loop {
        ring.turn(Wait::Forever)?;
        turns += 1;
        while let Some(event) = ring.next_event() {
            match event {
                Event::Accepted { fd, .. } => {
                    ring.open_stream(fd, Token(0), StreamLimits::default())?;
                    clients += 1;
                }
                Event::Received { stream, buffer, .. } => {
                    ring.send(stream, &buffer)?;
                    echoes += 1;
                }
                Event::Closed { .. } => {
                    clients -= 1;
                    if clients == 0 {
                        println!("{echoes} echoes in {turns} turns");
                        return Ok(());
                    }
                }
                other => return Err(format!("unexpected {other:?}").into()),
            }
        }
    }
}

fn load(name: &str, clients: u32, seconds: u64) -> Outcome<()> {
    let mut ring = Ring::new(&RingConfig::default())?;
    let address = SocketAddr::from_abstract_name(name)?;
    let question = [7; 64];
    let mut asked = vec![Instant::now(); clients as usize];
    for client in 0..clients {
        let socket = UnixStream::connect_addr(&address)?;
        let token = Token(u64::from(client));
        let stream = ring.open_stream(socket.into(), token, StreamLimits::default())?;
        ring.send(stream, &question)?;
    }
    let start = Instant::now();
    let mut latencies_ns = Vec::new();
    while start.elapsed() < Duration::from_secs(seconds) {
        ring.turn(Wait::Forever)?;
        let now = Instant::now();
        while let Some(event) = ring.next_event() {
            let Event::Received { stream, token, buffer } = event else {
                return Err(format!("unexpected {event:?}").into());
            };
            assert_eq!(buffer.as_slice(), question, "an echo is what was said");
            let asked = &mut asked[usize::try_from(token.0)?];
            latencies_ns.push(now.duration_since(*asked).as_nanos());
            *asked = now;
            ring.send(stream, &question)?;
        }
    }
    let count = latencies_ns.len();
    latencies_ns.sort_unstable();
    let at_percent = |percent: usize| latencies_ns[(count - 1) * percent / 100] / 1000;
    println!(
        "{clients} clients: {} echoes/s, median {} us, p99 {} us",
        count as u128 * 1000 / start.elapsed().as_millis(),
        at_percent(50),
        at_percent(99)
    );
    Ok(())
}

fn doorbells() -> Outcome<()> {
    let ring = Ring::new(&RingConfig::default())?;
    let (doorbell, count) = (ring.doorbell(), 10_000_000);
    let start = Instant::now();
    (0..count).for_each(|_| doorbell.ring());
    println!("ring of one who is awake: {:.1} ns", per(start, count));

    let poll = Wait::Poll { for_at_most: Duration::from_micros(100), until: None };
    for (what, ring_messages, wait) in [
        ("asleep, by message", true, Wait::Forever),
        ("asleep, by eventfd", false, Wait::Forever),
        ("polling", true, poll),
    ] {
        let rounds = 100_000;
        println!("one way, {what}: {:.0} ns", ping_pong(ring_messages, wait, rounds)?);
    }
    knocks()
}

/// Nanoseconds from one ring's thread to the other's.
fn ping_pong(ring_messages: bool, wait: Wait, rounds: u32) -> Outcome<f64> {
    let config = RingConfig { ring_messages, ..RingConfig::default() };
    let (to_parent, from_child) = std::sync::mpsc::channel();
    let mut ring = Ring::new(&config)?;
    let doorbell = ring.doorbell();
    pin_to(0);
    let child = std::thread::spawn(move || -> Outcome<()> {
        pin_to(1);
        let mut ring = Ring::new(&config)?;
        let (back, inbox_of_parent) = mailbox::bounded::<u32>(4, doorbell);
        let (sender, inbox) = mailbox::bounded::<u32>(4, ring.doorbell());
        to_parent.send((sender, inbox_of_parent))?;
        play(&mut ring, &inbox, &back, wait, rounds)
    });
    let (sender, inbox) = from_child.recv()?;
    sender.try_send_from(&mut ring, 0)?;
    let start = Instant::now();
    play(&mut ring, &inbox, &sender, wait, rounds)?;
    let elapsed = per(start, rounds);
    child.join().expect("the child plays to the end")?;
    Ok(elapsed)
}

fn play(
    ring: &mut Ring,
    inbox: &MailboxReceiver<u32>,
    back: &MailboxSender<u32>,
    wait: Wait,
    rounds: u32,
) -> Outcome<()> {
    loop {
        ring.turn(wait)?;
        while ring.next_event().is_some() {
            while let Ok(number) = inbox.try_recv() {
                if number < rounds {
                    back.try_send_from(ring, number + 1)?;
                }
                if number + 1 >= rounds {
                    ring.turn(Wait::No)?;
                    return Ok(());
                }
            }
        }
    }
}

/// What the sender pays for waking a sleeper, apart from the sleeper's way back.
fn knocks() -> Outcome<()> {
    for ring_messages in [true, false] {
        let config = RingConfig { ring_messages, ..RingConfig::default() };
        let (to_parent, from_child) = std::sync::mpsc::channel();
        let child = std::thread::spawn(move || -> Outcome<()> {
            pin_to(1);
            let mut ring = Ring::new(&RingConfig::default())?;
            let (sender, inbox) = mailbox::bounded::<bool>(4, ring.doorbell());
            to_parent.send(sender)?;
            loop {
                ring.turn(Wait::Forever)?;
                while ring.next_event().is_some() {
                    while let Ok(goes_on) = inbox.try_recv() {
                        if !goes_on {
                            return Ok(());
                        }
                    }
                }
            }
        });
        let mut ring = Ring::new(&config)?;
        let sender = from_child.recv()?;
        let (mut spent, count) = (Duration::ZERO, 2_000);
        for _ in 0..count {
            // Long enough for the other to fall asleep.
            std::thread::sleep(Duration::from_micros(200));
            let start = Instant::now();
            // A busy machine may keep the other from reading for long; then this round is lost.
            let _ = sender.try_send_from(&mut ring, true);
            ring.turn(Wait::No)?;
            spent += start.elapsed();
        }
        while sender.try_send(false).is_err() {
            std::thread::yield_now();
        }
        child.join().expect("the child listens to the end")?;
        let by = if ring_messages { "message" } else { "eventfd" };
        println!("cost of waking by {by}: {} ns", spent.as_nanos() / count);
    }
    Ok(())
}

/// Shards run on cores of their own; on a machine with one core this changes nothing.
fn pin_to(core: usize) {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    let _ = rustix::thread::sched_setaffinity(None, &cores);
}

fn per(start: Instant, count: u32) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / f64::from(count)
}
