//! The stock `ctdb` tool says the same of bateriad as of stock ctdbd.
//!
//! Both clusters get the same commands in the same order; exit code, standard output and standard error must be
//! equal in shape. What is free to differ (numbers of processes, times, counters) is blanked in both.

use std::time::Duration;

use crate::harness::{Cell, Outcome, Plan, until};

/// A command at a node, and what is blanked in its answer.
type Line = (u32, &'static [&'static str], fn(&str) -> String);

#[test]
fn node_and_tunable_commands_answer_as_on_stock() {
    compare(&[
        (0, &["status"], elected),
        (2, &["status"], elected),
        (1, &["-X", "status"], exact),
        (0, &["-n", "1", "status"], elected),
        (0, &["nodestatus"], exact),
        (0, &["nodestatus", "all"], exact),
        (0, &["nodestatus", "0,2"], exact),
        (0, &["nodestatus", "7"], exact),
        (0, &["listnodes"], exact),
        (0, &["-X", "listnodes"], exact),
        (2, &["pnn"], exact),
        (0, &["-n", "9", "ping"], exact),
        (0, &["ping"], numbers),
        (0, &["-n", "2", "ping"], numbers),
        (0, &["getpid"], numbers),
        (0, &["runstate"], exact),
        (0, &["runstate", "running"], exact),
        (0, &["runstate", "startup"], exact),
        (0, &["runstate", "nonsense"], exact),
        (0, &["leader"], numbers),
        (0, &["uptime"], labels),
        (0, &["getcapabilities"], exact),
        (0, &["-X", "getcapabilities"], exact),
        (0, &["getreclock"], exact),
        (0, &["getdebug"], exact),
        (0, &["setdebug", "INFO"], exact),
        (0, &["getdebug"], exact),
        (0, &["setdebug", "NOTICE"], exact),
        (0, &["listvars"], exact),
        (0, &["getvar", "KeepaliveInterval"], exact),
        (0, &["getvar", "keepaliveinterval"], exact),
        (0, &["setvar", "KeepaliveInterval", "3"], exact),
        (0, &["getvar", "KeepaliveInterval"], exact),
        (1, &["getvar", "KeepaliveInterval"], exact),
        (0, &["-n", "1", "setvar", "keepaliveinterval", "0x4"], exact),
        (1, &["getvar", "KeepaliveInterval"], exact),
        (0, &["getvar", "Nonsense"], exact),
        (0, &["setvar", "Nonsense", "1"], exact),
        (0, &["ip"], exact),
        (0, &["ip", "all"], exact),
        (0, &["ifaces"], exact),
        (0, &["statistics"], numbers),
        (0, &["statisticsreset"], exact),
        (0, &["process-exists", "1"], exact),
    ]);
}

#[test]
fn database_commands_answer_as_on_stock() {
    compare(&[
        (0, &["getdbmap"], exact),
        (0, &["attach", "vol.tdb"], exact),
        (0, &["attach", "per.tdb", "persistent"], exact),
        (0, &["attach", "rep.tdb", "replicated"], exact),
        (0, &["attach", "vol.tdb", "persistent"], exact),
        (0, &["getdbmap"], exact),
        (2, &["getdbmap"], exact),
        (1, &["-X", "getdbmap"], exact),
        (0, &["getdbstatus", "vol.tdb"], exact),
        (0, &["getdbstatus", "per.tdb"], exact),
        (0, &["getdbstatus", "none.tdb"], exact),
        (0, &["writekey", "vol.tdb", "k1", "v1"], exact),
        (1, &["readkey", "vol.tdb", "k1"], exact),
        (1, &["writekey", "vol.tdb", "k1", "another"], exact),
        (2, &["readkey", "vol.tdb", "k1"], exact),
        (2, &["readkey", "vol.tdb", "missing"], exact),
        (2, &["writekey", "vol.tdb", "k2", "v2"], exact),
        (0, &["readkey", "none.tdb", "k"], exact),
        (0, &["catdb", "vol.tdb"], records),
        (2, &["catdb", "vol.tdb"], records),
        (1, &["catdb", "none.tdb"], exact),
        (0, &["deletekey", "vol.tdb", "k1"], exact),
        (1, &["readkey", "vol.tdb", "k1"], exact),
        (1, &["catdb", "vol.tdb"], records),
        (0, &["writekey", "per.tdb", "k", "v"], exact),
        (0, &["pstore", "per.tdb", "k", "v"], exact),
        (1, &["pfetch", "per.tdb", "k"], exact),
        (2, &["pstore", "per.tdb", "k", "w"], exact),
        (0, &["pfetch", "per.tdb", "k"], exact),
        (0, &["pfetch", "per.tdb", "missing"], exact),
        (0, &["pfetch", "vol.tdb", "k"], exact),
        (1, &["cattdb", "per.tdb"], exact),
        (2, &["getdbseqnum", "per.tdb"], exact),
        (0, &["pdelete", "per.tdb", "k"], exact),
        (2, &["pfetch", "per.tdb", "k"], exact),
        (2, &["getdbseqnum", "per.tdb"], exact),
        (1, &["pstore", "rep.tdb", "k", "v"], exact),
        (0, &["pfetch", "rep.tdb", "k"], exact),
        (0, &["getdbseqnum", "vol.tdb"], exact),
        (0, &["setdbreadonly", "vol.tdb"], exact),
        (0, &["setdbreadonly", "per.tdb"], exact),
        (0, &["getdbmap"], exact),
        (0, &["dbstatistics", "vol.tdb"], statistics),
        (0, &["recover"], exact),
        (0, &["status"], elected),
        (1, &["readkey", "vol.tdb", "k2"], exact),
        (2, &["pfetch", "rep.tdb", "k"], exact),
        (0, &["catdb", "vol.tdb"], records),
        (2, &["recover"], exact),
        (1, &["readkey", "vol.tdb", "k2"], exact),
    ]);
}

