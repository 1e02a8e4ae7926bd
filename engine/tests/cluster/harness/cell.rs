//! A cluster behind walls: `scripts/cluster` makes it, this type holds the pipe that keeps it alive.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::program::{Background, Outcome, wait_bounded};

/// What kind of cluster a test wants.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) nodes: u32,
    /// Shards of every daemon; `None` leaves it to the daemon.
    pub(crate) shards: Option<u32>,
    /// The stock daemon, whatever is under test.
    pub(crate) stock: bool,
    /// No other cell of this test run may be up meanwhile, because the test takes time.
    pub(crate) alone: bool,
}

/// A cluster in namespaces and a directory of its own.
///
/// Dropping it ends every process inside and removes the directory. The same happens when the test process is
/// killed, because then the pipe to the cell closes.
pub(crate) struct Cell {
    dir: PathBuf,
    plan: Plan,
    hold: Child,
    _turn: Turn,
}

impl Plan {
    pub(crate) fn nodes(nodes: u32) -> Self {
        Plan { nodes, shards: None, stock: false, alone: false }
    }

    pub(crate) fn shards(self, shards: u32) -> Self {
        Plan { shards: Some(shards), ..self }
    }

    pub(crate) fn stock(self) -> Self {
        Plan { stock: true, ..self }
    }

    pub(crate) fn alone(self) -> Self {
        Plan { alone: true, ..self }
    }
}

