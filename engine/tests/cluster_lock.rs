//! The cluster lock against stock's helper and against helpers that misbehave.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use bateria_engine::cluster_lock::{Attempt, ClusterLock, LockConfig, LockEvent, LockTiming};
use bateria_engine::command_line::FileOrCommand;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

/// Times for tests that wait for nothing but what they test.
fn timing() -> LockTiming {
    LockTiming {
        take_limit: LONG,
        recheck_interval: Duration::from_millis(20),
        stall_limit: None,
        release_limit: Duration::from_millis(200),
    }
}

#[test]
fn a_file_excludes_stock_and_is_excluded_by_it() {
    let scratch = Scratch::new();
    let path = scratch.path("lock");
    let mut ours = Lock::on(FileOrCommand::File(path.clone()), timing());
    ours.expect_taken();
    assert_eq!(StockHelper::start(&path).status, '1', "ours excludes stock's");
    ours.release_and_wait();

    let stock = StockHelper::start(&path);
    assert_eq!(stock.status, '0');
    let mut ours = Lock::on(FileOrCommand::File(path), timing());
    assert_eq!(ours.attempt(), LockEvent::Contended, "stock's excludes ours");
    drop(stock);
    ours.expect_taken();
}

#[test]
fn stocks_helper_works_as_a_command() {
    let scratch = Scratch::new();
    let path = scratch.path("lock");
    let source = format!("!{STOCK_HELPER} {}", path.display());
    let mut ours = Lock::on(FileOrCommand::parse(source.as_ref()).unwrap(), timing());
    ours.expect_taken();
    assert_eq!(StockHelper::start(&path).status, '1');
    ours.release_and_wait();
    assert_eq!(StockHelper::start(&path).status, '0');
}

#[test]
fn a_helper_from_the_environment_takes_the_lock_of_a_plain_file() {
    let plain = LockConfig::new(FileOrCommand::File("/lock".into()));
    let config = plain.clone().with_helper(Some("/helper".into()));
    assert_eq!(config.source, FileOrCommand::parse("!/helper /lock".as_ref()).unwrap());
    assert_eq!(plain.clone().with_helper(None).source, plain.source);

    let own = LockConfig::new(FileOrCommand::parse("!/own word".as_ref()).unwrap());
    assert_eq!(own.clone().with_helper(Some("/helper".into())).source, own.source);
}

#[test]
fn a_removed_or_replaced_file_is_a_lost_lock() {
    let scratch = Scratch::new();
    let path = scratch.path("lock");
    let mut lock = Lock::on(FileOrCommand::File(path.clone()), timing());
    lock.expect_taken();
    fs::remove_file(&path).unwrap();
    lock.expect_lost("stat failed");

    lock.expect_taken();
    let other = scratch.path("other");
    fs::write(&other, "").unwrap();
    fs::rename(other, &path).unwrap();
    lock.expect_lost("inode changed");
    lock.expect_taken();
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let mut lock = Lock::on(FileOrCommand::File("/nonexistent/lock".into()), timing());
    let LockEvent::Error(text) = lock.attempt() else { panic!("an error") };
    assert!(text.contains("/nonexistent/lock"), "{text}");
}

#[test]
fn every_status_means_what_the_contract_says() {
    let scratch = Scratch::new();
    let cases = [
        ("printf 1", LockEvent::Contended),
        ("printf 1; exec sleep 1000", LockEvent::Contended),
        ("printf 2", LockEvent::TimedOut),
        ("printf 3", LockEvent::Error("cluster lock helper reports an error".into())),
        ("echo x", LockEvent::Error("cluster lock helper: unknown status 'x'".into())),
        (
            "printf '\\377'",
            LockEvent::Error("cluster lock helper: unknown status '\\u{ff}'".into()),
        ),
        ("exit 7", LockEvent::Error("Cluster lock helper closed its output".into())),
        (
            "exec >&-; exec sleep 1000",
            LockEvent::Error("Cluster lock helper closed its output".into()),
        ),
    ];
    for (text, event) in cases {
        let mut lock = Lock::on_script(&scratch, text);
        let got = lock.attempt();
        let ended = matches!(&got, LockEvent::Error(text) if text.starts_with("Cluster lock helper terminated"));
        assert!(got == event || (text == "exit 7" && ended), "{text}: {got:?}");
        lock.release_and_wait();
    }
}

#[test]
fn a_program_that_cannot_run_is_an_error() {
    let scratch = Scratch::new();
    let plain = scratch.path("plain");
    fs::write(&plain, "").unwrap();
    for program in [plain, "/nonexistent/helper".into()] {
        let source = FileOrCommand::parse(format!("!{}", program.display()).as_ref()).unwrap();
        let mut lock = Lock::on(source, timing());
        let LockEvent::Error(text) = lock.attempt() else { panic!("an error") };
        assert!(text.contains(&program.display().to_string()), "{text}");
    }
}

#[test]
fn a_helper_that_ends_or_closes_its_output_has_lost_the_lock() {
    let scratch = Scratch::new();
    let cases = [
        "printf 0",
        "printf 0; exec >&-; exec sleep 1000",
        "printf 0; kill -9 $$",
        // What the helper leaves behind keeps its output open; that is not waited for.
        "printf 0; sleep 3 & exit 0",
        "printf 0; printf 1",
    ];
    for text in cases {
        let mut lock = Lock::on_script(&scratch, text);
        lock.expect_taken();
        lock.expect_lost("Cluster lock helper");
        lock.release_and_wait();
    }
}

