//! Process existence: wrong answers break locks (client protocol §9.9).

use crate::cluster::{PATIENCE, conformance};
use bateria_client::connection::random_srvid;
use bateria_client::{Connection, Release};
use std::time::Instant;

conformance! {
    fn a_connected_process_exists_on_its_node(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        let own_pid = i32::try_from(std::process::id()).unwrap();
        for pnn in cluster.pnns() {
            let connected = cluster.connect(pnn.index());
            assert!(connection.process_exists(pnn, own_pid).unwrap());
            drop(connected);
        }
        // The first process is no client of the daemon, though it runs.
        assert!(!connection.process_exists(connection.pnn(), 1).unwrap());
        assert!(!connection.process_exists(connection.pnn(), 0x7FFF_FFFF).unwrap());
    }

    fn a_process_and_its_unique_id_are_known_everywhere(cluster: &Cluster) {
        let own_pid = i32::try_from(std::process::id()).unwrap();
        let target = cluster.last_node();
        let mut asked = cluster.connect(target);
        let unique = random_srvid();
        asked.register_srvid(unique).unwrap();
        for node in 0..cluster.nodes_count() {
            let mut asking = cluster.connect(node);
            assert!(asking.check_pid_srvid(asked.pnn(), own_pid, unique).unwrap());
            assert!(!asking.check_pid_srvid(asked.pnn(), own_pid + 1, unique).unwrap());
            assert!(!asking.check_pid_srvid(asked.pnn(), own_pid, random_srvid()).unwrap());
        }
    }

    fn a_process_that_is_gone_does_not_exist(cluster: &Cluster) {
        let own_pid = i32::try_from(std::process::id()).unwrap();
        let mut asking = cluster.connect(0);
        let mut asked = cluster.connect(cluster.last_node());
        let (pnn, unique) = (asked.pnn(), random_srvid());
        asked.register_srvid(unique).unwrap();
        assert!(asking.check_pid_srvid(pnn, own_pid, unique).unwrap());
        drop(asked);
        let start = Instant::now();
        while asking.check_pid_srvid(pnn, own_pid, unique).unwrap() {
            assert!(start.elapsed() < PATIENCE, "the daemon notices the end of a connection");
        }
    }

    fn every_samba_can_connect(cluster: &Cluster) {
        for release in [Release::Samba417, Release::Samba425] {
            for node in 0..cluster.nodes_count() {
                let socket = cluster.socket(node);
                let (mut samba, unique) =
                    Connection::connect_as_samba_process(socket, release).unwrap();
                let (pnn, own_pid) = (samba.pnn(), i32::try_from(std::process::id()).unwrap());
                assert!(samba.check_pid_srvid(pnn, own_pid, unique).unwrap(), "{release:?}");
            }
        }
    }

    fn processes_of_no_node_do_not_exist(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        let pnn = bateria_wire::Pnn(77);
        assert!(!connection.check_pid_srvid(pnn, 1, random_srvid()).unwrap());
        assert!(!connection.process_exists(pnn, 1).unwrap());
    }
}
