//! Start and end of the daemon: what is checked, opened and started, in which order, and what the
//! caller hears when something is wrong.

use crate::blocking::BlockingPool;
use crate::clock;
use crate::cluster_lock::{ClusterLock, LockConfig};
use crate::control::attach::{Attaches, Directories};
use crate::control::doors::{Doors, OpenDoors};
use crate::control::generations::Progress;
use crate::control::links::Links;
use crate::control::vote_file::VoteFile;
use crate::control::{self, Control};
use crate::cpus::{ShardLayout, Usable};
use crate::daemonize::{self, Readiness, Session, Side};
use crate::hello;
use crate::log::{Log, LogLocation, OpenLog};
use crate::mail::ControlMail;
use crate::nodes_file::Nodes;
use crate::options::Options;
use crate::outbox::Outbox;
use crate::own_node::{OwnNode, OwnNodeFault};
use crate::paths::Paths;
use crate::pid_file::PidFile;
use crate::problem::{Problems, Severity};
use crate::settings::{Poll, QuorumRule, Settings};
use crate::shard_threads::{ShardPlan, start_shards};
use crate::shared::{Node, Shared};
use crate::tunables;
use bateria_core::cluster::{Capabilities, Cluster, Config, Micros, NodeConfig, Quorum, Timing};
use bateria_ring::mailbox::{self, MailboxSender};
use bateria_ring::{Ring, RingConfig};
use bateria_smbshim::structures::tunable::Tunables;
use bateria_wire::{NodeFlags, Pnn};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Exit code when the client socket cannot be bound (cluster management §1.2).
const EXIT_SOCKET: u8 = 10;
const EXIT_FAILURE: u8 = 1;
/// The caller of the daemon waits so long for it to accept clients.
const START_TIME_MAX: Duration = Duration::from_mins(1);
/// How long the node's port may be in use before the start fails.
const PORT_TIME_MAX: Duration = Duration::from_secs(2);
/// Messages that wait for a thread before their senders keep them.
pub(crate) const MAILBOX_CAPACITY: usize = 16 * 1024;
/// Adaptive polling looks for new work for about the time that waking up takes.
const POLL_TIME: Duration = Duration::from_micros(50);

/// All that is read before the daemon begins.
struct Configuration {
    interactive: bool,
    paths: Paths,
    options: Options,
    settings: Settings,
    nodes: Nodes,
    tunables: Tunables,
}

/// Runs the daemon, or starts it in the background and reports how that went.
#[must_use]
pub fn run(interactive: bool) -> ExitCode {
    let paths = match Paths::of_process() {
        Ok(paths) => paths,
        Err(fault) => return complain(&fault.to_string()),
    };
    let mut problems = Problems::default();
    let options = Options::load(&paths, &mut problems);
    let settings = Settings::load(&paths, &mut problems);
    let nodes = Nodes::load(&options.cluster.nodes_list, &mut problems);
    let tunables = tunables::load(&paths, &mut problems);
    if problems.has_errors() {
        problems.iter().for_each(|problem| eprintln!("{problem}"));
        return ExitCode::from(EXIT_FAILURE);
    }
    let location = if interactive { LogLocation::Stderr } else { options.logging.location.clone() };
    let log = match OpenLog::open(&location, &paths.host_in_log) {
        Ok(log) => log,
        Err(fault) => return complain(&fault.to_string()),
    };
    let readiness = if interactive {
        Readiness::foreground()
    } else {
        let session = if paths.test_mode { Session::Inherited } else { Session::New };
        match daemonize::detach(session, START_TIME_MAX) {
            Ok(Side::Caller(outcome)) => return outcome.finish(),
            Ok(Side::Daemon(readiness)) => readiness,
            Err(fault) => return complain(&fault.to_string()),
        }
    };
    let configuration = Configuration { interactive, paths, options, settings, nodes, tunables };
    start(configuration, log, readiness, &problems)
}

