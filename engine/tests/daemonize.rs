//! Becoming a daemon, seen from outside. Each case starts this program again in a role of its own,
//! for a fork needs a process without threads, which the usual test harness is not.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use bateria_engine::daemonize::{self, Readiness, Session, Side};
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    if let Ok(role) = std::env::var("ROLE") {
        return play(&role);
    }
    let cases: [(&str, fn()); 8] = [
        ("the_caller_ends_when_the_daemon_is_ready", the_caller_ends_when_the_daemon_is_ready),
        ("the_daemon_has_let_go_of_its_caller", the_daemon_has_let_go_of_its_caller),
        ("a_session_can_be_inherited", a_session_can_be_inherited),
        ("a_failed_start_is_the_callers_failure", a_failed_start_is_the_callers_failure),
        ("a_death_before_readiness_is_a_failure", a_death_before_readiness_is_a_failure),
        ("a_process_with_threads_does_not_fork", a_process_with_threads_does_not_fork),
        ("a_pipe_as_stdin_can_be_watched", a_pipe_as_stdin_can_be_watched),
        ("a_child_ends_with_its_parent", a_child_ends_with_its_parent),
    ];
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    for (name, case) in cases {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(*filter)) {
            continue;
        }
        case();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

/// The part of the program under test.
fn play(role: &str) -> ExitCode {
    let threads = role == "threads";
    if threads {
        thread::spawn(|| thread::sleep(LIMIT));
    }
    if role == "parent" {
        let mut command = Command::new("sleep");
        daemonize::end_with_this_thread(command.arg("1000"));
        println!("{}", command.spawn().expect("sleep is installed").id());
        thread::sleep(LIMIT);
        return ExitCode::SUCCESS;
    }
    let inherits = matches!(role, "inherit" | "watch");
    let session = if inherits { Session::Inherited } else { Session::New };
    let readiness = match daemonize::detach(session, LIMIT) {
        Ok(Side::Caller(outcome)) => return outcome.finish(),
        Ok(Side::Daemon(readiness)) => readiness,
        Err(fault) => {
            eprintln!("{fault}");
            return ExitCode::from(99);
        }
    };
    match role {
        "fail" => return readiness.failed(11, "a daemon is running already"),
        "die" => std::process::abort(),
        "give up" => drop::<Readiness>(readiness),
        "watch" => {
            readiness.ready();
            let mut pipe = fs::File::from(daemonize::stdin_pipe().expect("stdin is a pipe"));
            let mut rest = String::new();
            let _ = pipe.read_to_string(&mut rest);
            report(&format!("stdin closed after {rest:?}"));
        }
        _ => {
            report(&description());
            readiness.ready();
            thread::sleep(Duration::from_millis(300));
        }
    }
    ExitCode::SUCCESS
}

/// What the daemon looks like from inside.
fn description() -> String {
    let link = |name: &str| fs::read_link(format!("/proc/self/{name}")).unwrap();
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let session =
        stat.rsplit(')').next().unwrap().split_ascii_whitespace().nth(3).unwrap().to_owned();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let umask = status.lines().find(|line| line.starts_with("Umask")).unwrap();
    let links = ["cwd", "fd/0", "fd/1", "fd/2"].map(|name| link(name).display().to_string());
    format!("{} {session} {} {umask}", std::process::id(), links.join(" "))
}

fn report(text: &str) {
    fs::write(std::env::var("REPORT").unwrap(), text).unwrap();
}

fn the_caller_ends_when_the_daemon_is_ready() {
    let started = Instant::now();
    let run = Run::new("ready");
    let output = run.output();
    assert!(output.status.success(), "{output:?}");
    // The pipes of the output were closed while the daemon goes on: nobody hangs on them.
    assert!(started.elapsed() < LIMIT / 2);
    assert!(!run.read().is_empty(), "it was ready before the caller ended");
}

fn the_daemon_has_let_go_of_its_caller() {
    let run = Run::new("ready");
    let output = run.output();
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    let text = run.read();
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    assert_eq!(words[0], words[1], "it leads a session of its own");
    assert_eq!(words[2..], ["/", "/dev/null", "/dev/null", "/dev/null", "Umask:", "0022"]);
}

fn a_session_can_be_inherited() {
    let run = Run::new("inherit");
    run.output();
    let text = run.read();
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    assert_ne!(words[0], words[1]);
}

fn a_failed_start_is_the_callers_failure() {
    let output = Run::new("fail").output();
    assert_eq!(output.status.code(), Some(11));
    assert_eq!(output.stderr, b"a daemon is running already\n");
}

fn a_death_before_readiness_is_a_failure() {
    let output = Run::new("die").output();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text, "the daemon ended before it was ready: signal 6\n");

    let output = Run::new("give up").output();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stderr, b"the start was given up\n");
}

fn a_process_with_threads_does_not_fork() {
    let output = Run::new("threads").output();
    assert_eq!(output.status.code(), Some(99));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("2 threads run already"));
}

fn a_pipe_as_stdin_can_be_watched() {
    let run = Run::new("watch");
    let mut caller = run.command().stdin(Stdio::piped()).spawn().unwrap();
    let stdin = caller.stdin.take();
    assert!(caller.wait().unwrap().success());
    assert_eq!(run.read(), "");
    drop(stdin);
    until(|| run.read() == "stdin closed after \"\"");
}

fn a_child_ends_with_its_parent() {
    let run = Run::new("parent");
    let mut parent = Ended(run.command().stdout(Stdio::piped()).spawn().unwrap());
    let mut pid = String::new();
    let mut stdout = parent.0.stdout.take().unwrap();
    while !pid.ends_with('\n') {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        pid.push(char::from(byte[0]));
    }
    parent.0.kill().unwrap();
    assert_eq!(parent.0.wait().unwrap().signal(), Some(9));
    let stat = format!("/proc/{}/stat", pid.trim());
    // It may stay as a zombie until somebody collects it.
    until(|| fs::read_to_string(&stat).map_or(true, |text| text.contains(") Z ")));
}

/// This program in a role, and the file it reports into.
struct Run {
    role: &'static str,
    report: std::path::PathBuf,
}

impl Run {
    fn new(role: &'static str) -> Self {
        let name = format!("bateria-daemonize.{}.{}", std::process::id(), role.replace(' ', "-"));
        let report = std::env::temp_dir().join(name);
        let _ = fs::remove_file(&report);
        Self { role, report }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env("ROLE", self.role).env("REPORT", &self.report).stdin(Stdio::null());
        command
    }

    fn output(&self) -> Output {
        self.command().output().unwrap()
    }

    fn read(&self) -> String {
        fs::read_to_string(&self.report).unwrap_or_default()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.report);
    }
}

/// A child that is not left behind by a failing case.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(condition: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "it does not come about");
        thread::sleep(Duration::from_millis(5));
    }
}
