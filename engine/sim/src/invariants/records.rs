//! What must hold for records, whatever happens around them (database semantics §1.5).

use crate::cluster::SimCluster;
use crate::records::State;
use bateria_core::cluster::Quorum;
use bateria_core::record::RecordHeader;
use bateria_wire::Pnn;

pub const ONE_OWNER: &str = "I1: at most one node has dmaster == self";
pub const NEWEST: &str = "I2: the owner's RSN exceeds every other copy's";
pub const EQUAL: &str = "I3: copies with equal RSN are equal";
pub const GROWS: &str = "I6: a node's RSN of a record never decreases";
pub const KEPT: &str = "Theorem L: what a surviving node wrote is kept, what was deleted stays so";
pub const ABSENT: &str = "nobody who asks for a record that is there hears that there is none";
pub const GONE: &str = "a deleted record leaves no copy in the end";
pub const SETTLED: &str = "when clients rest, nobody waits for a frame";
pub const BOUNDED: &str = "queues are bounded by clients, nodes and keys";
/// Times that one key is to be looked at again: it may come and go every few microseconds.
const NOTES_MAX: usize = 100;
pub const VISIBLE: &str = "I7: a client that was answered finds the record here";
pub const ANSWERED: &str = "every call is answered once the cluster is whole";

/// I1, over nodes whose data are valid and may be used.
///
/// # Errors
/// Two owners.
pub fn one_owner(cluster: &SimCluster, key: u32) -> Result<(), String> {
    if cluster.scenario.quorum == Quorum::None {
        return Ok(());
    }
    let owns = |(pnn, header, _): &(Pnn, RecordHeader, &[u8])| header.dmaster == *pnn;
    let mut owners = copies(cluster, key).filter(owns).map(|(pnn, ..)| pnn);
    match (owners.next(), owners.next()) {
        (Some(one), Some(other)) => Err(format!("key {key} is owned by nodes {one} and {other}")),
        _ => Ok(()),
    }
}

/// I2 and I3, when no record is on its way.
///
/// # Errors
/// The copies.
pub fn copies_are_ordered(cluster: &SimCluster) -> Result<(), (&'static str, String)> {
    for key in 0..cluster.scenario.keys_count {
        let all: Vec<_> = copies(cluster, key).collect();
        for (pnn, header, body) in &all {
            for (other, theirs, their_body) in all.iter().filter(|(other, ..)| other != pnn) {
                let text = || format!("key {key}: {pnn} has {header:?}, {other} has {theirs:?}");
                if header.dmaster == *pnn && theirs.rsn >= header.rsn {
                    return Err((NEWEST, text()));
                }
                if header.rsn == theirs.rsn && body != their_body {
                    return Err((EQUAL, text()));
                }
            }
        }
    }
    Ok(())
}

/// I7.
///
/// # Errors
/// It is not there.
pub fn visible(pnn: Pnn, key: u32, owned: bool) -> Result<(), String> {
    if owned { Ok(()) } else { Err(format!("key {key} is not node {pnn}'s")) }
}

/// No client waits for longer than `limit_us`.
///
/// # Errors
/// The client.
pub fn answered(cluster: &SimCluster, limit_us: u64) -> Result<(), String> {
    for (pnn, host) in &cluster.hosts {
        for client in host.process.iter().flat_map(|process| process.work.clients.values()) {
            let waited_us = cluster.now.0 - client.since_us;
            if client.state != State::Thinking && waited_us > limit_us {
                return Err(format!("on node {pnn}, {client:?} waits for {waited_us} us"));
            }
        }
    }
    Ok(())
}

/// A shard's queues hold what clients and nodes can have asked for, and no more: each client waits
/// once, each node wants a key once, and a key that came or is to go soon is noted a few times.
///
/// # Errors
/// What is queued.
pub fn queues_are_bounded(cluster: &SimCluster, pnn: Pnn, queued: usize) -> Result<(), String> {
    let scenario = &cluster.scenario;
    let clients = cluster.hosts[&pnn].process.iter().map(|process| process.work.clients.len());
    let keys = scenario.keys_count as usize;
    let limit = clients.sum::<usize>() + keys * (2 * scenario.nodes_count as usize + NOTES_MAX);
    if queued <= limit { Ok(()) } else { Err(format!("node {pnn}: {queued} of {limit}")) }
}

/// All machines are at rest, and tombstones are gone.
///
/// # Errors
/// What is left.
pub fn at_rest(cluster: &SimCluster) -> Result<(), (&'static str, String)> {
    for (pnn, host) in &cluster.hosts {
        for shard in host.process.iter().flat_map(|process| &process.work.shards) {
            let count = shard.records.unsettled_count();
            if count > 0 {
                return Err((SETTLED, format!("node {pnn}, {shard:?}: {count} keys")));
            }
        }
    }
    for key in 0..cluster.scenario.keys_count {
        let newest = copies(cluster, key).max_by_key(|(_, header, _)| header.rsn);
        if let Some((pnn, header, _)) = newest.filter(|(.., body)| body.is_empty()) {
            return Err((GONE, format!("key {key}: node {pnn} has {header:?}")));
        }
    }
    Ok(())
}

/// The copies of a record on nodes whose data count.
fn copies(cluster: &SimCluster, key: u32) -> impl Iterator<Item = (Pnn, RecordHeader, &[u8])> {
    cluster.truth.nodes.iter().filter_map(move |(pnn, truth)| {
        let counts = truth.lives && !truth.stopped && !truth.fencing && truth.rebuilt.is_some();
        let process = cluster.hosts[pnn].process.as_ref().filter(|_| counts)?;
        process.work.files.get(key).map(|(header, body)| (*pnn, header, body))
    })
}