fn complain(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(EXIT_FAILURE)
}

/// Everything from here on is in the daemon's own process.
fn start(
    configuration: Configuration,
    log: OpenLog,
    readiness: Readiness,
    problems: &Problems,
) -> ExitCode {
    // Before the first other thread starts: all of them leave signals to the control thread.
    // Some scripts send SIGUSR1, which ctdbd ignores; it is read and forgotten.
    let wanted = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1];
    let signals = bateria_ring::signal_descriptor(&wanted);
    let signals = match signals {
        Ok(signals) => signals,
        Err(error) => return readiness.failed(EXIT_FAILURE, &format!("signals: {error}")),
    };
    let level = configuration.options.logging.level;
    let lines_max = configuration.settings.limits.log_queue_lines_max as usize;
    let log = match log.start(level, lines_max) {
        Ok(log) => Arc::new(log),
        Err(fault) => return readiness.failed(EXIT_FAILURE, &fault.to_string()),
    };
    tracing::info!("CTDB starting on node");
    for problem in problems.iter() {
        match problem.severity {
            Severity::Warning => tracing::warn!("{problem}"),
            Severity::Error => tracing::error!("{problem}"),
        }
    }
    let paths = &configuration.paths;
    if let Err(error) = paths.create_run_directory() {
        let text = format!("{}: {error}", paths.run.display());
        return fail(readiness, EXIT_FAILURE, &text);
    }
    let pid_file = match PidFile::create(&paths.pid_file()) {
        Ok(pid_file) => pid_file,
        Err(fault) => return fail(readiness, PidFile::EXIT_CODE, &fault.to_string()),
    };
    let own = match find_own_node(&configuration.nodes, configuration.options.cluster.node_address)
    {
        Ok(own) => own,
        Err(fault) => return fail(readiness, EXIT_FAILURE, &fault.to_string()),
    };
    let clients = match bind_socket(paths) {
        Ok(clients) => clients,
        Err(error) => {
            let text =
                format!("Unable to bind on ctdb socket '{}': {error}", paths.socket.display());
            return fail(readiness, EXIT_SOCKET, &text);
        }
    };
    let outcome = serve(&configuration, log.clone(), own, clients, signals, readiness);
    // Its name goes while the pid file is locked, so that it cannot be the next daemon's.
    let _ = std::fs::remove_file(&paths.socket);
    let _ = log.flush(Duration::from_secs(1));
    drop(pid_file);
    outcome
}

/// A daemon that was killed a moment ago may still be letting go of its port.
fn find_own_node(
    nodes: &Nodes,
    node_address: Option<std::net::IpAddr>,
) -> Result<OwnNode, OwnNodeFault> {
    let until = std::time::Instant::now() + PORT_TIME_MAX;
    loop {
        match OwnNode::find(nodes, node_address) {
            Err(
                OwnNodeFault::NotBindable { error, .. } | OwnNodeFault::NoneBindable { error, .. },
            ) if error.kind() == std::io::ErrorKind::AddrInUse
                && std::time::Instant::now() < until =>
            {
                thread::sleep(Duration::from_millis(20));
            }
            outcome => return outcome,
        }
    }
}

fn fail(readiness: Readiness, exit_code: u8, text: &str) -> ExitCode {
    tracing::error!("{text}");
    readiness.failed(exit_code, text)
}

/// The socket of the clients. Its old file is a leftover: the pid file's lock is ours.
fn bind_socket(paths: &Paths) -> std::io::Result<OwnedFd> {
    match std::fs::remove_file(&paths.socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&paths.socket)?;
    std::fs::set_permissions(&paths.socket, std::fs::Permissions::from_mode(0o700))?;
    for alias in paths.aliases() {
        if let Err(error) = alias.establish() {
            tracing::warn!("{}: {error}", alias.link.display());
        }
    }
    Ok(listener.into())
}

