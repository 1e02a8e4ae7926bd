//! Durable records of Samba 4.25 (Samba 4.25 §2): only for daemons that know them.

use crate::cluster::{Cluster, conformance};
use bateria_client::{ClientFault, Connection, Database};
use bateria_smbshim::structures::push::PushRecord;
use bateria_smbshim::{LtdbHeader, RecordFlags};
use bateria_wire::{DbId, DbKind, Generation, Pnn, Rsn};

/// What a node's file says about a record.
fn copy_on(
    cluster: &Cluster,
    node: usize,
    name: &str,
    key: &[u8],
) -> Option<(LtdbHeader, Vec<u8>)> {
    let (_connection, mut database) = cluster.open(node, name, DbKind::Volatile);
    let mut stored = Vec::new();
    let is_there = database.tdb().fetch(key, &mut stored).unwrap();
    let (header, value) = LtdbHeader::split(&stored).ok().filter(|_| is_there)?;
    Some((header, value.to_vec()))
}

/// Pushes a value of a record that this node owns, as a durable store does.
fn push(
    connection: &mut Connection,
    database: &Database,
    header: LtdbHeader,
    value: &[u8],
) -> Result<(), ClientFault> {
    let generation = connection.get_vnn_map(Pnn::CURRENT)?.generation;
    let db_id = database.db_id();
    let push = PushRecord { generation, db_id, header, key: b"durable", value };
    connection.push_record(Pnn::CURRENT, push)
}

conformance! {
    fn a_pushed_record_is_on_every_node_when_it_is_answered(cluster: &Cluster) {
        if !cluster.is_bateria() {
            return;
        }
        let name = "conf_push.tdb";
        let (mut connection, mut database) = cluster.open(0, name, DbKind::Volatile);
        let mut record = database.fetch_lock(&mut connection, b"durable").unwrap();
        let mut header = *record.header();
        header.flags |= RecordFlags::PERSISTENT;
        // The owner stays one version ahead of what it pushes.
        record.store_as(LtdbHeader { rsn: header.rsn.next(), ..header }, b"value").unwrap();
        drop(record);
        push(&mut connection, &database, header, b"value").unwrap();
        for node in 1..cluster.nodes_count() {
            let (copy, value) = copy_on(cluster, node, name, b"durable").expect("it was pushed");
            assert_eq!((copy.rsn, copy.dmaster, &value[..]), (header.rsn, Pnn(0), &b"value"[..]));
            let flags = RecordFlags::PERSISTENT | RecordFlags::MIGRATED_WITH_DATA;
            assert!(copy.flags.contains(flags), "{:?}", copy.flags);
        }

        // What is not newer is not stored, and that is no failure.
        push(&mut connection, &database, header, b"other").unwrap();
        for node in 1..cluster.nodes_count() {
            let (_, value) = copy_on(cluster, node, name, b"durable").expect("it was pushed");
            assert_eq!(value, b"value");
        }
        let mut record = database.fetch_lock(&mut connection, b"durable").unwrap();
        assert_eq!((record.header().rsn, record.value()), (header.rsn.next(), &b"value"[..]));
        record.delete(&mut connection).unwrap();
    }

    fn a_push_of_another_generation_or_database_fails(cluster: &Cluster) {
        if !cluster.is_bateria() || cluster.nodes_count() == 1 {
            return;
        }
        let (mut connection, database) = cluster.open(0, "conf_push_fail.tdb", DbKind::Volatile);
        let generation = connection.get_vnn_map(Pnn::CURRENT).unwrap().generation;
        let header = LtdbHeader::new(Rsn(5), Pnn(0));
        for (generation, db_id) in [
            (Generation(generation.0 ^ 0x8000), database.db_id()),
            (generation, DbId(0xDEAD_0001)),
        ] {
            let push = PushRecord { generation, db_id, header, key: b"key", value: b"value" };
            let outcome = connection.push_record(Pnn::CURRENT, push);
            assert!(matches!(outcome, Err(ClientFault::Refused { status: -1, .. })), "{outcome:?}");
        }
    }
}
