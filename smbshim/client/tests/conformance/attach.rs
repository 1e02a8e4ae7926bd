//! Databases and their files (client protocol §6).

use crate::cluster::conformance;
use bateria_client::{AttachOptions, ClientFault};
use bateria_smbshim::Opcode;
use bateria_smbshim::structures::database::DbFlags;
use bateria_wire::{DbId, DbKind, Pnn};
use std::os::unix::fs::MetadataExt;

const KINDS: [(DbKind, &str, u32); 3] = [
    (DbKind::Volatile, "conf_attach_v.tdb", 0x1C41),
    (DbKind::Persistent, "conf_attach_p.tdb", 0x0400),
    (DbKind::Replicated, "conf_attach_r.tdb", 0x0C41),
];

conformance! {
    fn an_attached_database_is_known_on_every_node(cluster: &Cluster) {
        for (kind, name, flags) in KINDS {
            let (mut connection, database) = cluster.open(0, name, kind);
            let db_id = database.db_id();
            assert_eq!(db_id, DbId(bateria_tdb::hash::jenkins(&[name.as_bytes(), b"\0"].concat())));
            assert_eq!(connection.db_open_flags(Pnn::CURRENT, db_id).unwrap(), flags, "{name}");
            for pnn in cluster.pnns() {
                let map = connection.get_db_map(pnn).unwrap();
                let entry = map.iter().find(|entry| entry.db_id == db_id);
                assert_eq!(entry.expect("it is attached").flags, DbFlags::from(kind), "{name}");
                assert_eq!(connection.get_db_name(pnn, db_id).unwrap(), name);
                let path = connection.get_db_path(pnn, db_id).unwrap();
                assert!(path.ends_with(&format!("/{name}.{pnn}")), "{path}");
                let mode = std::fs::metadata(&path).unwrap().mode();
                assert_eq!(mode & 0o777, 0o600, "{path}");
                assert_eq!(connection.get_db_health(pnn, db_id).unwrap(), None);
                connection.db_statistics(pnn, db_id).unwrap();
            }
        }
    }

    fn attaching_again_gives_the_same_database(cluster: &Cluster) {
        for (kind, name, _) in KINDS {
            let mut connection = cluster.connect(0);
            let db_id = connection.attach(kind, name).unwrap();
            assert_eq!(cluster.connect(cluster.last_node()).attach(kind, name).unwrap(), db_id);
            assert_eq!(connection.attach(kind, name).unwrap(), db_id);
        }
    }

    fn a_database_keeps_its_kind(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        let volatile = connection.attach(DbKind::Volatile, "conf_attach_v.tdb").unwrap();
        let outcome = connection.attach(DbKind::Persistent, "conf_attach_v.tdb");
        assert!(matches!(outcome, Err(ClientFault::Refused { status: -1, .. })), "{outcome:?}");
        let persistent = connection.attach(DbKind::Persistent, "conf_attach_p.tdb").unwrap();
        let outcome = connection.attach(DbKind::Volatile, "conf_attach_p.tdb").unwrap();
        assert_eq!(outcome, persistent);
        assert_ne!(volatile, persistent);
    }

    fn the_sequence_number_is_switched_on_once_for_all(cluster: &Cluster) {
        let options = AttachOptions { seqnum: true, ..AttachOptions::default() };
        let name = "conf_attach_s.tdb";
        let (mut connection, database) = cluster.open_with(0, name, DbKind::Volatile, options);
        let flags = connection.db_open_flags(Pnn::CURRENT, database.db_id()).unwrap();
        assert_eq!(flags, 0x1CC1);
        let flags = cluster.connect(0).db_open_flags(Pnn::CURRENT, database.db_id()).unwrap();
        assert_eq!(flags, 0x1CC1);
    }

    fn read_only_copies_are_for_volatile_databases(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        let volatile = connection.attach(DbKind::Volatile, "conf_attach_ro.tdb").unwrap();
        connection.set_db_readonly(Pnn::CURRENT, volatile).unwrap();
        connection.set_db_readonly(Pnn::CURRENT, volatile).unwrap();
        let map = connection.get_db_map(Pnn::CURRENT).unwrap();
        let entry = map.iter().find(|entry| entry.db_id == volatile).unwrap();
        assert!(entry.flags.contains(DbFlags::READONLY));
        let persistent = connection.attach(DbKind::Persistent, "conf_attach_p.tdb").unwrap();
        let outcome = connection.set_db_readonly(Pnn::CURRENT, persistent);
        assert!(matches!(outcome, Err(ClientFault::Refused { .. })), "{outcome:?}");
    }

    fn unknown_databases_have_nothing(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        let nobody = 0xDEAD_0001_u32.to_ne_bytes();
        for opcode in [
            Opcode::GetDbPath, Opcode::GetDbName, Opcode::DbOpenFlags, Opcode::EnableSeqnum,
            Opcode::SetDbReadonly, Opcode::SetDbSticky, Opcode::GetDbStatistics,
            Opcode::DbGetHealth, Opcode::DbFreeze, Opcode::DbThaw,
        ] {
            let status = connection
                .raw_control(Pnn::CURRENT, opcode as u32, &nobody, |reply| reply.status);
            assert_eq!(status.unwrap(), -1, "{opcode}");
        }
    }
}
