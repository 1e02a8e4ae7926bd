//! smbtorture over a node of a three-node cluster: what passes over stock ctdbd passes here.
//!
//! `smbtorture-passes.txt` lists what passes over stock; `scripts/smbtorture-baseline` writes it anew.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::harness::{Background, Cell, Plan, repository};

/// Longest run of one suite: smb2.oplock waits for time-outs for under two minutes.
const SUITE_LIMIT: Duration = Duration::from_secs(400);

#[test]
fn every_test_that_passes_over_stock_passes() {
    let Some(cell) = Cell::serving(Plan::nodes(3)) else { return };
    let expected = passes_on_stock();
    assert!(expected.len() > 50, "the list is whole");
    let suites: Vec<&str> =
        expected.iter().map(|name| suite_of(name)).fold(Vec::new(), |mut all, suite| {
            if all.last() != Some(&suite) {
                all.push(suite);
            }
            all
        });

    // Each suite over a node of its own, all at the same time: they mostly wait, and use files of their own.
    let runs: Vec<(&str, Background)> = suites
        .iter()
        .zip((0..3).cycle())
        .map(|(suite, node)| (*suite, run_suite(&cell, node, suite)))
        .collect();
    let mut results = BTreeMap::new();
    for (suite, run) in runs {
        results.extend(results_of(suite, &run));
    }

    let missing: Vec<String> = expected
        .iter()
        .filter(|name| results.get(*name).is_none_or(|result| result != "success"))
        .map(|name| format!("{name}: {}", results.get(name).map_or("did not run", String::as_str)))
        .collect();
    assert!(missing.is_empty(), "pass over stock but not here: {missing:#?}");
    cell.check_files();
}

#[test]
fn oplocks_contended_over_all_three_nodes_are_granted() {
    let Some(cell) = Cell::serving(Plan::nodes(3)) else { return };
    let uncs: String = cell.nodes().map(|node| format!("//127.0.0.{}/share\n", node + 1)).collect();
    let list = cell.dir().join("uncs");
    fs::write(&list, uncs).expect("the cell's directory is ours");

    let unclist = format!("--unclist={}", list.display());
    let args = ["-N", "//127.0.0.1/share", "--timelimit=8", &unclist, "smb2.bench.oplock1"];
    let outcome = cell.run(0, "smbtorture", &args);

    assert!(outcome.success() && outcome.stdout.contains("success: oplock1"), "{outcome}");
    let rate = outcome.stdout.lines().rev().find(|line| line.contains("/s")).unwrap_or_default();
    println!("{rate}");
    cell.check_files();
}

/// Names as in the list: suite, dot, test.
fn passes_on_stock() -> Vec<String> {
    let path = repository().join("engine/tests/cluster/smbtorture-passes.txt");
    let list = fs::read_to_string(path).expect("the list is in the source tree");
    list.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(str::to_owned)
        .collect()
}

fn suite_of(name: &str) -> &str {
    name.rsplit_once('.').expect("names have a suite").0
}

fn run_suite(cell: &Cell, node: u32, suite: &str) -> Background {
    let unc = format!("//127.0.0.{}/share", node + 1);
    // stdbuf: a result is wanted when it is there, also from a suite that hangs later.
    let args = ["stdbuf", "-oL", "smbtorture", "-N", &unc, "--format=subunit", suite];
    let limit = SUITE_LIMIT.as_secs().to_string();
    let line: Vec<&str> = [limit.as_str()].into_iter().chain(args).collect();
    cell.spawn(node, "timeout", &line)
}

/// Result of each test of the suite, in subunit's word and, unless it is a success, its reason; up to the end of the
/// output.
fn results_of(suite: &str, run: &Background) -> BTreeMap<String, String> {
    let mut results = BTreeMap::new();
    let lines = run.all_lines(SUITE_LIMIT + Duration::from_secs(20));
    for (at, line) in lines.iter().enumerate() {
        for word in ["success", "failure", "error", "skip"] {
            let Some(name) = line.strip_prefix(word).and_then(|rest| rest.strip_prefix(": "))
            else {
                continue;
            };
            // `failure: NAME [`, and the reason in the next line.
            let result = match name.strip_suffix(" [") {
                Some(_) => format!("{word}: {}", lines.get(at + 1).map_or("", String::as_str)),
                None => word.to_owned(),
            };
            results.insert(format!("{suite}.{}", name.trim_end_matches(" [")), result);
        }
    }
    results
}
