//! Our own settings: `bateria.toml`, optional, beside `ctdb.conf`.
//!
//! ```toml
//! [engine]
//! shards = 4                     # threads that serve records; default: one per usable CPU
//! cpus = "0-3,8"                 # CPUs to use and to pin to; default: all that are allowed
//! poll = "sleep"                 # or "adaptive", "sqpoll"
//!
//! [cluster]
//! quorum = "majority"            # or "none"; a cluster lock in ctdb.conf goes before either
//! heartbeat_interval_ms = 100
//! detection_time_ms = 900        # a node silent for so long is gone
//! lease_ms = 750                 # a node out of touch for so long stops by itself
//! lock_stall_limit_ms = 0        # a held cluster lock that cannot be checked for so long is
//!                                # lost; 0: wait, as stock does
//!
//! [limits]
//! clients_count_max = 16384
//! client_queue_bytes_max = 67108864
//! peer_queue_bytes_max = 268435456
//! log_queue_lines_max = 8192
//! blocking_threads_count_max = 16
//! blocking_queue_count_max = 1024
//! ```

use crate::config_file;
use crate::cpus::CpuList;
use crate::paths::Paths;
use crate::problem::{Complaints, Problems};
use serde::Deserialize;
use serde::de::{self, Deserializer};
use std::num::NonZeroU32;

/// What `bateria.toml` says, read once at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub engine: EngineSettings,
    pub cluster: ClusterSettings,
    pub limits: Limits,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSettings {
    #[serde(deserialize_with = "optional_shards")]
    pub shards: Option<NonZeroU32>,
    pub cpus: Option<CpuList>,
    pub poll: Poll,
}

/// What a shard does when it has nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Poll {
    /// Sleep at once. Right wherever other work shares the CPUs.
    #[default]
    Sleep,
    /// Look for new work for as long as waking up would cost, then sleep.
    Adaptive,
    /// Let a kernel thread look for submissions.
    Sqpoll,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterSettings {
    pub quorum: QuorumRule,
    #[serde(deserialize_with = "time_ms")]
    pub heartbeat_interval_ms: u32,
    #[serde(deserialize_with = "time_ms")]
    pub detection_time_ms: u32,
    #[serde(deserialize_with = "time_ms")]
    pub lease_ms: u32,
    pub lock_stall_limit_ms: u32,
}

/// What entitles a node to lead without a cluster lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuorumRule {
    /// More than half of the configured nodes.
    #[default]
    Majority,
    /// Nothing: both halves of a partitioned cluster go on.
    None,
}

/// Where waiting work stops to pile up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    #[serde(deserialize_with = "count")]
    pub clients_count_max: u32,
    #[serde(deserialize_with = "queue_bytes")]
    pub client_queue_bytes_max: u64,
    #[serde(deserialize_with = "queue_bytes")]
    pub peer_queue_bytes_max: u64,
    #[serde(deserialize_with = "count")]
    pub log_queue_lines_max: u32,
    #[serde(deserialize_with = "count")]
    pub blocking_threads_count_max: u32,
    #[serde(deserialize_with = "count")]
    pub blocking_queue_count_max: u32,
}

pub const SHARDS_COUNT_MAX: u32 = 256;

impl Settings {
    /// Reads `bateria.toml`; without one the defaults hold. A mistake goes to `problems`, and then
    /// the settings must not be used.
    #[must_use]
    pub fn load(paths: &Paths, problems: &mut Problems) -> Self {
        let file = paths.settings();
        let mut complaints = problems.about(&file);
        match config_file::read_if_present(&file) {
            Ok(text) => Self::read(&text.unwrap_or_default(), &mut complaints),
            Err(error) => {
                complaints.error_of_file(format!("cannot be read: {error}"));
                Self::default()
            }
        }
    }

    /// Reads the text of a `bateria.toml`.
    #[must_use]
    pub fn read(text: &[u8], complaints: &mut Complaints<'_>) -> Self {
        let Ok(text) = str::from_utf8(text) else {
            complaints.error_of_file("is not UTF-8");
            return Self::default();
        };
        match toml::from_str::<Self>(text) {
            Ok(settings) => {
                settings.cluster.check(complaints);
                settings
            }
            Err(error) => {
                let message = error.message().trim().replace('\n', ", ");
                match error.span() {
                    Some(span) => complaints.error(line_of(text, span.start), message),
                    None => complaints.error_of_file(message),
                }
                Self::default()
            }
        }
    }
}

