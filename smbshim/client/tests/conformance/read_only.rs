//! Read-only copies (client protocol §7.3). A daemon may do without them; what it answers must be
//! right either way.

use crate::cluster::{Cluster, conformance};
use bateria_client::{AttachOptions, Connection, Database};
use bateria_smbshim::CallFlags;
use bateria_wire::DbKind;

fn open(cluster: &Cluster, node: usize, name: &str) -> (Connection, Database) {
    let options = AttachOptions { read_only_copies: true, ..AttachOptions::default() };
    cluster.open_with(node, name, DbKind::Volatile, options)
}

conformance! {
    fn readers_see_the_newest_value_after_every_change(cluster: &Cluster) {
        let name = "conf_read_only.tdb";
        let mut nodes: Vec<_> =
            (0..cluster.nodes_count()).map(|node| open(cluster, node, name)).collect();
        for round in 0..20_u32 {
            let writer = round as usize % nodes.len();
            let (connection, database) = &mut nodes[writer];
            let mut record = database.fetch_lock(connection, b"watched").unwrap();
            record.store(&round.to_ne_bytes()).unwrap();
            drop(record);
            for (connection, database) in &mut nodes {
                // The second look may use the copy that the first one brought.
                for _ in 0..2 {
                    let value = database.parse_record(connection, b"watched").unwrap();
                    assert_eq!(value.as_deref(), Some(&round.to_ne_bytes()[..]));
                }
            }
        }
        let (connection, database) = &mut nodes[0];
        database.fetch_lock(connection, b"watched").unwrap().delete(connection).unwrap();
    }

    fn a_copy_shows_that_it_may_be_read(cluster: &Cluster) {
        let name = "conf_read_only_header.tdb";
        let (mut connection, mut database) = open(cluster, 0, name);
        database.fetch_lock(&mut connection, b"copied").unwrap().store(b"value").unwrap();
        for node in 0..cluster.nodes_count() {
            let (mut connection, database) = open(cluster, node, name);
            let (header, value) = connection
                .fetch_with_header(database.db_id(), CallFlags::WANT_READONLY, b"copied")
                .unwrap();
            assert_eq!(value, b"value");
            assert!(header.is_readable_on(connection.pnn()), "{header:?}");
        }
        database.fetch_lock(&mut connection, b"copied").unwrap().delete(&mut connection).unwrap();
    }
}