#[expect(clippy::too_many_lines, reason = "each part once, in the order of their making")]
fn serve(
    configuration: &Configuration,
    log: Arc<Log>,
    own: OwnNode,
    clients: OwnedFd,
    signals: OwnedFd,
    readiness: Readiness,
) -> ExitCode {
    let Configuration { paths, options, settings, nodes, tunables, .. } = configuration;
    let layout = ShardLayout::new(
        &Usable::of_process(),
        settings.engine.shards,
        settings.engine.cpus.as_ref(),
    );
    for cpu in &layout.refused {
        tracing::warn!("CPU {cpu} is not among those that this process may use");
    }
    let shards_count = u32::try_from(layout.count()).expect("shards are limited");
    // Not among the databases: whoever checks those expects TDB files.
    let own_directory = paths.var.join("bateria").join(own.pnn.to_string());
    if let Err(error) = std::fs::create_dir_all(&own_directory) {
        let text = format!("{}: {error}", own_directory.display());
        return fail(readiness, EXIT_FAILURE, &text);
    }
    let vote_file = VoteFile::new(own_directory.join("vote"));
    let vote = match vote_file.read() {
        Ok(vote) => vote,
        Err(error) => {
            let text = format!("{}: {error}", vote_file.display());
            return fail(readiness, EXIT_FAILURE, &text);
        }
    };
    let incarnation = new_incarnation();
    let cluster_config = cluster_config(configuration, own.pnn, vote, incarnation);
    if let Err(fault) = cluster_config.check() {
        return fail(readiness, EXIT_FAILURE, &fault.to_string());
    }
    let cluster = Cluster::new(cluster_config, Micros(clock::now_us()));
    let lock_text = options.cluster.lock.as_ref().map(|lock| lock.text.to_string_lossy().into());
    let shared = Arc::new(Shared::new(Node {
        me: own.pnn,
        addresses: nodes.iter().map(|node| (!node.deleted).then_some(node.address)).collect(),
        shards_count,
        cluster_lock: lock_text,
        nodes_list: options.cluster.nodes_list.clone(),
        incarnation,
        tunables: *tunables,
        view: cluster.view().clone(),
        log: log.clone(),
    }));
    // Waiting for locks and for the disk must not get in each other's way.
    let limits = &settings.limits;
    let (threads_max, queue_max) =
        (limits.blocking_threads_count_max as usize, limits.blocking_queue_count_max as usize);
    let lock_pool = Arc::new(BlockingPool::new("lock-wait", threads_max * 8, queue_max));
    let disk_pool = Arc::new(BlockingPool::new("disk", threads_max, queue_max));

    let mut ring = match Ring::new(&RingConfig::default()) {
        Ok(ring) => ring,
        Err(error) => return fail(readiness, EXIT_FAILURE, &error.to_string()),
    };
    let (control_sender, control_inbox) = mailbox::bounded(MAILBOX_CAPACITY, ring.doorbell());
    let poll = (settings.engine.poll == Poll::Adaptive).then_some(POLL_TIME);
    let plan = ShardPlan {
        shared: shared.clone(),
        lock_pool,
        disk_pool: disk_pool.clone(),
        control: control_sender.clone(),
        own_directory,
        poll,
        start: incarnation,
    };
    let started = start_shards(&layout, &plan);
    let (shards, threads) = match started {
        Ok(started) => started,
        Err(text) => return fail(readiness, EXIT_FAILURE, &text),
    };
    let doors = Doors::new(
        &mut ring,
        OpenDoors {
            clients,
            peers: own.listener.into(),
            signals,
            stdin: paths.test_mode.then(daemonize::stdin_pipe).flatten(),
            hello_size_bytes: hello::hello_size_bytes(&shared),
            clients_count_max: limits.clients_count_max as usize,
        },
    );
    let doors = match doors {
        Ok(doors) => doors,
        Err(error) => return fail(readiness, EXIT_FAILURE, &error.to_string()),
    };
    let lock = match spawn_lock(configuration, &control_sender) {
        Ok(lock) => lock,
        Err(error) => return fail(readiness, EXIT_FAILURE, &error.to_string()),
    };
    let control = Control {
        links: Links::new(shared.clone()),
        ring,
        inbox: control_inbox,
        mailbox: control_sender,
        shards: shards.into_iter().map(Outbox::new).collect(),
        cluster,
        doors,
        attaches: Attaches::new(Directories {
            volatile: options.database.volatile_directory.clone(),
            persistent: options.database.persistent_directory.clone(),
            mutexes: options.database.mutexes,
        }),
        progress: Progress::default(),
        lock,
        vote_file,
        pool: disk_pool,
        log,
        readiness: Some(readiness),
        next_leader_message_us: 0,
        has_left: false,
        shared,
    };
    let ended = control.run();
    for thread in threads {
        let _ = thread.join();
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the control thread's ring failed: {error}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

fn spawn_lock(
    configuration: &Configuration,
    control: &MailboxSender<ControlMail>,
) -> std::io::Result<Option<ClusterLock>> {
    let Configuration { interactive, paths, options, settings, .. } = configuration;
    let Some(lock) = &options.cluster.lock else { return Ok(None) };
    let helper = std::env::var_os("CTDB_CLUSTER_MUTEX_HELPER").filter(|path| !path.is_empty());
    let mut config = LockConfig::new(lock.source.clone()).with_helper(helper);
    config.environment = options.script_environment(paths, *interactive);
    let stall_limit_ms = u64::from(settings.cluster.lock_stall_limit_ms);
    config.timing.stall_limit = (stall_limit_ms > 0).then(|| Duration::from_millis(stall_limit_ms));
    let sender = control.clone();
    let lock = ClusterLock::spawn(config, move |attempt, event| {
        control::tell(&sender, ControlMail::Lock(attempt, event));
    });
    lock.map(Some)
}

/// Differs for each start: peers tell by it that all earlier promises are void.
fn new_incarnation() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_us = u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX);
    now_us.max(1)
}

