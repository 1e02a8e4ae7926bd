//! Records of volatile databases (client protocol §7.1, §7.2, §9.4 to §9.6).

use crate::cluster::{Cluster, PATIENCE, SILENCE, conformance};
use bateria_client::{AttachOptions, ClientFault, Connection, Database, Release};
use bateria_smbshim::{CallFlags, CallId};
use bateria_wire::{DbId, DbKind, Pnn};
use std::thread;
use std::time::Instant;

/// Reads a number, adds one, writes it back: as smbd changes any record.
fn increment(connection: &mut Connection, database: &mut Database, key: &[u8]) -> u64 {
    let mut record = database.fetch_lock(connection, key).unwrap();
    let number = record.value().try_into().map_or(0, u64::from_ne_bytes) + 1;
    record.store(&number.to_ne_bytes()).unwrap();
    number
}

fn open(cluster: &Cluster, node: usize, name: &str) -> (Connection, Database) {
    cluster.open(node, name, DbKind::Volatile)
}

conformance! {
    fn a_record_comes_when_it_is_called(cluster: &Cluster) {
        let name = "conf_records_come.tdb";
        for node in (0..cluster.nodes_count()).chain([0]) {
            let (mut connection, mut database) = open(cluster, node, name);
            let mut record = database.fetch_lock(&mut connection, b"wanderer").unwrap();
            assert_eq!(record.header().dmaster.index(), node);
            let mut value = record.value().to_vec();
            value.push(u8::try_from(node).unwrap());
            record.store(&value).unwrap();
        }
        let (mut connection, mut database) = open(cluster, 0, name);
        let mut record = database.fetch_lock(&mut connection, b"wanderer").unwrap();
        let travelled: Vec<u8> =
            (0..u8::try_from(cluster.nodes_count()).unwrap()).chain([0]).collect();
        assert_eq!(record.value(), travelled);
        record.delete(&mut connection).unwrap();
    }

    fn no_increment_is_lost_between_nodes(cluster: &Cluster) {
        const ROUNDS: u64 = 300;
        let name = "conf_records_count.tdb";
        let key = b"counter";
        let (mut connection, mut database) = open(cluster, 0, name);
        database.fetch_lock(&mut connection, key).unwrap().store(&[]).unwrap();
        thread::scope(|scope| {
            for worker in 0..cluster.nodes_count() * 2 {
                scope.spawn(move || {
                    let node = worker % cluster.nodes_count();
                    let (mut connection, mut database) = open(cluster, node, name);
                    for _ in 0..ROUNDS {
                        increment(&mut connection, &mut database, key);
                    }
                });
            }
        });
        let workers = u64::try_from(cluster.nodes_count() * 2).unwrap();
        assert_eq!(increment(&mut connection, &mut database, key), workers * ROUNDS + 1);
        database.fetch_lock(&mut connection, key).unwrap().delete(&mut connection).unwrap();
    }

    fn an_absent_record_has_no_value(cluster: &Cluster) {
        let name = "conf_records_absent.tdb";
        for release in [Release::Samba417, Release::Samba425] {
            let options = AttachOptions { release, ..AttachOptions::default() };
            for node in 0..cluster.nodes_count() {
                let (mut connection, mut database) =
                    cluster.open_with(node, name, DbKind::Volatile, options);
                for key in 0..20_u32 {
                    let value = database.parse_record(&mut connection, &key.to_ne_bytes());
                    assert_eq!(value.unwrap(), None);
                }
            }
        }
    }

    fn a_record_is_read_from_every_node(cluster: &Cluster) {
        let name = "conf_records_read.tdb";
        let (mut connection, mut database) = open(cluster, 0, name);
        let mut record = database.fetch_lock(&mut connection, b"read").unwrap();
        record.store(b"value").unwrap();
        drop(record);
        for release in [Release::Samba417, Release::Samba425] {
            let options = AttachOptions { release, ..AttachOptions::default() };
            for node in 0..cluster.nodes_count() {
                let (mut connection, mut database) =
                    cluster.open_with(node, name, DbKind::Volatile, options);
                let value = database.parse_record(&mut connection, b"read").unwrap();
                assert_eq!(value.as_deref(), Some(&b"value"[..]));
            }
        }
        database.fetch_lock(&mut connection, b"read").unwrap().delete(&mut connection).unwrap();
    }

    fn a_fetch_with_header_always_has_one(cluster: &Cluster) {
        let (mut connection, database) = open(cluster, 0, "conf_records_header.tdb");
        for key in [&b"absent"[..], b"", b"x"] {
            let fetched =
                connection.fetch_with_header(database.db_id(), CallFlags::empty(), key).unwrap();
            assert!(fetched.0.is_readable_on(connection.pnn()), "{:?}", fetched.0);
            assert!(fetched.1.is_empty());
        }
    }

    fn an_unknown_call_is_answered(cluster: &Cluster) {
        let (mut connection, database) = open(cluster, 0, "conf_records_unknown.tdb");
        let reply = connection
            .call(database.db_id(), CallId(0x1234), CallFlags::empty(), b"key")
            .unwrap();
        assert_eq!((reply.status, reply.data.len()), (0, 0));
    }

    fn a_call_into_no_database_never_looks_like_an_absent_record(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        let nobody = DbId(0xDEAD_0001);
        for call_id in [CallId::NULL, CallId::FETCH, CallId::FETCH_WITH_HEADER] {
            let call = connection.start_call(nobody, call_id, CallFlags::empty(), b"key").unwrap();
            match connection.finish_call(call, Some(SILENCE)) {
                Err(ClientFault::CallFailed { .. }) => {}
                // The original does not answer at all.
                Err(ClientFault::Timeout) => assert!(!cluster.is_bateria(), "{call_id:?}"),
                other => panic!("{call_id:?}: {other:?}"),
            }
        }
        connection.get_pnn(Pnn::CURRENT).unwrap();
    }

    fn a_deleted_record_does_not_exist_anywhere(cluster: &Cluster) {
        let name = "conf_records_delete.tdb";
        let (mut connection, mut database) = open(cluster, cluster.last_node(), name);
        let mut record = database.fetch_lock(&mut connection, b"short lived").unwrap();
        record.store(b"value").unwrap();
        record.delete(&mut connection).unwrap();
        assert_eq!(record.value(), b"");
        drop(record);
        for node in 0..cluster.nodes_count() {
            let (mut connection, mut database) = open(cluster, node, name);
            assert_eq!(database.parse_record(&mut connection, b"short lived").unwrap(), None);
        }
    }

    fn calls_may_be_answered_in_any_order(cluster: &Cluster) {
        let (mut connection, database) = open(cluster, 0, "conf_records_async.tdb");
        let started: Vec<_> = (0..100_u32)
            .map(|key| {
                let flags = CallFlags::IMMEDIATE_MIGRATION;
                let key = key.to_ne_bytes();
                connection.start_call(database.db_id(), CallId::NULL, flags, &key).unwrap()
            })
            .collect();
        for call in started.into_iter().rev() {
            assert_eq!(connection.finish_call(call, Some(PATIENCE)).unwrap().status, 0);
        }
    }

    fn a_call_waits_for_who_holds_the_chain(cluster: &Cluster) {
        let name = "conf_records_wait.tdb";
        let key = b"held";
        let (mut holder, mut held) = open(cluster, 0, name);
        let mut record = held.fetch_lock(&mut holder, key).unwrap();
        let (mut other, database) = open(cluster, cluster.last_node(), name);
        let flags = CallFlags::IMMEDIATE_MIGRATION;
        let call = other.start_call(database.db_id(), CallId::NULL, flags, key).unwrap();
        // The holder may ask the daemon for anything meanwhile (pitfalls 25 and 26).
        let (mut free, mut elsewhere) = open(cluster, 0, "conf_records_elsewhere.tdb");
        for number in 0..20_u32 {
            elsewhere.fetch_lock(&mut free, &number.to_ne_bytes()).unwrap();
            holder.get_pnn(Pnn::CURRENT).unwrap();
        }
        record.store(b"last word").unwrap();
        drop(record);
        assert_eq!(other.finish_call(call, Some(PATIENCE)).unwrap().status, 0);
    }

    fn records_one_node_owns_need_no_daemon(cluster: &Cluster) {
        let (mut connection, mut database) = open(cluster, 0, "conf_records_own.tdb");
        increment(&mut connection, &mut database, b"own");
        let migrations = database.migrations();
        let start = Instant::now();
        for _ in 0..1000 {
            increment(&mut connection, &mut database, b"own");
        }
        assert_eq!(database.migrations(), migrations);
        assert!(start.elapsed() < PATIENCE);
        database.fetch_lock(&mut connection, b"own").unwrap().delete(&mut connection).unwrap();
    }
}