#[test]
fn a_node_that_is_shut_down_looks_as_on_stock() {
    let lines: &[Line] = &[
        (0, &["status"], elected),
        (0, &["nodestatus", "2"], exact),
        (1, &["-X", "status"], exact),
        (0, &["-n", "2", "ping"], exact),
        (2, &["ping"], unreachable),
    ];
    let Some(cells) = both() else { return };
    for cell in [&cells.0, &cells.1] {
        let outcome = cell.ctdb(2, &["shutdown"]);
        assert!(outcome.success(), "{outcome}");
        until("node 2 is gone", Duration::from_secs(10), || !cell.daemon_lives(2));
        until("the others have noticed", Duration::from_secs(30), || {
            [0, 1].iter().all(|&node| {
                let status = cell.ctdb(node, &["status"]).stdout;
                status.contains("Size:2") && status.contains("Recovery mode:NORMAL")
            })
        });
    }
    compare_in(&cells, lines);
}

fn compare(lines: &[Line]) {
    let Some(cells) = both() else { return };
    compare_in(&cells, lines);
}

/// The cluster under test and a stock one.
fn both() -> Option<(Cell, Cell)> {
    Some((Cell::healthy(Plan::nodes(3))?, Cell::healthy(Plan::nodes(3).stock())?))
}

fn compare_in((ours, stock): &(Cell, Cell), lines: &[Line]) {
    let mut differences = Vec::new();
    for &(node, args, blank) in lines {
        let have = shape(ours, ours.ctdb(node, args), blank);
        let want = shape(stock, stock.ctdb(node, args), blank);
        if have != want {
            let command = args.join(" ");
            differences
                .push(format!("ctdb {command} at node {node}\n--- stock\n{want}--- this\n{have}"));
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

fn shape(cell: &Cell, outcome: Outcome, blank: fn(&str) -> String) -> String {
    let dir = cell.dir().display().to_string();
    let text = |text: &str| blank(&text.replace(&dir, "DIR"));
    format!("exit {}\n{}{}", outcome.code(), text(&outcome.stdout), text(&outcome.stderr))
}

/// ctdbd leaves its socket lying there, so connecting fails in another way.
fn unreachable(text: &str) -> String {
    text.replace("errno=111", "errno=2")
}

fn exact(text: &str) -> String {
    text.to_owned()
}

/// Generation and leader are chosen by each cluster.
fn elected(text: &str) -> String {
    let line = |line: &str| {
        let free = line.starts_with("Generation:") || line.starts_with("Leader:");
        if free { numbers(line) } else { format!("{line}\n") }
    };
    text.lines().map(line).collect()
}

/// Every decimal number is `#`, every run of blanks one blank.
fn numbers(text: &str) -> String {
    let mut shape = String::new();
    for line in text.lines() {
        let mut last = '\n';
        for letter in line.chars() {
            let letter = if letter.is_ascii_digit() { '#' } else { letter };
            if !(letter == last && (letter == '#' || letter == ' ')) {
                shape.push(letter);
            }
            last = letter;
        }
        shape.push('\n');
    }
    shape
}

/// Only what stands before the first colon of each line.
fn labels(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.split(':').next().unwrap_or_default())).collect()
}

/// Counters, without the hot keys, which depend on how far requests had to travel.
fn statistics(text: &str) -> String {
    numbers(text)
        .lines()
        .filter(|line| !line.contains("Count:"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// A dump of records in the order of their text, without the numbers that only have to grow.
fn records(text: &str) -> String {
    let mut blocks: Vec<String> = text
        .split("\n\n")
        .map(|block| {
            let kept = block
                .lines()
                .filter(|line| !line.starts_with("rsn:") && !line.starts_with("flags:"));
            kept.map(|line| format!("{line}\n")).collect()
        })
        .collect();
    blocks.sort();
    blocks.concat()
}