fn cluster_config(
    configuration: &Configuration,
    me: Pnn,
    vote: Option<bateria_core::cluster::Vote>,
    incarnation: u64,
) -> Config {
    let Configuration { options, settings, nodes, .. } = configuration;
    let quorum = match (&options.cluster.lock, settings.cluster.quorum) {
        (Some(_), _) => Quorum::Lock,
        (None, QuorumRule::Majority) => Quorum::Majority,
        (None, QuorumRule::None) => Quorum::None,
    };
    let lock_text = options.cluster.lock.as_ref().map(|lock| lock.text.as_encoded_bytes());
    let settings_crc32c = crc32c::crc32c_append(quorum as u32, lock_text.unwrap_or_default());
    let mut flags = NodeFlags::UNHEALTHY;
    flags.set(NodeFlags::STOPPED, options.legacy.start_as_stopped);
    flags.set(NodeFlags::PERMANENTLY_DISABLED, options.legacy.start_as_disabled);
    let mut capabilities = Capabilities::default();
    capabilities.set(Capabilities::LEADER, options.cluster.leader_capability);
    capabilities.set(Capabilities::LMASTER, options.legacy.lmaster_capability);
    let us = |ms: u32| u64::from(ms) * 1000;
    let timing = Timing {
        heartbeat_interval_us: us(settings.cluster.heartbeat_interval_ms),
        detection_us: us(settings.cluster.detection_time_ms),
        lease_us: us(settings.cluster.lease_ms),
        ..Timing::default()
    };
    Config {
        pnn: me,
        nodes: nodes
            .iter()
            .map(|node| NodeConfig { pnn: node.pnn, deleted: node.deleted })
            .collect(),
        quorum,
        settings_crc32c,
        incarnation,
        flags,
        capabilities,
        vote,
        timing,
        seed: incarnation ^ u64::from(me.0).wrapping_mul(0x9E37_79B9_7F4A_7C15),
    }
}
