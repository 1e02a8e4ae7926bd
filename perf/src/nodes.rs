//! The cluster as it is seen from inside its cell.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use bateria_client::{AttachOptions, Connection, Database};
use bateria_smbshim::structures::node::{RecoveryMode, RunState};
use bateria_wire::{DbKind, Pnn};

use crate::Fault;
use crate::cell::cluster_script;

/// Where the nodes are.
#[derive(Clone, Debug)]
pub(crate) struct Nodes {
    dir: PathBuf,
    count: u32,
}

impl Nodes {
    pub(crate) fn new(dir: &Path, count: u32) -> Nodes {
        Nodes { dir: dir.to_path_buf(), count }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn all(&self) -> Range<u32> {
        0..self.count
    }

    pub(crate) fn socket(&self, node: u32) -> PathBuf {
        self.dir.join(format!("node.{node}/run/ctdbd.socket"))
    }

    /// Connects to a node and attaches the database that all loads use.
    pub(crate) fn open(&self, node: u32) -> Result<(Connection, Database), Fault> {
        let mut connection = Connection::connect(&self.socket(node))?;
        connection.set_timeout(Some(ANSWER_LIMIT));
        let database = Database::attach(
            &mut connection,
            DATABASE,
            DbKind::Volatile,
            AttachOptions::default(),
        )?;
        Ok((connection, database))
    }

    pub(crate) fn daemon_pid(&self, node: u32) -> Result<u32, Fault> {
        let file = self.dir.join(format!("node.{node}/run/ctdbd.pid"));
        Ok(fs::read_to_string(file)?.trim().parse()?)
    }

    pub(crate) fn daemon_pids(&self) -> Result<Vec<u32>, Fault> {
        self.all().map(|node| self.daemon_pid(node)).collect()
    }

    /// Starts a daemon as `scripts/cluster` does.
    pub(crate) fn start(&self, node: u32) -> Result<(), Fault> {
        let status = Command::new(cluster_script())
            .arg("start")
            .arg(&self.dir)
            .arg(node.to_string())
            .status()?;
        if status.success() { Ok(()) } else { Err(format!("node {node} did not start").into()) }
    }

    /// Waits until every node sees every node healthy and serves its databases.
    pub(crate) fn wait_healthy(&self, limit: Duration) -> Result<Duration, Fault> {
        let begin = Instant::now();
        while !self.all().all(|node| self.is_healthy(node)) {
            if begin.elapsed() > limit {
                return Err(format!("not healthy after {limit:?}").into());
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(begin.elapsed())
    }

    fn is_healthy(&self, node: u32) -> bool {
        let Ok(mut connection) = Connection::connect(&self.socket(node)) else { return false };
        connection.set_timeout(Some(ANSWER_LIMIT));
        let flags = connection.get_node_map(Pnn::CURRENT);
        flags.is_ok_and(|map| {
            map.len() == self.count as usize && map.iter().all(|node| node.flags.is_empty())
        }) && connection.get_run_state(Pnn::CURRENT).is_ok_and(|state| state == RunState::Running)
            && connection
                .get_recovery_mode(Pnn::CURRENT)
                .is_ok_and(|mode| mode == RecoveryMode::Normal)
    }
}

/// Name of the database that all loads use.
pub(crate) const DATABASE: &str = "perf.tdb";

/// A daemon that does not answer for so long has failed the measurement.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_mins(1);
