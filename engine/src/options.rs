//! The options of `ctdb.conf`: types, defaults, validation (cluster management §1.4).

mod reading;
mod value;

use crate::command_line::FileOrCommand;
use crate::config_file;
use crate::log::{LogLevel, LogLocation};
use crate::paths::Paths;
use crate::problem::{Complaints, Problems};
use reading::Reading;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

/// What `ctdb.conf` says, read once at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub logging: Logging,
    pub cluster: Cluster,
    pub database: Database,
    /// `[event] debug script`: base name of a program in the configuration directory.
    pub event_debug_script: Option<OsString>,
    pub failover: Failover,
    pub legacy: Legacy,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    pub location: LogLocation,
    /// The setting as written, for the environment of scripts.
    pub location_text: OsString,
    pub level: LogLevel,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub node_address: Option<IpAddr>,
    pub lock: Option<ClusterLockOption>,
    /// Seconds without a leader before an election.
    pub leader_timeout_s: u32,
    pub leader_capability: bool,
    pub nodes_list: FileOrCommand,
}

/// `cluster lock`, or `recovery lock` as it was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterLockOption {
    /// As written, but for squeezed blanks. All nodes must have the same bytes here, and
    /// GET_RECLOCK_FILE returns them.
    pub text: OsString,
    pub source: FileOrCommand,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    pub volatile_directory: PathBuf,
    pub persistent_directory: PathBuf,
    pub state_directory: PathBuf,
    /// Base name of a program in the configuration directory.
    pub lock_debug_script: Option<OsString>,
    /// Whether volatile databases use robust mutexes.
    pub mutexes: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// Public addresses are someone else's job.
    pub disabled: bool,
    /// Seconds that a shutdown waits for addresses to move away.
    pub shutdown_timeout_s: u32,
    /// Further seconds after that.
    pub shutdown_extra_timeout_s: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the file's section has as many")]
pub struct Legacy {
    pub realtime_scheduling: bool,
    pub lmaster_capability: bool,
    pub start_as_stopped: bool,
    pub start_as_disabled: bool,
    pub script_log_level: LogLevel,
}

impl Options {
    /// What holds without a file.
    #[must_use]
    pub fn defaults(paths: &Paths) -> Self {
        let log_file = paths.log_file();
        let mut location_text = OsString::from("file:");
        location_text.push(&log_file);
        Self {
            logging: Logging {
                location: LogLocation::File(log_file),
                location_text,
                level: LogLevel::Notice,
            },
            cluster: Cluster {
                node_address: None,
                lock: None,
                leader_timeout_s: 5,
                leader_capability: true,
                nodes_list: FileOrCommand::File(paths.nodes()),
            },
            database: Database {
                volatile_directory: paths.var.join("volatile"),
                persistent_directory: paths.var.join("persistent"),
                state_directory: paths.var.join("state"),
                lock_debug_script: None,
                mutexes: true,
            },
            event_debug_script: None,
            failover: Failover {
                disabled: false,
                shutdown_timeout_s: 10,
                shutdown_extra_timeout_s: 0,
            },
            legacy: Legacy {
                realtime_scheduling: true,
                lmaster_capability: true,
                start_as_stopped: false,
                start_as_disabled: false,
                script_log_level: LogLevel::Error,
            },
        }
    }

    /// Reads `ctdb.conf`; without one the defaults hold. All findings go to `problems`: with an
    /// error among them the options must not be used. The original knows of unknown options only
    /// in `ctdb-config validate`; here they are warnings.
    #[must_use]
    pub fn load(paths: &Paths, problems: &mut Problems) -> Self {
        let file = paths.ctdb_conf();
        let mut complaints = problems.about(&file);
        match config_file::read_if_present(&file) {
            Ok(text) => Self::read(&text.unwrap_or_default(), paths, &mut complaints),
            Err(error) => {
                complaints.error_of_file(format!("cannot be read: {error}"));
                Self::defaults(paths)
            }
        }
    }

    /// Reads the text of a `ctdb.conf`.
    #[must_use]
    pub fn read(text: &[u8], paths: &Paths, complaints: &mut Complaints<'_>) -> Self {
        Reading::new(paths, complaints).read(text)
    }

    /// What event scripts and helpers find in their environment (cluster management §1.2).
    #[must_use]
    pub fn script_environment(
        &self,
        paths: &Paths,
        interactive: bool,
    ) -> Vec<(&'static str, OsString)> {
        let mut environment = vec![
            ("CTDB_BASE", paths.etc.clone().into_os_string()),
            ("CTDB_LOGGING", self.logging.location_text.clone()),
            ("CTDB_DEBUGLEVEL", self.logging.level.name().into()),
        ];
        if let Some(script) = &self.database.lock_debug_script {
            environment.push(("CTDB_DEBUG_LOCKS", script.clone()));
        }
        if interactive {
            environment.push(("CTDB_INTERACTIVE", "true".into()));
        }
        environment
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Surroundings;
    use crate::scratch::Scratch;

    fn paths(base: &Scratch) -> Paths {
        let base = Some(base.path().into());
        Paths::resolve(&Surroundings { test_mode: true, base, ..Surroundings::default() }).unwrap()
    }

    #[test]
    fn without_a_file_the_defaults_hold() {
        let scratch = Scratch::new();
        let mut problems = Problems::default();
        let options = Options::load(&paths(&scratch), &mut problems);
        assert_eq!(options, Options::defaults(&paths(&scratch)));
        assert!(problems.is_empty());
    }

    #[test]
    fn an_unreadable_file_is_an_error() {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.path().join("ctdb.conf")).unwrap();
        let mut problems = Problems::default();
        let _ = Options::load(&paths(&scratch), &mut problems);
        assert!(problems.has_errors());
    }

    #[test]
    fn problems_name_the_file_and_the_line() {
        let scratch = Scratch::new();
        let file = scratch.file("ctdb.conf", "[cluster]\n\nleader timeout = 0\n");
        let mut problems = Problems::default();
        let _ = Options::load(&paths(&scratch), &mut problems);
        let shown = problems.iter().next().unwrap().to_string();
        assert!(shown.starts_with(&format!("{}:3: ", file.display())), "{shown}");
    }

    #[test]
    fn scripts_learn_level_and_location_by_name() {
        let scratch = Scratch::new();
        scratch.script("dbg.sh", "");
        let text = "[logging]\nlog level = 2\nlocation = syslog:udp\n\
                    [database]\nlock debug script = dbg.sh\n";
        scratch.file("ctdb.conf", text);
        let (paths, mut problems) = (paths(&scratch), Problems::default());
        let environment = Options::load(&paths, &mut problems).script_environment(&paths, true);
        let of =
            |name| environment.iter().find(|(other, _)| *other == name).map(|(_, value)| value);
        assert_eq!(of("CTDB_DEBUGLEVEL"), Some(&"WARNING".into()));
        assert_eq!(of("CTDB_LOGGING"), Some(&"syslog:udp".into()));
        assert_eq!(of("CTDB_DEBUG_LOCKS"), Some(&"dbg.sh".into()));
        assert_eq!(of("CTDB_BASE"), Some(&scratch.path().into()));
        assert_eq!(of("CTDB_INTERACTIVE"), Some(&"true".into()));
    }
}