impl ClusterSettings {
    /// The times have to leave room for each other; the core refuses others.
    fn check(&self, complaints: &mut Complaints<'_>) {
        let Self { heartbeat_interval_ms, detection_time_ms, lease_ms, .. } = *self;
        if u64::from(lease_ms) * 10 > u64::from(detection_time_ms) * 9 {
            complaints.error_of_file(format!(
                "[cluster] lease_ms = {lease_ms} must be at most 9/10 of \
                 detection_time_ms = {detection_time_ms}"
            ));
        }
        if u64::from(heartbeat_interval_ms) * 3 > u64::from(lease_ms) {
            complaints.error_of_file(format!(
                "[cluster] three times heartbeat_interval_ms = {heartbeat_interval_ms} must fit \
                 into lease_ms = {lease_ms}"
            ));
        }
    }
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            quorum: QuorumRule::Majority,
            heartbeat_interval_ms: 100,
            detection_time_ms: 900,
            lease_ms: 750,
            lock_stall_limit_ms: 0,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients_count_max: 16_384,
            client_queue_bytes_max: 64 * MIB,
            peer_queue_bytes_max: 256 * MIB,
            log_queue_lines_max: 8_192,
            blocking_threads_count_max: 16,
            blocking_queue_count_max: 1_024,
        }
    }
}

const MIB: u64 = 1024 * 1024;

fn line_of(text: &str, offset: usize) -> u32 {
    let before = &text.as_bytes()[..offset.min(text.len())];
    u32::try_from(before.split(|byte| *byte == b'\n').count()).unwrap_or(u32::MAX)
}

fn bounded<'de, D, T>(deserializer: D, min: T, max: T) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + PartialOrd + std::fmt::Display + Copy,
{
    let value = T::deserialize(deserializer)?;
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(de::Error::custom(format!("must be from {min} to {max}")))
    }
}

fn optional_shards<'de, D: Deserializer<'de>>(from: D) -> Result<Option<NonZeroU32>, D::Error> {
    bounded(from, 1, SHARDS_COUNT_MAX).map(NonZeroU32::new)
}

fn time_ms<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    bounded(from, 1, 600_000)
}

fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    bounded(from, 1, 1 << 24)
}

fn queue_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    bounded(from, MIB, 1 << 40)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(text: &str) -> Result<Settings, String> {
        let mut problems = Problems::default();
        let settings = Settings::read(text.as_bytes(), &mut problems.about(Path::new("b.toml")));
        problems.iter().next().map_or(Ok(settings), |problem| Err(problem.to_string()))
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(read(""), Ok(Settings::default()));
        assert_eq!(read("[engine]\n[cluster]\n[limits]\n"), Ok(Settings::default()));
    }

    #[test]
    fn the_example_of_the_documentation_is_valid() {
        let source = include_str!("settings.rs");
        let example: String = source
            .lines()
            .skip_while(|line| *line != "//! ```toml")
            .skip(1)
            .take_while(|line| *line != "//! ```")
            .map(|line| line.trim_start_matches("//!").to_owned() + "\n")
            .collect();
        let mut settings = read(&example).unwrap();
        assert_eq!(settings.engine.shards, NonZeroU32::new(4));
        assert_eq!(settings.engine.cpus.take(), Some("0-3,8".parse().unwrap()));
        settings.engine.shards = None;
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn mistakes_are_named_by_line() {
        let cases = [
            ("[engine]\nshard = 2\n", "b.toml:2: unknown field `shard`"),
            ("\n[nosuch]\n", "b.toml:2: unknown field `nosuch`"),
            ("[engine]\n\nshards = 0\n", "b.toml:3: must be from 1 to 256"),
            ("[engine]\nshards = -1\n", "b.toml:2: invalid value"),
            ("[engine]\ncpus = \"3-1\"\n", "b.toml:2: "),
            ("[engine]\npoll = \"spin\"\n", "b.toml:2: unknown variant `spin`"),
            ("[cluster]\nquorum = \"two\"\n", "b.toml:2: unknown variant `two`"),
            ("[limits]\n\nclients_count_max = \"x\"\n", "b.toml:3: invalid type"),
            ("[engine\n", "b.toml:1: "),
        ];
        for (text, start) in cases {
            let got = read(text).unwrap_err();
            assert!(got.starts_with(start), "{text:?}: {got}");
        }
    }

    #[test]
    fn times_leave_room_for_each_other() {
        assert!(read("[cluster]\nlease_ms = 900\n").unwrap_err().contains("9/10"));
        let fault = read("[cluster]\nheartbeat_interval_ms = 300\n").unwrap_err();
        assert!(fault.contains("three times"), "{fault}");
        assert!(read("[cluster]\ndetection_time_ms = 2000\nlease_ms = 1500\n").is_ok());
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let mut problems = Problems::default();
        let _ = Settings::read(b"\xff", &mut problems.about(Path::new("b.toml")));
        assert!(problems.has_errors());
    }
}