impl Cell {
    /// Makes the walls and the configuration, starts nothing yet. `None` when this user may not: the test is
    /// skipped, and says so past the capture of the test runner.
    pub(crate) fn new(plan: Plan) -> Option<Cell> {
        if !rustix::process::geteuid().is_root() {
            let test = thread::current().name().unwrap_or("a test").to_owned();
            let line =
                format!("SKIPPED {test}: it needs root to make namespaces and to run smbd\n");
            io::stderr().write_all(line.as_bytes()).expect("stderr takes a line");
            return None;
        }
        let turn = Turn::take(plan.alone);
        let serial = CELLS_COUNT.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("bateria-test.{}.{serial}", std::process::id()));
        let daemon = if plan.stock { "stock".to_owned() } else { daemon_under_test() };
        let mut command = Command::new(cluster_script());
        command.arg("hold").arg(&dir).args([
            "--nodes",
            &plan.nodes.to_string(),
            "--daemon",
            &daemon,
        ]);
        if let Some(shards) = plan.shards {
            command.args(["--shards", &shards.to_string()]);
        }
        let mut hold = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/cluster is there and bash runs it");
        let mut ready = String::new();
        let stdout = hold.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut ready).expect("the cell's first line is text");
        assert_eq!(ready, "ready\n", "the cell came up");
        Some(Cell { dir, plan, hold, _turn: turn })
    }

    /// A cell with all its daemons up and healthy.
    pub(crate) fn healthy(plan: Plan) -> Option<Cell> {
        let cell = Cell::new(plan)?;
        cell.start_all();
        cell.wait_healthy();
        Some(cell)
    }

    /// A healthy cell with an smbd serving on every node.
    pub(crate) fn serving(plan: Plan) -> Option<Cell> {
        let cell = Cell::healthy(plan)?;
        cell.script("smbd", &[]);
        Some(cell)
    }

    /// Whether the daemon in this cell is stock ctdbd: some tests ask more of bateriad than stock delivers.
    pub(crate) fn is_stock(&self) -> bool {
        self.plan.stock || daemon_under_test() == "stock"
    }

    /// Path of the daemon's program.
    pub(crate) fn daemon(&self) -> String {
        if self.is_stock() { STOCK_DAEMON.to_owned() } else { daemon_under_test() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn nodes(&self) -> std::ops::Range<u32> {
        0..self.plan.nodes
    }

    /// `CTDB_BASE` of a node.
    pub(crate) fn base(&self, node: u32) -> PathBuf {
        self.dir.join(format!("node.{node}"))
    }

    pub(crate) fn socket(&self, node: u32) -> PathBuf {
        self.base(node).join("run/ctdbd.socket")
    }

    pub(crate) fn pid_file(&self, node: u32) -> PathBuf {
        self.base(node).join("run/ctdbd.pid")
    }

    /// The daemon's log, empty while there is none.
    pub(crate) fn log(&self, node: u32) -> String {
        let bytes = fs::read(self.base(node).join("log.ctdb")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for a line of the daemon's log, which a thread of its own writes.
    pub(crate) fn wait_logged(&self, node: u32, text: &str) {
        until(text, Duration::from_secs(10), || self.log(node).contains(text));
    }

    /// Process number of a node's daemon, as it is called inside.
    pub(crate) fn daemon_pid(&self, node: u32) -> Option<u32> {
        fs::read_to_string(self.pid_file(node)).ok()?.trim().parse().ok()
    }

    /// The inside's `/proc`, readable from here.
    pub(crate) fn proc_dir(&self) -> PathBuf {
        let outer =
            fs::read_to_string(self.dir.join("cell.pid")).expect("a ready cell has its number");
        Path::new("/proc").join(outer.trim()).join("root/proc")
    }

    pub(crate) fn daemon_lives(&self, node: u32) -> bool {
        let Some(pid) = self.daemon_pid(node) else { return false };
        let stat = fs::read_to_string(self.proc_dir().join(pid.to_string()).join("stat"));
        // A zombie has ended: only its parent has not looked yet.
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// Resident memory of a node's daemon, in bytes.
    pub(crate) fn daemon_rss_bytes(&self, node: u32) -> u64 {
        let pid = self.daemon_pid(node).expect("the daemon runs");
        let status = fs::read_to_string(self.proc_dir().join(pid.to_string()).join("status"))
            .expect("the daemon runs");
        let line =
            status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux says VmRSS");
        let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
        kib * 1024
    }

    pub(crate) fn start(&self, node: u32) {
        self.script("start", &[&node.to_string()]);
    }

    pub(crate) fn start_all(&self) {
        self.script("start", &[]);
    }

    /// SIGTERM, and waits until the daemon is gone.
    pub(crate) fn stop(&self, node: u32) {
        self.script("stop", &[&node.to_string()]);
    }

    /// SIGKILL.
    pub(crate) fn kill(&self, node: u32) {
        self.script("kill", &[&node.to_string()]);
    }

    pub(crate) fn wait_healthy(&self) {
        self.script("healthy", &["60"]);
    }

    /// Runs a command of `scripts/cluster` on this cell; it must succeed.
    pub(crate) fn script(&self, command: &str, args: &[&str]) -> Outcome {
        let child = Command::new(cluster_script())
            .arg(command)
            .arg(&self.dir)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("scripts/cluster runs");
        let outcome = wait_bounded(child, Duration::from_secs(120));
        assert!(outcome.success(), "cluster {command} {args:?}: {outcome}");
        outcome
    }

    /// Runs a stock `ctdb` command at a node.
    pub(crate) fn ctdb(&self, node: u32, args: &[&str]) -> Outcome {
        self.run(node, "ctdb", args)
    }

    /// Runs a program inside, with the environment that points stock tools at the node.
    pub(crate) fn run(&self, node: u32, program: &str, args: &[&str]) -> Outcome {
        let child = self.command(node, program, args).spawn().expect("the program runs");
        wait_bounded(child, Duration::from_secs(150))
    }

    /// Starts a program inside and lets it run; it ends with the returned value.
    pub(crate) fn spawn(&self, node: u32, program: &str, args: &[&str]) -> Background {
        Background::new(self.command(node, program, args).stdin(Stdio::piped()))
    }

    /// From now on the sockets that this thread opens are inside the cell's network.
    pub(crate) fn enter_network(&self) {
        let outer =
            fs::read_to_string(self.dir.join("cell.pid")).expect("a ready cell has its number");
        let network =
            fs::File::open(format!("/proc/{}/ns/net", outer.trim())).expect("the cell lives");
        move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&network),
            Some(LinkNameSpaceType::Network),
        )
        .expect("root may enter a network namespace");
    }

    /// libtdb finds every TDB file of every node clean: `tdbtool check` and a traverse by python3-tdb.
    pub(crate) fn check_files(&self) {
        self.script("check", &[]);
    }

    fn command(&self, node: u32, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(cluster_script());
        command.arg("enter").arg(&self.dir).arg(program).args(args);
        command.env("CTDB_TEST_MODE", "yes");
        command.env("CTDB_BASE", self.base(node)).env("CTDB_SOCKET", self.socket(node));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        if thread::panicking() {
            for node in self.nodes() {
                let log = self.log(node);
                let tail: Vec<&str> = log.lines().rev().take(LOG_LINES_SHOWN).collect();
                eprintln!("--- last lines of node {node}'s log");
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
        // The cell ends with its standard input.
        drop(self.hold.stdin.take());
        let _ = self.hold.wait();
    }
}

/// Waits until `condition` holds; `what` is said when it does not in time.
pub(crate) fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < limit, "{what}: not within {limit:?}");
        thread::sleep(Duration::from_millis(5));
    }
    begin.elapsed()
}

/// The daemon under test, as `scripts/cluster --daemon` wants it.
fn daemon_under_test() -> String {
    std::env::var("BATERIA_TEST_DAEMON")
        .unwrap_or_else(|_| env!("CARGO_BIN_EXE_bateriad").to_owned())
}

fn cluster_script() -> PathBuf {
    repository().join("scripts/cluster")
}

/// Root of the source tree.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// A cell's turn on this machine: cells share it, unless one must be alone.
enum Turn {
    #[expect(dead_code, reason = "held, not read")]
    Shared(RwLockReadGuard<'static, ()>),
    #[expect(dead_code, reason = "held, not read")]
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Turn {
    fn take(alone: bool) -> Turn {
        // A test that failed poisons the lock, which protects no data.
        if alone {
            Turn::Alone(MACHINE.write().unwrap_or_else(std::sync::PoisonError::into_inner))
        } else {
            Turn::Shared(MACHINE.read().unwrap_or_else(std::sync::PoisonError::into_inner))
        }
    }
}

static MACHINE: RwLock<()> = RwLock::new(());
static CELLS_COUNT: AtomicU32 = AtomicU32::new(0);

const STOCK_DAEMON: &str = "/usr/sbin/ctdbd";

/// Lines of each daemon's log that a failing test shows.
const LOG_LINES_SHOWN: usize = 25;
