//! Persistent and replicated databases (client protocol §7.6, §9.11).

use crate::cluster::{Cluster, PATIENCE, conformance};
use bateria_client::{ClientFault, Connection, Database, Writers};
use bateria_smbshim::{LtdbHeader, MarshallBuilder};
use bateria_wire::{DbKind, Pnn, Rsn};
use std::ops::ControlFlow;
use std::thread;

const KINDS: [(DbKind, &str); 2] =
    [(DbKind::Persistent, "conf_pers_p.tdb"), (DbKind::Replicated, "conf_pers_r.tdb")];

fn locked(g_lock: &mut Database) -> Writers<'_> {
    Writers::Locked { g_lock, patience: PATIENCE }
}

/// Everything a node has of a database.
fn content(database: &mut Database, cluster: &Cluster) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut records = Vec::new();
    database
        .traverse(cluster.socket(0), &mut |record| {
            records.push((record.key.to_vec(), record.value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    records.sort();
    records
}

fn g_lock(connection: &mut Connection) -> Database {
    Database::attach(
        connection,
        "g_lock.tdb",
        DbKind::Volatile,
        bateria_client::AttachOptions::default(),
    )
    .expect("g_lock.tdb can be attached")
}

conformance! {
    fn a_commit_is_on_every_node_when_it_is_answered(cluster: &Cluster) {
        for (kind, name) in KINDS {
            let (mut connection, mut database) = cluster.open(0, name, kind);
            let mut g_lock = g_lock(&mut connection);
            let before = database.sequence_number().unwrap();
            let mut transaction = database.begin(&mut connection, locked(&mut g_lock)).unwrap();
            transaction.store(b"one", b"1").unwrap();
            transaction.store(b"two", &[2; 10_000]).unwrap();
            transaction.store(b"one", b"uno").unwrap();
            assert_eq!(transaction.fetch(b"one").unwrap().as_deref(), Some(&b"uno"[..]));
            assert_eq!(transaction.commit(&mut connection).unwrap(), before + 1, "{name}");

            for node in 0..cluster.nodes_count() {
                let (mut connection, mut copy) = cluster.open(node, name, kind);
                let want = [(b"one".to_vec(), b"uno".to_vec()), (b"two".to_vec(), vec![2; 10_000])];
                assert_eq!(content(&mut copy, cluster), want, "node {node}");
                let pnn = Pnn(u32::try_from(node).unwrap());
                let db_id = copy.db_id();
                assert_eq!(connection.get_db_seqnum(pnn, db_id).unwrap(), before + 1);
                assert_eq!(copy.parse_record(&mut connection, b"absent").unwrap(), None);
            }

            let mut transaction = database.begin(&mut connection, locked(&mut g_lock)).unwrap();
            transaction.delete(b"one").unwrap();
            transaction.delete(b"two").unwrap();
            transaction.commit(&mut connection).unwrap();
            let (_connection, mut copy) = cluster.open(cluster.last_node(), name, kind);
            assert_eq!(content(&mut copy, cluster), []);
        }
    }

    fn a_transaction_without_changes_sends_nothing(cluster: &Cluster) {
        let (mut connection, mut database) =
            cluster.open(0, "conf_pers_none.tdb", DbKind::Persistent);
        let before = database.sequence_number().unwrap();
        let transaction = database.begin(&mut connection, Writers::OnlyThis).unwrap();
        assert_eq!(transaction.commit(&mut connection).unwrap(), before);
        let mut transaction = database.begin(&mut connection, Writers::OnlyThis).unwrap();
        transaction.store(b"forgotten", b"x").unwrap();
        transaction.cancel(&mut connection).unwrap();
        assert_eq!(database.parse_record(&mut connection, b"forgotten").unwrap(), None);
    }

    fn writers_on_all_nodes_take_turns(cluster: &Cluster) {
        const ROUNDS: u64 = 10;
        let name = "conf_pers_turns.tdb";
        let (mut connection, mut database) = cluster.open(0, name, DbKind::Persistent);
        let mut lock = g_lock(&mut connection);
        let mut transaction = database.begin(&mut connection, locked(&mut lock)).unwrap();
        transaction.store(b"counter", &0_u64.to_ne_bytes()).unwrap();
        transaction.commit(&mut connection).unwrap();
        thread::scope(|scope| {
            for node in 0..cluster.nodes_count() {
                scope.spawn(move || {
                    let (mut connection, mut database) =
                        cluster.open(node, name, DbKind::Persistent);
                    let mut lock = g_lock(&mut connection);
                    for _ in 0..ROUNDS {
                        let mut transaction =
                            database.begin(&mut connection, locked(&mut lock)).unwrap();
                        let value = transaction.fetch(b"counter").unwrap().unwrap();
                        let number = u64::from_ne_bytes(value.try_into().unwrap()) + 1;
                        transaction.store(b"counter", &number.to_ne_bytes()).unwrap();
                        transaction.commit(&mut connection).unwrap();
                    }
                });
            }
        });
        let value = database.parse_record(&mut connection, b"counter").unwrap().unwrap();
        let nodes = u64::try_from(cluster.nodes_count()).unwrap();
        assert_eq!(u64::from_ne_bytes(value.try_into().unwrap()), nodes * ROUNDS);
    }

    fn a_commit_into_no_database_is_refused(cluster: &Cluster) {
        let mut buffer = MarshallBuilder::new(bateria_wire::DbId(0xDEAD_0001));
        buffer.push(b"key", &LtdbHeader::new(Rsn(1), Pnn(0)), b"value");
        let outcome = cluster.connect(0).trans3_commit(buffer.view());
        assert!(matches!(outcome, Err(ClientFault::Refused { status: -1, .. })), "{outcome:?}");
    }

    fn the_sequence_number_of_nothing_is_zero(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        let db_id = connection.attach(DbKind::Persistent, "conf_pers_zero.tdb").unwrap();
        assert_eq!(connection.get_db_seqnum(Pnn::CURRENT, db_id).unwrap(), 0);
    }
}
