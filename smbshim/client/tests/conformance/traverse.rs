//! Traverses across the cluster (client protocol §7.5).

use crate::cluster::{Cluster, PATIENCE, conformance};
use bateria_client::ClientFault;
use bateria_smbshim::structures::traverse::TraverseStart;
use bateria_wire::{DbId, DbKind, Srvid};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Stores ten records through each node.
fn fill(cluster: &Cluster, name: &str) {
    for node in 0..cluster.nodes_count() {
        let (mut connection, mut database) = cluster.open(node, name, DbKind::Volatile);
        for number in 0..10 {
            let key = format!("node {node} record {number}");
            let mut record = database.fetch_lock(&mut connection, key.as_bytes()).unwrap();
            record.store(format!("value of {key}").as_bytes()).unwrap();
        }
    }
}

fn empty(cluster: &Cluster, name: &str) {
    for node in 0..cluster.nodes_count() {
        let (mut connection, mut database) = cluster.open(node, name, DbKind::Volatile);
        for number in 0..10 {
            let key = format!("node {node} record {number}");
            let mut record = database.fetch_lock(&mut connection, key.as_bytes()).unwrap();
            record.delete(&mut connection).unwrap();
        }
    }
}

conformance! {
    fn a_traverse_sees_the_records_of_all_nodes(cluster: &Cluster) {
        let name = "conf_traverse.tdb";
        fill(cluster, name);
        for node in 0..cluster.nodes_count() {
            let (_connection, mut database) = cluster.open(node, name, DbKind::Volatile);
            let mut seen = BTreeMap::new();
            let socket = cluster.socket(node);
            let count = database.traverse_cluster(socket, Some(PATIENCE), &mut |record| {
                assert_eq!(record.value, [b"value of ", record.key].concat());
                seen.insert(record.key.to_vec(), record.header.dmaster);
                ControlFlow::Continue(())
            });
            assert_eq!(count.unwrap(), seen.len() as u64);
            assert_eq!(seen.len(), cluster.nodes_count() * 10);
        }
        empty(cluster, name);
        let (_connection, mut database) = cluster.open(0, name, DbKind::Volatile);
        let socket = cluster.socket(0);
        let count =
            database.traverse_cluster(socket, Some(PATIENCE), &mut |_| ControlFlow::Continue(()));
        assert_eq!(count.unwrap(), 0);
    }

    fn deleted_records_are_shown_on_request(cluster: &Cluster) {
        let name = "conf_traverse_empty.tdb";
        let (mut connection, mut database) = cluster.open(0, name, DbKind::Volatile);
        let mut record = database.fetch_lock(&mut connection, b"tombstone").unwrap();
        record.store(b"").unwrap();
        drop(record);
        let socket = cluster.socket(0);
        let mut found = false;
        database
            .traverse_cluster_with_empty(socket, Some(PATIENCE), &mut |record| {
                found |= record.key == b"tombstone" && record.value.is_empty();
                ControlFlow::Continue(())
            })
            .unwrap();
        assert!(found);
    }

    fn large_records_arrive_whole(cluster: &Cluster) {
        let name = "conf_traverse_large.tdb";
        let last = cluster.last_node();
        let (mut connection, mut database) = cluster.open(last, name, DbKind::Volatile);
        let value: Vec<u8> = (0..1_000_000_u32).map(|at| at.to_ne_bytes()[0]).collect();
        let mut record = database.fetch_lock(&mut connection, b"large").unwrap();
        record.store(&value).unwrap();
        drop(record);
        let (_connection, mut near) = cluster.open(0, name, DbKind::Volatile);
        let mut found = false;
        near.traverse_cluster(cluster.socket(0), Some(PATIENCE), &mut |record| {
            found |= record.value == value;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(found);
        database.fetch_lock(&mut connection, b"large").unwrap().delete(&mut connection).unwrap();
    }

    fn a_traverse_of_no_database_is_refused(cluster: &Cluster) {
        let start = TraverseStart { db_id: DbId(0xDEAD_0001), reqid: 1, srvid: Srvid(7) };
        let outcome = cluster.connect(0).traverse_start(start);
        assert!(matches!(outcome, Err(ClientFault::Refused { status: -1, .. })), "{outcome:?}");
    }

    fn a_client_that_leaves_its_traverse_disturbs_nobody(cluster: &Cluster) {
        let name = "conf_traverse_leave.tdb";
        fill(cluster, name);
        let (_connection, mut database) = cluster.open(0, name, DbKind::Volatile);
        for _ in 0..5 {
            let socket = cluster.socket(0);
            database
                .traverse_cluster(socket, Some(PATIENCE), &mut |_| ControlFlow::Break(()))
                .unwrap();
        }
        empty(cluster, name);
    }
}