#[test]
fn a_release_ends_the_helper_and_a_stubborn_one_is_killed() {
    let scratch = Scratch::new();
    for trap in ["", "trap '' TERM;"] {
        let pid_file = scratch.path("pid");
        let text = format!(
            "echo $$ >{}; {trap} printf 0; while :; do sleep 0.02; done",
            pid_file.display()
        );
        let mut lock = Lock::on_script(&scratch, &text);
        lock.expect_taken();
        let pid = fs::read_to_string(&pid_file).unwrap();
        let process = PathBuf::from(format!("/proc/{}", pid.trim()));
        assert!(process.exists());
        lock.release_and_wait();
        assert!(!process.exists());
    }
}

#[test]
fn output_after_the_status_is_read_and_ignored() {
    let scratch = Scratch::new();
    let mut lock = Lock::on_script(&scratch, "printf 0; yes >&2 & trap \"kill $!\" EXIT TERM; yes");
    lock.expect_taken();
    lock.expect_silence(Duration::from_millis(200));
    lock.release_and_wait();
}

#[test]
fn a_helper_that_never_answers_is_given_up() {
    let scratch = Scratch::new();
    let path = scratch.script("exec sleep 1000");
    let source = FileOrCommand::parse(format!("!/bin/sh {}", path.display()).as_ref()).unwrap();
    let timing = LockTiming { take_limit: Duration::from_millis(50), ..timing() };
    let mut lock = Lock::on(source, timing);
    assert_eq!(lock.attempt(), LockEvent::TimedOut);
    lock.release_and_wait();
}

#[test]
fn a_release_right_after_taking_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let path = scratch.path("lock");
    let source = format!("!{STOCK_HELPER} {}", path.display());
    let mut lock = Lock::on(FileOrCommand::parse(source.as_ref()).unwrap(), timing());
    for _ in 0..5 {
        let attempt = lock.lock.take();
        lock.lock.release();
        assert!(!lock.lock.is_current(attempt));
    }
    lock.release_and_wait();
    assert_eq!(StockHelper::start(&path).status, '0');
}

#[test]
fn helpers_get_their_environment() {
    let scratch = Scratch::new();
    let path = scratch.script("printf \"$CTDB_BASE\"; exec sleep 1000");
    let source = FileOrCommand::parse(format!("!/bin/sh {}", path.display()).as_ref()).unwrap();
    let environment = vec![("CTDB_BASE", "0".into())];
    let config = LockConfig { environment, timing: timing(), ..LockConfig::new(source) };
    let mut lock = Lock::with(config);
    lock.expect_taken();
    lock.release_and_wait();
}

/// A lock and its events.
struct Lock {
    lock: ClusterLock,
    events: Receiver<(Attempt, LockEvent)>,
}

impl Lock {
    fn with(config: LockConfig) -> Self {
        let (send, events) = mpsc::channel();
        let on_event = move |attempt, event| drop(send.send((attempt, event)));
        Self { lock: ClusterLock::spawn(config, on_event).unwrap(), events }
    }

    fn on(source: FileOrCommand, timing: LockTiming) -> Self {
        Self::with(LockConfig { timing, ..LockConfig::new(source) })
    }

    fn on_script(scratch: &Scratch, text: &str) -> Self {
        let path = scratch.script(text);
        Self::on(
            FileOrCommand::parse(format!("!/bin/sh {}", path.display()).as_ref()).unwrap(),
            timing(),
        )
    }

    /// The event of a new attempt.
    fn attempt(&mut self) -> LockEvent {
        let attempt = self.lock.take();
        let (of, event) = self.events.recv_timeout(LONG).unwrap();
        assert_eq!(of, attempt);
        event
    }

    fn expect_taken(&mut self) {
        // Stock's helper takes a moment to give the lock back after its end was seen.
        let mut event = self.attempt();
        for _ in 0..100 {
            if event != LockEvent::Contended {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            event = self.attempt();
        }
        assert_eq!(event, LockEvent::Taken);
    }

    fn expect_lost(&self, why: &str) {
        let (_, event) = self.events.recv_timeout(LONG).unwrap();
        let LockEvent::Lost(text) = event else { panic!("lost, not {event:?}") };
        assert!(text.contains(why), "{text}");
    }

    fn expect_silence(&self, time: Duration) {
        assert!(self.events.recv_timeout(time).is_err());
    }

    fn release_and_wait(self) {
        assert!(self.lock.close(LONG));
        assert!(self.events.try_iter().next().is_none(), "a release has no event");
    }
}

const STOCK_HELPER: &str = "/usr/libexec/ctdb/ctdb_mutex_fcntl_helper";

/// Stock's helper, as a stock node runs it.
struct StockHelper {
    child: Child,
    status: char,
}

impl StockHelper {
    fn start(path: &Path) -> Self {
        use std::io::Read;
        let mut command = Command::new(STOCK_HELPER);
        command.arg(path).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the package ctdb is installed");
        let mut status = [0];
        child.stdout.as_mut().unwrap().read_exact(&mut status).unwrap();
        Self { child, status: char::from(status[0]) }
    }
}

impl Drop for StockHelper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory for one test, gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("bateria-lock.{}.{serial}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A script for `/bin/sh`. Not made executable: a test that starts a process at this moment
    /// may have the new file open for writing, and then it cannot be executed.
    fn script(&self, text: &str) -> PathBuf {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let path = self.path(&format!("script.{}", SERIAL.fetch_add(1, Ordering::Relaxed)));
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
