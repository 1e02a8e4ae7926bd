//! Messages, notifications, tunnels (client protocol §8).

use crate::cluster::{Cluster, PATIENCE, SILENCE, conformance};
use bateria_client::connection::random_srvid;
use bateria_client::{ClientFault, Connection};
use bateria_smbshim::TunnelFlags;
use bateria_wire::{Pnn, Srvid};

fn listener(cluster: &Cluster, node: usize, srvid: Srvid) -> Connection {
    let mut connection = cluster.connect(node);
    connection.register_srvid(srvid).unwrap();
    connection
}

/// Takes one message and says whether another one follows.
fn copies(connection: &mut Connection, data: &[u8]) -> usize {
    let first = connection.recv_message(Some(PATIENCE)).unwrap();
    assert_eq!(first.expect("a message arrives").data, data);
    let mut count = 1;
    while let Some(message) = connection.recv_message(Some(SILENCE)).unwrap() {
        assert_eq!(message.data, data);
        count += 1;
    }
    count
}

conformance! {
    fn each_registration_gets_its_copy(cluster: &Cluster) {
        let srvid = random_srvid();
        let mut twice = listener(cluster, 0, srvid);
        twice.register_srvid(srvid).unwrap();
        let mut once = listener(cluster, 0, srvid);
        once.send_message(Pnn::CURRENT, srvid, b"one").unwrap();
        assert_eq!((copies(&mut twice, b"one"), copies(&mut once, b"one")), (2, 1));

        twice.deregister_srvid(srvid).unwrap();
        once.send_message(Pnn::CURRENT, srvid, b"two").unwrap();
        assert_eq!((copies(&mut twice, b"two"), copies(&mut once, b"two")), (1, 1));

        twice.deregister_srvid(srvid).unwrap();
        let again = twice.deregister_srvid(srvid);
        assert!(matches!(again, Err(ClientFault::Refused { status: 2, .. })), "{again:?}");
        once.send_message(Pnn::CURRENT, srvid, b"three").unwrap();
        assert_eq!(copies(&mut once, b"three"), 1);
        assert_eq!(twice.recv_message(Some(SILENCE)).unwrap(), None);
    }

    fn broadcasts_reach_every_node_and_the_sender(cluster: &Cluster) {
        let srvid = random_srvid();
        let mut listeners: Vec<_> =
            (0..cluster.nodes_count()).map(|node| listener(cluster, node, srvid)).collect();
        for target in [Pnn::BROADCAST_ALL, Pnn::BROADCAST_ACTIVE, Pnn::BROADCAST_CONNECTED] {
            listeners[0].send_message(target, srvid, b"all").unwrap();
            for listener in &mut listeners {
                assert_eq!(copies(listener, b"all"), 1, "{target}");
            }
        }
    }

    fn messages_across_nodes_keep_their_order(cluster: &Cluster) {
        let srvid = random_srvid();
        let target = cluster.last_node();
        let mut receiver = listener(cluster, target, srvid);
        let mut sender = cluster.connect(0);
        let target = receiver.pnn();
        for number in 0..2000_u32 {
            sender.send_message(target, srvid, &number.to_ne_bytes()).unwrap();
        }
        for number in 0..2000_u32 {
            let message = receiver.recv_message(Some(PATIENCE)).unwrap().expect("none is lost");
            assert_eq!(message.data, number.to_ne_bytes());
            assert_eq!(message.srvid, srvid);
        }
    }

    fn large_messages_cross_nodes(cluster: &Cluster) {
        let srvid = random_srvid();
        let mut receiver = listener(cluster, cluster.last_node(), srvid);
        let mut sender = cluster.connect(0);
        for size in [0, 1, 7, 8, 65_536, 3 * 1024 * 1024 + 1] {
            let data: Vec<u8> = (0..size).map(|at: u32| at.to_ne_bytes()[0]).collect();
            sender.send_message(receiver.pnn(), srvid, &data).unwrap();
            let message = receiver.recv_message(Some(PATIENCE)).unwrap();
            assert!(message.expect("it arrives").data == data, "{size} bytes arrive as sent");
        }
    }

    fn messages_to_nobody_vanish(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        for target in [Pnn::CURRENT, Pnn(1), Pnn(77), Pnn::UNKNOWN, Pnn::BROADCAST_ALL] {
            connection.send_message(target, random_srvid(), b"?").unwrap();
        }
        assert_eq!(connection.recv_message(Some(SILENCE)).unwrap(), None);
        connection.get_pnn(Pnn::CURRENT).unwrap();
    }

    fn who_registers_all_gets_everything(cluster: &Cluster) {
        let srvid = random_srvid();
        let mut all = listener(cluster, 0, Srvid::ALL);
        let mut sender = cluster.connect(0);
        sender.send_message(Pnn::CURRENT, srvid, b"any").unwrap();
        let message = all.recv_message_to(srvid, Some(PATIENCE)).unwrap();
        assert_eq!(message.expect("ALL means all").data, b"any");
    }

    fn the_end_of_a_connection_is_announced_everywhere(cluster: &Cluster) {
        let srvid = random_srvid();
        let mut listeners: Vec<_> =
            (0..cluster.nodes_count()).map(|node| listener(cluster, node, srvid)).collect();
        let forgotten = random_srvid();
        let mut dying = cluster.connect(0);
        dying.register_notify(srvid, b"gone!\0").unwrap();
        let again = dying.register_notify(srvid, b"twice");
        assert!(matches!(again, Err(ClientFault::Refused { status: -1, .. })), "{again:?}");
        dying.register_notify(forgotten, b"never").unwrap();
        dying.deregister_notify(forgotten).unwrap();
        let unknown = dying.deregister_notify(forgotten);
        assert!(matches!(unknown, Err(ClientFault::Refused { status: -1, .. })), "{unknown:?}");
        drop(dying);
        for listener in &mut listeners {
            assert_eq!(copies(listener, b"gone!\0"), 1);
        }
    }

    fn tunnels_lead_to_their_registrant(cluster: &Cluster) {
        let id = random_srvid().0;
        let (mut near, mut far) = (cluster.connect(0), cluster.connect(cluster.last_node()));
        near.register_tunnel(id).unwrap();
        if cluster.nodes_count() > 1 {
            far.register_tunnel(id).unwrap();
        }
        let again = cluster.connect(0).register_tunnel(id);
        assert!(matches!(again, Err(ClientFault::Refused { status: -1, .. })), "{again:?}");

        let far_pnn = far.pnn();
        near.send_tunnel(far_pnn, id, TunnelFlags::REQUEST, b"tunn!").unwrap();
        let receiver = if cluster.nodes_count() > 1 { &mut far } else { &mut near };
        let packet = receiver.recv_tunnel(Some(PATIENCE)).unwrap().expect("it arrives");
        assert_eq!((packet.tunnel_id, packet.flags), (id, TunnelFlags::REQUEST));
        assert_eq!(packet.data, b"tunn!");
        near.deregister_tunnel(id).unwrap();
    }
}
