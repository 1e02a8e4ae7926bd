//! The answers to controls that this node gives.

use crate::clock;
use crate::command_line::FileOrCommand;
use crate::log::LogLevel;
use crate::mail::{ControlMail, Origin, ShardMail};
use crate::nodes_file::Nodes;
use crate::problem::Problems;
use crate::registry::Listener;
use crate::shard::Shard;
use crate::shard::controls::Asker;
use crate::statistics::timeval;
use bateria_core::cluster::RecoveryMode;
use bateria_smbshim::control::{ControlReply, ControlRequest, Echo, ReplyData};
use bateria_smbshim::session::Refusal;
use bateria_smbshim::structures::db_statistics::{DbStatistics, StatisticsHistory};
use bateria_smbshim::structures::node::{BanState, Node, NodeMap, Timeval, Uptime};
use bateria_smbshim::structures::tunable::{Tunable, TunableList};
use bateria_wire::{DbKind, NodeFlags};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;

/// Bits of GET_CAPABILITIES that can be switched.
const CAPABILITY_LEADER: u32 = 0x1;
const CAPABILITY_LMASTER: u32 = 0x2;

impl Shard {
    /// Carries a control out. `None`: the answer follows, or nobody gets one.
    #[expect(clippy::too_many_lines, reason = "a line for each control")]
    pub(crate) fn execute(
        &mut self,
        asker: Asker,
        origin: Origin,
        request: &ControlRequest<'_>,
    ) -> Option<ControlReply> {
        let shared = self.io.shared.clone();
        let view = shared.view();
        Some(match request {
            ControlRequest::GetPnn => status(shared.me.0),
            ControlRequest::GetPid => status(std::process::id()),
            ControlRequest::Ping => {
                // At least one, as the original counts its own helpers.
                let clients_count = shared.registry.clients_count().max(1);
                status(u32::try_from(clients_count).unwrap_or(u32::MAX))
            }
            ControlRequest::GetRecMode => status(view.recovery_mode as u32),
            ControlRequest::GetRunState => number(view.run_state as u32),
            ControlRequest::GetCapabilities => {
                let own = view.nodes.iter().find(|node| node.pnn == shared.me);
                number(own.map_or(0, |node| node.capabilities.bits()) | 0x3_0000)
            }
            ControlRequest::GetVnnMap => ControlReply::data(ReplyData::VnnMap(self.shown_map())),
            ControlRequest::GetNodeMap => ControlReply::data(ReplyData::NodeMap(self.node_map())),
            ControlRequest::GetNodesFile => self.nodes_file(),
            ControlRequest::GetReclockFile => ControlReply::data(
                shared.cluster_lock.clone().map_or(ReplyData::Empty, ReplyData::Text),
            ),
            ControlRequest::Uptime => ControlReply::data(ReplyData::Uptime(self.uptime())),
            ControlRequest::Statistics => {
                let recovering = view.recovery_mode == RecoveryMode::Active;
                let clients_count = shared.registry.clients_count();
                let report = shared.statistics.report(clients_count, recovering);
                ControlReply::data(ReplyData::Statistics(Box::new(report)))
            }
            ControlRequest::StatisticsReset => {
                shared.statistics.reset();
                ControlReply::done()
            }
            ControlRequest::GetStatHistory => {
                let history = StatisticsHistory(Vec::new());
                ControlReply::data(ReplyData::StatisticsHistory(history))
            }
            ControlRequest::GetDbStatistics(db) => match shared.databases.get(*db) {
                Some(_) => {
                    let statistics = Box::new(DbStatistics::default());
                    ControlReply::data(ReplyData::DbStatistics(statistics))
                }
                None => ControlReply::failed(),
            },
            ControlRequest::GetDebug => {
                ControlReply::data(ReplyData::LogLevel(shared.log.level().number()))
            }
            ControlRequest::SetDebug { level } => match LogLevel::from_number(*level) {
                Ok(level) => {
                    shared.log.set_level(level);
                    ControlReply::done()
                }
                Err(_) => ControlReply::failed(),
            },
            ControlRequest::DumpMemory => {
                ControlReply::data(ReplyData::Report(self.memory_report()))
            }
            ControlRequest::Echo { delay_ms, data } => {
                let echo = Echo { delay_ms: *delay_ms, data: data.to_vec() };
                ControlReply::data(ReplyData::Echo(echo))
            }
            ControlRequest::Shutdown => {
                self.io.tell_control(ControlMail::Shutdown);
                return None;
            }
            ControlRequest::SetLmasterRole { enabled } => {
                return self.set_capability(origin, CAPABILITY_LMASTER, *enabled);
            }
            ControlRequest::SetRecMasterRole { enabled } => {
                return self.set_capability(origin, CAPABILITY_LEADER, *enabled);
            }
            ControlRequest::SetRecMode { mode: 1 } => {
                let reason = "requested by a client".to_owned();
                self.io.tell_control(ControlMail::RequestRecovery { reason });
                ControlReply::done()
            }
            ControlRequest::SetRecMode { mode: 0 } => status(view.recovery_mode as u32 * u32::MAX),
            ControlRequest::StopNode => return self.set_flags(origin, NodeFlags::STOPPED, true),
            ControlRequest::ContinueNode => {
                return self.set_flags(origin, NodeFlags::STOPPED, false);
            }
            ControlRequest::DisableNode => {
                return self.set_flags(origin, NodeFlags::PERMANENTLY_DISABLED, true);
            }
            ControlRequest::EnableNode => {
                return self.set_flags(origin, NodeFlags::PERMANENTLY_DISABLED, false);
            }
            ControlRequest::GetBanState => {
                let ban = BanState { pnn: shared.me, duration_s: 0 };
                ControlReply::data(ReplyData::BanState(ban))
            }
            ControlRequest::ListTunables => {
                ControlReply::data(ReplyData::TunableList(TunableList::of_live()))
            }
            ControlRequest::GetAllTunables => {
                let all = shared.with_tunables(|tunables| Box::new(*tunables));
                ControlReply::data(ReplyData::Tunables(all))
            }
            ControlRequest::GetTunable(get) => match Tunable::from_name(get.name) {
                Some(tunable) => number(shared.with_tunables(|tunables| tunables.get(tunable))),
                None => ControlReply::value(-22),
            },
            ControlRequest::SetTunable(set) => {
                let outcome =
                    shared.change_tunables(|tunables| tunables.set_named(set.name, set.value));
                for shard in 0..self.io.shards.len() {
                    self.io.tell_shard(shard, ShardMail::TunablesChanged);
                }
                ControlReply::value(outcome.status())
            }
            ControlRequest::ProcessExists { pid } => self.process_exists(*pid),
            ControlRequest::CheckPidSrvid { pid, srvid } => {
                let known = u32::try_from(*pid)
                    .is_ok_and(|pid| shared.registry.has_registered(pid, *srvid));
                if known { ControlReply::done() } else { ControlReply::failed() }
            }
            ControlRequest::RegisterSrvid(_)
            | ControlRequest::DeregisterSrvid(_)
            | ControlRequest::RegisterNotify(_)
            | ControlRequest::DeregisterNotify(_)
            | ControlRequest::TunnelRegister { .. }
            | ControlRequest::TunnelDeregister { .. } => self.registration(asker, request),
            ControlRequest::Attach(attach) => return self.attach(origin, attach),
            ControlRequest::GetDbMap => ControlReply::data(ReplyData::DbMap(self.db_map())),
            ControlRequest::GetDbName(db) => self.db_text(*db, |info| info.name.clone()),
            ControlRequest::GetDbPath(db) => {
                self.db_text(*db, |info| info.path.to_string_lossy().into_owned())
            }
            ControlRequest::DbOpenFlags(db) => match shared.databases.get(*db) {
                Some(info) => number(info.client_open_flags().bits()),
                None => ControlReply::failed(),
            },
            ControlRequest::EnableSeqnum(db) => {
                self.switch(*db, |info| info.counts_changes.store(true, Ordering::Release))
            }
            ControlRequest::SetDbReadonly(db) => match shared.databases.get(*db) {
                Some(info) if info.kind == DbKind::Volatile => {
                    info.readonly.store(true, Ordering::Release);
                    ControlReply::done()
                }
                _ => ControlReply::failed(),
            },
            ControlRequest::SetDbSticky(db) => match shared.databases.get(*db) {
                Some(info) if info.kind == DbKind::Volatile => {
                    info.sticky.store(true, Ordering::Release);
                    ControlReply::done()
                }
                _ => ControlReply::failed(),
            },
            ControlRequest::GetDbSeqnum(db) => return self.db_sequence_number(origin, *db),
            ControlRequest::DbGetHealth(db) => match shared.databases.get(*db) {
                Some(info) if info.failed.load(Ordering::Acquire) => {
                    let reason = "the file is damaged; see the log".to_owned();
                    ControlReply::data(ReplyData::Text(reason))
                }
                Some(_) => ControlReply::done(),
                None => ControlReply::failed(),
            },
            // A copy is made sound by copying a sound one, not by saying so.
            ControlRequest::DbSetHealthy(db) => match shared.databases.get(*db) {
                Some(info) if !info.failed.load(Ordering::Acquire) => ControlReply::done(),
                _ => ControlReply::failed(),
            },
            // Tombstones go by themselves, in time (`VacuumInterval`).
            ControlRequest::DbVacuum { db_id, .. } => match shared.databases.get(*db_id) {
                Some(info) if info.kind == DbKind::Volatile => ControlReply::done(),
                _ => ControlReply::failed(),
            },
            ControlRequest::ScheduleForDeletion(deletion) => {
                self.schedule_deletion(deletion.db_id, deletion.key)
            }
            ControlRequest::TraverseStart(start) => {
                return self.traverse(origin, start, false);
            }
            ControlRequest::TraverseStartExt(start) => {
                return self.traverse(origin, &start.start, start.with_empty.0);
            }
            ControlRequest::PushRecord(push) => return self.push(origin, push),
            ControlRequest::PushRecordStore(push) => return self.store_push(origin, push),
            // No address is public, so none has tickles.
            ControlRequest::GetTcpTickleList(_) => status(1),
            ControlRequest::GetPublicIps { .. } => {
                ControlReply::data(ReplyData::PublicIps(Vec::new()))
            }
            ControlRequest::GetIfaces => ControlReply::data(ReplyData::Interfaces(Vec::new())),
            // Without public addresses there is nothing to remember (client protocol §9.8).
            ControlRequest::TcpClient(_)
            | ControlRequest::TcpClientDisconnected(_)
            | ControlRequest::TcpClientPassed(_)
            | ControlRequest::IpReallocated => ControlReply::done(),
            _ => ControlReply::failed(),
        })
    }

