use super::*;
use crate::scratch::Scratch;
use std::fs;

/// Logs to a file while `work` runs, and returns what is in it afterwards, without the headers.
fn logged(level: LogLevel, lines_max: usize, work: impl FnOnce(&Log)) -> Vec<String> {
    let scratch = Scratch::new();
    let path = scratch.path().join("log");
    let open = OpenLog::open(&LogLocation::File(path.clone()), "h").unwrap();
    let (log, subscriber) = open.run(level, lines_max);
    tracing::subscriber::with_default(subscriber, || work(&log));
    drop(log);
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split_once(" h ").map_or(line, |(_, rest)| rest).into()).collect()
}

/// What stands in front of a message of the daemon itself.
fn from_daemon(text: &str) -> String {
    format!("ctdbd[{}]: {text}", std::process::id())
}

#[test]
fn messages_carry_the_program_and_their_fields() {
    let got = logged(LogLevel::Notice, 100, |_| {
        tracing::info!("CTDB starting on node");
        tracing::warn!(target: "ctdb-recoverd", pnn = 3, "Start {}", "election");
        tracing::error!(path = "/x", "gone");
    });
    let recoverd = format!("ctdb-recoverd[{}]: Start election pnn=3", std::process::id());
    assert_eq!(
        got,
        [from_daemon("CTDB starting on node"), recoverd, from_daemon("gone path=\"/x\"")]
    );
}

#[test]
fn a_warning_without_end_is_cut_and_says_so() {
    let got = logged(LogLevel::Notice, 10_000, |_| {
        for number in 0..5_000 {
            tracing::warn!("again {number}");
        }
        tracing::warn!("another");
    });
    assert_eq!(got.len(), 101);
    let last = from_daemon("again 99 [more like this are left out for up to 10 s]");
    assert_eq!(got[99], last);
    assert_eq!(got[100], from_daemon("another"));
}

#[test]
fn the_level_can_be_changed_while_running() {
    let got = logged(LogLevel::Notice, 100, |log| {
        tracing::debug!("1");
        log.set_level(LogLevel::Debug);
        assert_eq!(log.level(), LogLevel::Debug);
        tracing::trace!("2");
        log.set_level(LogLevel::Error);
        tracing::warn!("3");
        tracing::error!("4");
    });
    assert_eq!(got, [from_daemon("2"), from_daemon("4")]);
}

#[test]
fn a_rotated_file_is_let_go() {
    let scratch = Scratch::new();
    let (path, old) = (scratch.path().join("log"), scratch.path().join("log.1"));
    let open = OpenLog::open(&LogLocation::File(path.clone()), "h").unwrap();
    open.write(LogLevel::Notice, "before").unwrap();
    let (log, _subscriber) = open.run(LogLevel::Notice, 100);
    fs::rename(&path, &old).unwrap();
    log.reopen();
    drop(log);
    assert!(fs::read_to_string(old).unwrap().ends_with(": before\n"));
    assert_eq!(fs::read_to_string(path).unwrap(), "");
}

#[test]
fn a_full_queue_drops_counts_and_tells() {
    let scratch = Scratch::new();
    let path = scratch.path().join("log");
    let open = OpenLog::open(&LogLocation::File(path.clone()), "h").unwrap();
    let sink = Arc::clone(&open.sink);
    let (log, subscriber) = open.run(LogLevel::Notice, 8);
    // Whoever holds the output stops the writing thread, once its batch is full.
    let output = sink.output.lock().unwrap();
    tracing::subscriber::with_default(subscriber, || {
        (0..5_000).for_each(|number| tracing::info!("{number}"));
    });
    let dropped = log.dropped_count();
    assert!(dropped > 0);
    drop(output);
    drop(log);
    let text = fs::read_to_string(path).unwrap();
    let (reports, lines): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.contains("[Dropped "));
    let number_in = |report: &&str| {
        let (_, rest) = report.split_once("[Dropped ").unwrap();
        rest.strip_suffix(" log messages]").unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(reports.iter().map(number_in).sum::<u64>(), dropped);
    assert_eq!(lines.len() as u64 + dropped, 5_000);
}

#[test]
fn a_flush_waits_for_what_was_logged_before() {
    let scratch = Scratch::new();
    let path = scratch.path().join("log");
    let open = OpenLog::open(&LogLocation::File(path.clone()), "h").unwrap();
    let sink = Arc::clone(&open.sink);
    let (log, subscriber) = open.run(LogLevel::Notice, 8);
    let output = sink.output.lock().unwrap();
    tracing::subscriber::with_default(subscriber, || {
        (0..20).for_each(|number| tracing::info!("{number}"));
    });
    assert!(!log.flush(Duration::from_millis(1)));
    drop(output);
    assert!(log.flush(Duration::from_secs(20)));
    assert!(fs::read_to_string(path).unwrap().contains(": 0\n"));
}

#[test]
fn a_log_that_cannot_be_opened_is_named() {
    let fault = OpenLog::open(&LogLocation::File("/nonexistent/log".into()), "h").unwrap_err();
    assert!(fault.to_string().contains("'/nonexistent/log'"), "{fault}");
}
