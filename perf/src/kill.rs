//! `kill -9` of the leader while clients of the other nodes work.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use bateria_client::Connection;
use bateria_tdb::hash;
use bateria_wire::{Pnn, Srvid};

use crate::Fault;
use crate::figures::Figures;
use crate::load::increment;
use crate::nodes::Nodes;

/// Two survivors pass records to and fro; for some of these the victim is needed. Measured is the time from the kill
/// to the first lock of each kind of record that was asked for after the kill and had to migrate.
pub(crate) fn measure(nodes: &Nodes) -> Result<Figures, Fault> {
    let victim = leader(nodes)?;
    let [first, second] = [1, 2].map(|distance| (victim + distance) % nodes.count());
    if first == victim || second == victim || first == second {
        return Err("the measurement needs three nodes".into());
    }
    // Where the victim is the LMASTER, nobody can be asked for the record until the survivors have recovered.
    let needs_victim = key_with_lmaster(nodes, first, victim)?;
    let needs_survivor = key_with_lmaster(nodes, first, first)?;
    let mut owners = [nodes.open(first)?, nodes.open(second)?];
    for key in [&needs_victim, &needs_survivor] {
        for ((connection, database), node) in owners.iter_mut().zip([first, second]) {
            increment(connection, database, key, node)?;
        }
    }

    let pid = nodes.daemon_pid(victim)?;
    let killed = Instant::now();
    kill(pid)?;
    let [through_victim, through_survivor] = [needs_victim, needs_survivor].map(|key| {
        let nodes = nodes.clone();
        // The records are with `second`: `first` has to ask for them.
        thread::spawn(move || -> Result<Duration, Fault> {
            let (mut connection, mut database) = nodes.open(first)?;
            increment(&mut connection, &mut database, &key, first)?;
            Ok(killed.elapsed())
        })
    });
    let mut figures = Figures::default();
    let join = |handle: thread::JoinHandle<Result<Duration, Fault>>| {
        handle.join().expect("a client does not panic")
    };
    figures.set("kill_to_record_of_dead_lmaster_s", join(through_victim)?.as_secs_f64());
    figures.set("kill_to_record_of_survivors_s", join(through_survivor)?.as_secs_f64());
    Ok(figures)
}

/// The node that leads, from the message that the leader sends every second.
fn leader(nodes: &Nodes) -> Result<u32, Fault> {
    let mut connection = Connection::connect(&nodes.socket(0))?;
    connection.register_srvid(LEADER)?;
    let message =
        connection.recv_message_to(LEADER, Some(Duration::from_secs(20)))?.ok_or("nobody leads")?;
    let bytes = message.data.first_chunk().ok_or("the leader's message is short")?;
    let leader = u32::from_le_bytes(*bytes);
    if leader < nodes.count() { Ok(leader) } else { Err("nobody leads".into()) }
}

fn key_with_lmaster(nodes: &Nodes, ask: u32, lmaster: u32) -> Result<Vec<u8>, Fault> {
    let map = Connection::connect(&nodes.socket(ask))?.get_vnn_map(Pnn::CURRENT)?;
    let keys = (0..1000).map(|serial| format!("key {serial}").into_bytes());
    let mut fitting = keys.filter(|key| map.lmaster(hash::jenkins(key)) == Some(Pnn(lmaster)));
    fitting.next().ok_or_else(|| format!("node {lmaster} is no LMASTER").into())
}

fn kill(pid: u32) -> Result<(), Fault> {
    let status = Command::new("kill").args(["-KILL", &pid.to_string()]).status()?;
    if !status.success() {
        return Err(format!("kill {pid}: {status}").into());
    }
    // The time counts from here: the process is gone when the kernel has taken it off the run queue.
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// Listeners hear who leads, every second (client protocol §1.4).
const LEADER: Srvid = Srvid(0xF101_0000_0000_0000);
