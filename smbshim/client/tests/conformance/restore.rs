//! Whole databases, as the stock tool wipes and restores them (client protocol §3.4, §10.2).

use crate::cluster::{Cluster, PATIENCE, SILENCE, conformance};
use bateria_client::{AttachOptions, ClientFault, Connection, Database, Writers};
use bateria_smbshim::{LtdbHeader, MarshallBuilder};
use bateria_wire::{DbId, DbKind, Pnn, Rsn, Srvid};
use std::ops::ControlFlow;

const PUSHES: Srvid = Srvid(0xCE02_0000_0000_0000);

/// Empties a database on all nodes; `fill` may put something in before it is opened again.
fn replace_content(
    cluster: &Cluster,
    connection: &mut Connection,
    db_id: DbId,
    mut fill: impl FnMut(&mut Connection, Pnn),
) {
    let tid = connection.get_vnn_map(Pnn::CURRENT).unwrap().generation.0;
    for pnn in cluster.pnns() {
        connection.db_freeze(pnn, db_id).unwrap();
        connection.db_transaction_start(pnn, db_id, tid).unwrap();
        let wrong = connection.wipe_database(pnn, db_id, tid + 1);
        assert!(matches!(wrong, Err(ClientFault::Refused { status: -1, .. })), "{wrong:?}");
        connection.wipe_database(pnn, db_id, tid).unwrap();
    }
    for pnn in cluster.pnns() {
        fill(connection, pnn);
        connection.db_set_healthy(pnn, db_id).unwrap();
        connection.db_transaction_commit(pnn, db_id, tid).unwrap();
        connection.db_thaw(pnn, db_id).unwrap();
    }
}

fn count(cluster: &Cluster, node: usize, name: &str, kind: DbKind) -> u64 {
    let (_connection, mut database) = cluster.open(node, name, kind);
    let socket = cluster.socket(node);
    database.traverse(socket, &mut |_| ControlFlow::Continue(())).unwrap()
}

conformance! {
    fn a_wiped_database_is_empty_everywhere(cluster: &Cluster) {
        let name = "conf_restore_wipe.tdb";
        let (mut connection, mut database) = cluster.open(0, name, DbKind::Volatile);
        for key in 0..50_u32 {
            let mut record = database.fetch_lock(&mut connection, &key.to_ne_bytes()).unwrap();
            record.store(b"value").unwrap();
        }
        assert_eq!(count(cluster, cluster.last_node(), name, DbKind::Volatile), 50);
        replace_content(cluster, &mut connection, database.db_id(), |_, _| {});
        for node in 0..cluster.nodes_count() {
            assert_eq!(count(cluster, node, name, DbKind::Volatile), 0);
        }
        // It is usable as before.
        let mut record = database.fetch_lock(&mut connection, b"new").unwrap();
        record.store(b"value").unwrap();
        record.delete(&mut connection).unwrap();
    }

    fn pushed_records_are_the_new_content(cluster: &Cluster) {
        let name = "conf_restore_push.tdb";
        let (mut connection, mut database) = cluster.open(0, name, DbKind::Persistent);
        let mut transaction = database.begin(&mut connection, Writers::OnlyThis).unwrap();
        transaction.store(b"old", b"old").unwrap();
        transaction.commit(&mut connection).unwrap();
        let db_id = database.db_id();
        replace_content(cluster, &mut connection, db_id, |connection, pnn| {
            connection.db_push_start(pnn, db_id, PUSHES).unwrap();
            for half in 0..2_u32 {
                // The tool leaves anything in place of the database's id (client protocol §12.11).
                let mut buffer = MarshallBuilder::new(DbId(0x1234_5678));
                for number in 0..10_u32 {
                    let key = (half * 10 + number).to_ne_bytes();
                    buffer.push(&key, &LtdbHeader::new(Rsn(3), Pnn(0)), b"new");
                }
                connection.send_message(pnn, PUSHES, &buffer.finish()).unwrap();
            }
            assert_eq!(connection.db_push_confirm(pnn, db_id).unwrap(), 20);
        });
        for node in 0..cluster.nodes_count() {
            assert_eq!(count(cluster, node, name, DbKind::Persistent), 20);
            let (mut connection, mut copy) = cluster.open(node, name, DbKind::Persistent);
            assert_eq!(copy.parse_record(&mut connection, b"old").unwrap(), None);
        }
        replace_content(cluster, &mut connection, db_id, |_, _| {});
    }

    fn a_frozen_database_holds_its_clients(cluster: &Cluster) {
        let name = "conf_restore_freeze.tdb";
        let (mut connection, mut database) = cluster.open(0, name, DbKind::Volatile);
        drop(database.fetch_lock(&mut connection, b"held").unwrap());
        connection.db_freeze(Pnn::CURRENT, database.db_id()).unwrap();
        connection.db_freeze(Pnn::CURRENT, database.db_id()).unwrap();
        let db_id = database.db_id();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || {
                let options = AttachOptions::default();
                let mut connection = cluster.connect(0);
                let mut database =
                    Database::attach(&mut connection, name, DbKind::Volatile, options).unwrap();
                drop(database.fetch_lock(&mut connection, b"held").unwrap());
            });
            std::thread::sleep(SILENCE);
            assert!(!waiting.is_finished());
            connection.db_thaw(Pnn::CURRENT, db_id).unwrap();
        });
        connection.db_thaw(Pnn::CURRENT, db_id).unwrap();
        connection.set_timeout(Some(PATIENCE));
        drop(database.fetch_lock(&mut connection, b"held").unwrap());
    }

    fn a_wipe_needs_a_frozen_database(cluster: &Cluster) {
        let (mut connection, database) =
            cluster.open(0, "conf_restore_thawed.tdb", DbKind::Volatile);
        let tid = connection.get_vnn_map(Pnn::CURRENT).unwrap().generation.0;
        for outcome in [
            connection.db_transaction_start(Pnn::CURRENT, database.db_id(), tid),
            connection.wipe_database(Pnn::CURRENT, database.db_id(), tid),
            connection.db_transaction_commit(Pnn::CURRENT, database.db_id(), tid),
        ] {
            assert!(matches!(outcome, Err(ClientFault::Refused { status: -1, .. })), "{outcome:?}");
        }
    }
}