    fn node_map(&self) -> NodeMap {
        let view = self.io.shared.view();
        let nodes = view.nodes.iter().map(|node| {
            let address = self.io.shared.addresses.get(node.pnn.index()).copied().flatten();
            let none = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
            Node { pnn: node.pnn, flags: node.flags, address: address.unwrap_or(none) }
        });
        nodes.collect()
    }

    /// Before the first generation the map names the node alone, since clients refuse an empty
    /// one.
    fn shown_map(&self) -> bateria_wire::VnnMap {
        let mut map = self.io.shared.view().vnn_map.clone();
        if map.lmasters.is_empty() {
            map.lmasters.push(self.io.shared.me);
        }
        map
    }

    /// The nodes list as it says now. A program that makes it is not run here: it may take long.
    fn nodes_file(&self) -> ControlReply {
        let source = &self.io.shared.nodes_list;
        if matches!(source, FileOrCommand::Command(_)) {
            return ControlReply::failed();
        }
        let mut problems = Problems::default();
        let nodes = Nodes::load(source, &mut problems);
        problems.iter().for_each(|problem| tracing::warn!("{problem}"));
        if problems.has_errors() {
            return ControlReply::failed();
        }
        let deleted = NodeFlags::DELETED | NodeFlags::DISCONNECTED;
        let nodes = nodes.iter().map(|node| Node {
            pnn: node.pnn,
            flags: if node.deleted { deleted } else { NodeFlags::empty() },
            address: node.address,
        });
        ControlReply::data(ReplyData::NodeMap(nodes.collect()))
    }

