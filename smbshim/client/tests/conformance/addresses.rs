//! Public addresses and the TCP connections to them (client protocol §4.1, §9.8). A cluster
//! without public addresses has little to show here.

use crate::cluster::{PATIENCE, conformance};
use bateria_client::{ClientFault, Connection};
use bateria_smbshim::structures::address;
use bateria_wire::Pnn;
use std::net::SocketAddr;
use std::time::Instant;

/// An address that node 0 hosts, if there is any.
fn hosted(connection: &mut Connection) -> Option<SocketAddr> {
    let ips = connection.get_public_ips(Pnn::CURRENT, false).unwrap();
    let pnn = connection.pnn();
    ips.iter().find(|ip| ip.holder == pnn).map(|ip| ip.address)
}

fn connection_to(address: SocketAddr, port: u16) -> address::Connection {
    let source = SocketAddr::from(([192, 0, 2, 7], port));
    address::Connection { source, target: SocketAddr::new(address.ip(), 445) }
}

/// Waits until a node knows exactly these connections to an address.
fn wait_for_tickles(
    connection: &mut Connection,
    pnn: Pnn,
    address: SocketAddr,
    want: &[address::Connection],
) {
    let start = Instant::now();
    loop {
        let list = connection.get_tickles(pnn, address).unwrap();
        assert_eq!(list.address.ip(), address.ip());
        if list.connections == want {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "node {pnn} knows {:?}", list.connections);
    }
}

conformance! {
    fn addresses_are_described_by_their_nodes(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        for pnn in cluster.pnns() {
            for ip in connection.get_public_ips(pnn, false).unwrap() {
                let info = connection.get_public_ip_info(pnn, ip.address).unwrap();
                assert_eq!(info.address, ip);
                assert!(!info.interfaces.is_empty());
            }
        }
    }

    fn unknown_addresses_have_no_description(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        let nobody: SocketAddr = "192.0.2.99:0".parse().unwrap();
        let outcome = connection.get_public_ip_info(Pnn::CURRENT, nobody);
        assert!(matches!(outcome, Err(ClientFault::Refused { status: -1, .. })), "{outcome:?}");
        let outcome = connection.get_tickles(Pnn::CURRENT, nobody);
        assert!(matches!(outcome, Err(ClientFault::Refused { status: 1, .. })), "{outcome:?}");
    }

    fn connections_of_clients_are_known_on_every_node_that_has_the_address(cluster: &Cluster) {
        let mut asking = cluster.connect(0);
        let Some(address) = hosted(&mut asking) else { return };
        let mut serving = cluster.connect(0);
        let (one, two) = (connection_to(address, 40_001), connection_to(address, 40_002));
        serving.tcp_client(one).unwrap();
        serving.tcp_client(two).unwrap();
        for pnn in cluster.pnns() {
            wait_for_tickles(&mut asking, pnn, address, &[one, two]);
        }
        drop(serving);
        for pnn in cluster.pnns() {
            wait_for_tickles(&mut asking, pnn, address, &[]);
        }
    }
}
