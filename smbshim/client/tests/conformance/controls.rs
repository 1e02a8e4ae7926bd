//! Controls in general and those about node and cluster (client protocol §3).

use crate::cluster::{PATIENCE, SILENCE, conformance};
use bateria_client::ClientFault;
use bateria_smbshim::control::text;
use bateria_smbshim::structures::node::{Node, RecoveryMode, RunState};
use bateria_smbshim::structures::tunable::{Tunable, TunableList};
use bateria_smbshim::{ControlRequest, Opcode, Tier};
use bateria_wire::{NodeFlags, Pnn};

conformance! {
    fn obsolete_and_unknown_controls_fail(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        // These are still counted, though nobody sends them.
        let counted = [Opcode::StartPersistentUpdate, Opcode::CancelPersistentUpdate];
        let obsolete = Opcode::ALL.iter().filter(|opcode| {
            opcode.tier() == Tier::D && !counted.contains(opcode)
        });
        for opcode in obsolete.map(|opcode| *opcode as u32).chain([2, 12, 106, 200, 0xFFFF]) {
            let reply = connection.raw_control(Pnn::CURRENT, opcode, &[], |reply| {
                (reply.status, reply.data.len())
            });
            assert_eq!(reply.unwrap(), (-1, 0), "{opcode}");
        }
    }

    fn payloads_of_the_wrong_size_fail(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        for (opcode, right_size) in [
            (Opcode::Ping, 0),
            (Opcode::GetNodeMap, 0),
            (Opcode::GetDbMap, 0),
            (Opcode::GetDbPath, 4),
            (Opcode::GetDbSeqnum, 8),
            (Opcode::CheckPidSrvid, 12),
            (Opcode::TraverseStart, 16),
            (Opcode::ProcessExists, 4),
            (Opcode::GetTcpTickleList, 28),
        ] {
            for size in (0..30).filter(|size| *size != right_size) {
                let data = vec![0; size];
                let status = connection
                    .raw_control(Pnn::CURRENT, opcode as u32, &data, |reply| reply.status);
                assert_eq!(status.unwrap(), -1, "{opcode} with {size} bytes");
            }
        }
    }

    fn some_controls_ignore_a_payload(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        for opcode in [
            Opcode::GetPnn, Opcode::GetPid, Opcode::GetRecMode, Opcode::GetCapabilities,
            Opcode::Uptime, Opcode::ListTunables,
        ] {
            let status = connection
                .raw_control(Pnn::CURRENT, opcode as u32, &[0; 5], |reply| reply.status);
            assert!(status.unwrap() >= 0, "{opcode}");
        }
    }

    fn every_node_answers_through_every_node(cluster: &Cluster) {
        for node in 0..cluster.nodes_count() {
            let mut connection = cluster.connect(node);
            assert_eq!(connection.pnn().index(), node);
            for pnn in cluster.pnns() {
                assert_eq!(connection.get_pnn(pnn).unwrap(), pnn);
                assert_eq!(connection.get_run_state(pnn).unwrap(), RunState::Running);
                assert!(connection.ping(pnn).unwrap() >= 1);
            }
        }
    }

    fn the_nodes_agree_about_the_cluster(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        let map = connection.get_vnn_map(Pnn(0)).unwrap();
        assert!(map.lmasters.is_sorted() && !map.lmasters.is_empty());
        for pnn in cluster.pnns() {
            let nodes = connection.get_node_map(pnn).unwrap();
            let (deleted, present): (Vec<Node>, Vec<Node>) =
                nodes.iter().partition(|node| node.flags.contains(NodeFlags::DELETED));
            assert_eq!(present.len(), cluster.nodes_count());
            assert!(deleted.iter().all(|node| *node == Node::deleted(node.pnn)));
            for (index, node) in nodes.iter().enumerate() {
                assert_eq!(node.pnn.index(), index);
                let is_deleted = deleted.contains(node);
                assert_eq!(node.flags.intersects(NodeFlags::INACTIVE), is_deleted, "{node:?}");
            }
            assert_eq!(connection.get_nodes_file(pnn).unwrap().len(), nodes.len());
            assert_eq!(connection.get_vnn_map(pnn).unwrap(), map);
            assert_eq!(connection.get_recovery_mode(pnn).unwrap(), RecoveryMode::Normal);
        }
    }

    fn a_daemon_keeps_its_identity(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        let (pid, uptime) =
            (connection.get_pid(Pnn::CURRENT).unwrap(), connection.uptime(Pnn::CURRENT).unwrap());
        let later = connection.uptime(Pnn::CURRENT).unwrap();
        assert_eq!(connection.get_pid(Pnn::CURRENT).unwrap(), pid);
        assert_eq!(later.daemon_started, uptime.daemon_started);
        assert!(later.now >= uptime.now && uptime.now > uptime.daemon_started);
    }

    fn a_node_that_is_not_there_is_named_as_such(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        for pnn in [Pnn(77), Pnn(0x1234_5678)] {
            match connection.get_pid(pnn) {
                Err(ClientFault::Refused { status: -1, text, .. }) => {
                    assert_eq!(text, text::TO_DISCONNECTED_NODE);
                }
                other => panic!("{pnn}: {other:?}"),
            }
        }
    }

    fn nobody_answers_who_must_not(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        let request = ControlRequest::GetDbPath(bateria_wire::DbId(1));
        connection.control_without_reply(Pnn::CURRENT, &request).unwrap();
        connection.control_without_reply(Pnn(77), &request).unwrap();
        // An answer would arrive before the next one and have no request.
        assert_eq!(connection.recv_message(Some(SILENCE)).unwrap(), None);
        assert_eq!(connection.unasked_answers(), 0);
        connection.get_pnn(Pnn::CURRENT).unwrap();
    }

    fn tunables_are_listed_read_and_set(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        let names = connection.list_tunables(Pnn::CURRENT).unwrap();
        assert_eq!(TunableList(names.clone()), TunableList::of_live());
        let all = connection.get_all_tunables(Pnn::CURRENT).unwrap();
        for name in &names {
            let tunable = Tunable::from_name(name).unwrap();
            let value = connection.get_tunable(Pnn::CURRENT, &name.to_lowercase()).unwrap();
            assert_eq!(value, all.get(tunable), "{name}");
        }
        let name = "LockProcessesPerDB";
        let value = all.get(Tunable::LockProcessesPerDb);
        connection.set_tunable(Pnn::CURRENT, name, value + 1).unwrap();
        assert_eq!(connection.get_tunable(Pnn::CURRENT, name).unwrap(), value + 1);
        connection.set_tunable(Pnn::CURRENT, name, value).unwrap();
    }

    fn odd_tunables_have_their_own_statuses(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        let status = |outcome| match outcome {
            Err(ClientFault::Refused { status, .. }) => status,
            other => panic!("{other:?}"),
        };
        assert_eq!(status(connection.get_tunable(Pnn::CURRENT, "foo").map(|_| ())), -22);
        assert_eq!(status(connection.set_tunable(Pnn::CURRENT, "foo", 1)), -1);
        assert_eq!(status(connection.set_tunable(Pnn::CURRENT, "VacuumLimit", 5000)), 1);
    }

    fn statistics_have_their_layout(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        let before = connection.statistics(Pnn::CURRENT).unwrap();
        connection.ping(Pnn::CURRENT).unwrap();
        let after = connection.statistics(Pnn::CURRENT).unwrap();
        assert!(after.num_clients >= 1);
        assert!(after.client.req_control > before.client.req_control);
        assert!(after.start_time.seconds > 1_000_000_000);
        assert!(after.current_time >= after.start_time);
        connection.statistics_history(Pnn::CURRENT).unwrap();
    }

    fn small_questions_have_answers(cluster: &Cluster) {
        let mut connection = cluster.connect(0);
        for pnn in cluster.pnns() {
            connection.get_capabilities(pnn).unwrap();
            connection.get_debug(pnn).unwrap();
            connection.get_reclock_file(pnn).unwrap();
            connection.get_ban_state(pnn).unwrap();
            connection.get_interfaces(pnn).unwrap();
            connection.get_public_ips(pnn, false).unwrap();
            connection.get_public_ips(pnn, true).unwrap();
            connection.get_db_map(pnn).unwrap();
            assert!(!connection.dump_memory(pnn).unwrap().is_empty());
        }
        assert_eq!(connection.echo(Pnn::CURRENT, 0, b"echo").unwrap(), b"echo");
    }

    fn the_leader_speaks_every_second(cluster: &Cluster) {
        use bateria_wire::Srvid;
        let mut connection = cluster.connect(cluster.last_node());
        connection.register_srvid(Srvid::LEADER).unwrap();
        let message = connection.recv_message_to(Srvid::LEADER, Some(PATIENCE)).unwrap();
        let data = message.expect("the leader speaks").data;
        let leader = Pnn(u32::from_ne_bytes(data.try_into().expect("a PNN")));
        assert!(leader.index() < cluster.nodes_count(), "{leader}");
    }
}