    fn uptime(&self) -> Uptime {
        let view = self.io.shared.view();
        let at = |at_us: Option<bateria_core::cluster::Micros>| {
            at_us.map_or(Timeval::default(), |at| timeval(clock::wall_time_at(at.0)))
        };
        Uptime {
            now: timeval(std::time::SystemTime::now()),
            daemon_started: timeval(self.io.shared.started),
            recovery_started: at(view.last_recovery_started),
            recovery_finished: at(view.last_recovery_finished),
        }
    }

    fn memory_report(&self) -> String {
        format!(
            "shard {}: {} clients, {} records located, {} chain waits\n",
            self.io.index,
            self.io.clients.len(),
            self.records.located_count(),
            self.waits.count()
        )
    }

    fn process_exists(&mut self, pid: i32) -> ControlReply {
        let Some(number) = u32::try_from(pid).ok().filter(|pid| *pid > 0) else {
            return ControlReply::failed();
        };
        let shared = self.io.shared.clone();
        if !shared.flags_of(shared.me).is_active() {
            // The answer becomes true (database semantics §9.4).
            for session in shared.registry.sessions_of(number) {
                if self.io.is_own(session.shard()) {
                    self.disconnect_process(number);
                }
            }
            return ControlReply::failed();
        }
        let alive = rustix::process::Pid::from_raw(pid)
            .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok());
        if alive && !shared.registry.sessions_of(number).is_empty() {
            ControlReply::done()
        } else {
            ControlReply::failed()
        }
    }

    /// What a connection enters for itself.
    fn registration(&mut self, asker: Asker, request: &ControlRequest<'_>) -> ControlReply {
        let Asker::Client(place) = asker else { return ControlReply::failed() };
        let registry = &self.io.shared.registry;
        let Some(client) = self.io.clients.get_mut(place) else { return ControlReply::failed() };
        let (id, pid) = (client.id, client.pid);
        let outcome = match request {
            ControlRequest::RegisterSrvid(srvid) => client.session.register(*srvid).map(|_| {
                registry.register(*srvid, Listener { session: id, pid });
            }),
            ControlRequest::DeregisterSrvid(srvid) => {
                if client.session.deregister(*srvid).is_none() {
                    return ControlReply::value(2);
                }
                registry.deregister(*srvid, id);
                Ok(())
            }
            ControlRequest::RegisterNotify(notify) => client.session.register_notify(*notify),
            ControlRequest::DeregisterNotify(srvid) => client.session.deregister_notify(*srvid),
            ControlRequest::TunnelRegister { tunnel_id } => {
                client.session.register_tunnel(*tunnel_id).and_then(|()| {
                    if registry.register_tunnel(*tunnel_id, id) {
                        return Ok(());
                    }
                    client.session.deregister_tunnel(*tunnel_id).and(Err(Refusal::Duplicate))
                })
            }
            ControlRequest::TunnelDeregister { tunnel_id } => {
                registry.deregister_tunnel(*tunnel_id, id);
                client.session.deregister_tunnel(*tunnel_id)
            }
            _ => unreachable!("no registration"),
        };
        match outcome {
            Ok(()) => ControlReply::done(),
            Err(refusal) => refusal.control_reply(),
        }
    }

    fn set_capability(&mut self, origin: Origin, bit: u32, enabled: bool) -> Option<ControlReply> {
        self.io.tell_control(ControlMail::SetCapability { origin, bit, enabled });
        None
    }

    fn set_flags(&mut self, origin: Origin, flags: NodeFlags, set: bool) -> Option<ControlReply> {
        let none = NodeFlags::empty();
        let (set, clear) = if set { (flags, none) } else { (none, flags) };
        self.io.tell_control(ControlMail::SetFlags { origin, set, clear });
        None
    }
}

fn status(value: u32) -> ControlReply {
    ControlReply::value(value.cast_signed())
}

fn number(value: u32) -> ControlReply {
    ControlReply::data(ReplyData::Number(value))
}
