//! The cluster under test.

use bateria_client::{AttachOptions, Connection, Database};
use bateria_wire::{DbKind, Pnn};
use std::path::PathBuf;
use std::time::Duration;

/// Sockets of all nodes.
pub(crate) struct Cluster {
    sockets: Vec<PathBuf>,
    is_bateria: bool,
}

/// How long anything may take; the original answers a call across nodes within milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long to wait for what should not come.
pub(crate) const SILENCE: Duration = Duration::from_millis(200);

impl Cluster {
    /// The cluster, if there is one to test.
    pub(crate) fn from_env() -> Option<Self> {
        let Some(sockets) = std::env::var_os("BATERIA_TEST_SOCKETS") else {
            eprintln!("BATERIA_TEST_SOCKETS names no cluster: nothing to test");
            return None;
        };
        let sockets: Vec<_> = std::env::split_paths(&sockets).collect();
        assert!(!sockets.is_empty(), "BATERIA_TEST_SOCKETS names at least one socket");
        let daemon = std::env::var_os("BATERIA_TEST_DAEMON");
        Some(Self { sockets, is_bateria: daemon.is_some_and(|daemon| daemon == "bateria") })
    }

    /// Whether more is asked of the daemon than of the original.
    pub(crate) fn is_bateria(&self) -> bool {
        self.is_bateria
    }

    pub(crate) fn socket(&self, node: usize) -> &PathBuf {
        &self.sockets[node]
    }

    pub(crate) fn nodes_count(&self) -> usize {
        self.sockets.len()
    }

    pub(crate) fn last_node(&self) -> usize {
        self.sockets.len() - 1
    }

    /// PNNs of all nodes.
    pub(crate) fn pnns(&self) -> impl Iterator<Item = Pnn> {
        (0..u32::try_from(self.sockets.len()).expect("a few nodes")).map(Pnn)
    }

    /// A new connection to a node.
    pub(crate) fn connect(&self, node: usize) -> Connection {
        let mut connection = Connection::connect(self.socket(node)).expect("the daemon listens");
        connection.set_timeout(Some(PATIENCE));
        connection
    }

    /// A new connection to a node, with a database attached through it.
    pub(crate) fn open(&self, node: usize, name: &str, kind: DbKind) -> (Connection, Database) {
        self.open_with(node, name, kind, AttachOptions::default())
    }

    pub(crate) fn open_with(
        &self,
        node: usize,
        name: &str,
        kind: DbKind,
        options: AttachOptions,
    ) -> (Connection, Database) {
        let mut connection = self.connect(node);
        let database = Database::attach(&mut connection, name, kind, options);
        (connection, database.expect("the database can be attached"))
    }
}

/// Makes a test of what a daemon must do out of a function that takes the cluster.
macro_rules! conformance {
    ($($(#[$meta:meta])* fn $name:ident($cluster:ident: &Cluster) $body:block)*) => {$(
        #[test]
        $(#[$meta])*
        fn $name() {
            fn run($cluster: &$crate::cluster::Cluster) $body
            if let Some(cluster) = $crate::cluster::Cluster::from_env() {
                run(&cluster);
            }
        }
    )*};
}

pub(crate) use conformance;
