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
use crate::cpus::{self, ShardLayout, Usable};
use crate::daemonize::{self, Readiness, Session, Side};
use crate::hello;
use crate::log::{Log, LogLocation, OpenLog};
use crate::mail::{ControlMail, ShardMail};
use crate::nodes_file::Nodes;
use crate::options::Options;
use crate::outbox::Outbox;
use crate::own_node::{OwnNode, OwnNodeFault};
use crate::paths::Paths;
use crate::pid_file::PidFile;
use crate::problem::{Problems, Severity};
use crate::settings::{Poll, QuorumRule, Settings};
use crate::shard::Shard;
use crate::shard::chain_waits::ChainWaits;
use crate::shard::disk_jobs::DiskJobs;
use crate::shard::frames::Unattached;
use crate::shard::io::Io;
use crate::shard::lanes::Lanes;
use crate::shard::moves::Moves;
use crate::shard::pushes::Pushes;
use crate::shard::relays::Relays;
use crate::shard::seqnum::SequenceNumbers;
use crate::shard::store::Store;
use crate::shard::walks::Walks;
use crate::shared::{Node, Shared};
use crate::tunables;
use bateria_core::cluster::{Capabilities, Cluster, Config, Micros, NodeConfig, Quorum, Timing};
use bateria_core::persistent::{self, Persistent};
use bateria_core::record::{self, Records};
use bateria_ring::mailbox::{self, MailboxReceiver, MailboxSender};
use bateria_ring::{Doorbell, Ring, RingConfig};
use bateria_smbshim::structures::tunable::Tunables;
use bateria_wire::{Generation, NodeFlags, Pnn};
use slab::Slab;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
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
const MAILBOX_CAPACITY: usize = 16 * 1024;
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
    let mut config = LockConfig::new(lock.source.clone());
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

/// What every shard is made of.
struct ShardPlan {
    shared: Arc<Shared>,
    lock_pool: Arc<BlockingPool>,
    disk_pool: Arc<BlockingPool>,
    control: MailboxSender<ControlMail>,
    own_directory: std::path::PathBuf,
    poll: Option<Duration>,
    start: u64,
}

/// What a shard gets when all others are known.
struct Post {
    inbox: MailboxReceiver<ShardMail>,
    shards: Vec<MailboxSender<ShardMail>>,
}

type Started = (Vec<MailboxSender<ShardMail>>, Vec<thread::JoinHandle<()>>);

/// Starts the shards' threads. A ring belongs to the thread that made it, so each makes its own
/// and hands out its doorbell; then they are told of each other.
fn start_shards(layout: &ShardLayout, plan: &ShardPlan) -> Result<Started, String> {
    let (doorbells_in, doorbells) = mpsc::channel::<(usize, Result<Doorbell, String>)>();
    let mut threads = Vec::new();
    let mut posts = Vec::new();
    for (index, cpu) in layout.shards.iter().copied().enumerate() {
        let (post_in, post) = mpsc::channel::<Post>();
        posts.push(post_in);
        let doorbells_in = doorbells_in.clone();
        let plan = plan.clone_for(index);
        let body = move || {
            if let Some(cpu) = cpu {
                cpus::pin_current_thread(cpu);
            }
            let ring = match Ring::new(&RingConfig::default()) {
                Ok(ring) => ring,
                Err(error) => {
                    let _ = doorbells_in.send((index, Err(error.to_string())));
                    return;
                }
            };
            if doorbells_in.send((index, Ok(ring.doorbell()))).is_err() {
                return;
            }
            let Ok(post) = post.recv() else { return };
            let index = u32::try_from(index).expect("shards are limited");
            if let Err(error) = plan.build(index, ring, post).run() {
                // Without one of its shards a daemon answers some clients and not others.
                tracing::error!("shard {index}: its ring failed: {error}; the daemon ends");
                std::process::exit(1);
            }
        };
        let thread = thread::Builder::new().name(format!("shard {index}")).spawn(body);
        threads.push(thread.map_err(|error| format!("no thread for shard {index}: {error}"))?);
    }
    drop(doorbells_in);
    let mut mailboxes: BTreeMap<usize, _> = BTreeMap::new();
    for (index, doorbell) in doorbells {
        mailboxes.insert(index, mailbox::bounded(MAILBOX_CAPACITY, doorbell?));
        if mailboxes.len() == layout.count() {
            break;
        }
    }
    let senders: Vec<_> = mailboxes.values().map(|(sender, _)| sender.clone()).collect();
    for (post, (_, inbox)) in posts.iter().zip(mailboxes.into_values()) {
        let _ = post.send(Post { inbox, shards: senders.clone() });
    }
    Ok((senders, threads))
}

impl ShardPlan {
    fn clone_for(&self, _: usize) -> Self {
        Self {
            shared: self.shared.clone(),
            lock_pool: self.lock_pool.clone(),
            disk_pool: self.disk_pool.clone(),
            control: self.control.clone(),
            own_directory: self.own_directory.clone(),
            poll: self.poll,
            start: self.start,
        }
    }

    fn build(self, index: u32, ring: Ring, post: Post) -> Shard {
        let (me, shards_count) = (self.shared.me, self.shared.shards_count);
        let mailbox = post.shards[index as usize].clone();
        let peers = (0..self.shared.addresses.len())
            .map(|node| Pnn(u32::try_from(node).expect("nodes are limited")))
            .filter(|node| *node != me);
        let settings = record::Settings {
            me,
            lane: index,
            lanes_count: shards_count,
            deletion_delay_us: 10_000_000,
        };
        let start = u32::try_from(self.start & u64::from(u32::MAX)).expect("masked");
        let mut shard = Shard {
            relays: Relays::new(peers),
            pushes: Pushes::default(),
            io: Io {
                lanes: Lanes::new(self.shared.clone(), index),
                index,
                ring,
                clients: Slab::new(),
                shards: post.shards.into_iter().map(Outbox::new).collect(),
                control: Outbox::new(self.control),
                generation: Generation::INVALID,
                chains_wanted: Vec::new(),
                pushes_answered: Vec::new(),
                packet: Vec::new(),
                moves: Moves::default(),
                shared: self.shared,
            },
            inbox: post.inbox,
            records: Records::new(settings),
            store: Store::new(index, shards_count),
            persistent: Persistent::new(me, persistent::Settings::default()),
            jobs: DiskJobs::new(self.disk_pool.clone(), mailbox.clone(), self.own_directory),
            waits: ChainWaits::new(self.lock_pool, mailbox.clone()),
            walks: Walks::new(me, index, shards_count, start, self.disk_pool, mailbox),
            sequence_numbers: SequenceNumbers::new(index),
            peers: BTreeMap::new(),
            preparing: None,
            is_paused: false,
            unattached: Unattached::default(),
            clients_uses: 0,
            fences_count: 0,
            stops: false,
            poll: self.poll,
        };
        shard.apply_tunables();
        shard
    }
}
