//! From the lines of `ctdb.conf` to typed options.

use super::value::{self, Refusal};
use super::{ClusterLockOption, Options};
use crate::command_line::FileOrCommand;
use crate::conf::{self, Item};
use crate::log::LogLocation;
use crate::paths::Paths;
use crate::problem::Complaints;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The work in progress on one file.
pub(super) struct Reading<'a, 'b> {
    options: Options,
    recovery_lock: Option<ClusterLockOption>,
    section: Section,
    /// Known options met so far, with their lines.
    seen: Vec<(&'static str, OsString, u32)>,
    paths: &'a Paths,
    complaints: &'a mut Complaints<'b>,
}

#[derive(Clone, Copy)]
enum Section {
    /// Before the first one.
    None,
    Unknown,
    Known(&'static str),
}

const SECTIONS: [&str; 6] = ["logging", "cluster", "database", "event", "failover", "legacy"];

impl<'a, 'b> Reading<'a, 'b> {
    pub(super) fn new(paths: &'a Paths, complaints: &'a mut Complaints<'b>) -> Self {
        Self {
            options: Options::defaults(paths),
            recovery_lock: None,
            section: Section::None,
            seen: Vec::new(),
            paths,
            complaints,
        }
    }

    pub(super) fn read(mut self, text: &[u8]) -> Options {
        for line in conf::parse(text) {
            if let Some(remark) = line.remark {
                self.complaints.warning(line.number, remark);
            }
            match &line.item {
                Item::Section(name) => self.enter(name, line.number),
                Item::Assignment { name, value } => self.assign(name, value, line.number),
                Item::Bare(text) => {
                    let text = format!("line without \"=\" is ignored: \"{}\"", text.display());
                    self.complaints.warning(line.number, text);
                }
                Item::Broken(reason) => {
                    self.complaints.error(line.number, *reason);
                    // Whatever section was meant.
                    self.section = Section::Unknown;
                }
            }
        }
        // The newer name wins wherever the two stand.
        self.options.cluster.lock = self.options.cluster.lock.or(self.recovery_lock);
        self.options
    }

    fn enter(&mut self, name: &OsStr, line: u32) {
        let known = SECTIONS.into_iter().find(|known| name.eq_ignore_ascii_case(known));
        if known.is_none() {
            self.complaints.warning(line, format!("unknown section [{}]", name.display()));
        }
        self.section = known.map_or(Section::Unknown, Section::Known);
    }

    fn assign(&mut self, name: &OsStr, value: &OsStr, line: u32) {
        let shown = name.display();
        let section = match self.section {
            Section::Known(section) => section,
            Section::Unknown => return,
            Section::None => {
                let text = format!("option \"{shown}\" in front of the first section is ignored");
                return self.complaints.warning(line, text);
            }
        };
        match self.apply(section, name, value, line) {
            Ok(()) => self.note(section, name, line),
            Err(Refusal::UnknownOption) => {
                let text = format!("unknown option [{section}] -> \"{shown}\"");
                self.complaints.warning(line, text);
            }
            Err(Refusal::Empty) => {
                self.complaints.error(line, format!("empty value [{section}] -> \"{shown}\""));
            }
            Err(Refusal::Invalid(reason)) => {
                let value = value.display();
                let text =
                    format!("invalid value [{section}] -> \"{shown}\" = \"{value}\": {reason}");
                self.complaints.error(line, text);
            }
        }
    }

    /// Stores one value. Option names are lower case and match exactly, as the original's do.
    fn apply(
        &mut self,
        section: &str,
        name: &OsStr,
        value: &OsStr,
        line: u32,
    ) -> Result<(), Refusal> {
        let Self { options, paths, .. } = self;
        let Options { logging, cluster, database, failover, legacy, .. } = options;
        let mut remark = None;
        let name = name.to_str().ok_or(Refusal::UnknownOption)?;
        match (section, name) {
            ("logging", "location") => {
                logging.location = location(value::present(value)?)?;
                value.clone_into(&mut logging.location_text);
            }
            ("logging", "log level") => logging.level = value::level(value, &mut remark)?,

            ("cluster", "transport") => value::transport(value)?,
            ("cluster", "node address") => cluster.node_address = Some(value::address(value)?),
            ("cluster", "cluster lock") => cluster.lock = Some(lock(value)?),
            ("cluster", "recovery lock") => self.recovery_lock = Some(lock(value)?),
            ("cluster", "leader timeout") => {
                cluster.leader_timeout_s = value::positive(value, &mut remark)?;
            }
            ("cluster", "leader capability") => cluster.leader_capability = value::boolean(value)?,
            ("cluster", "nodes list") => {
                let source = FileOrCommand::parse(value::present(value)?);
                cluster.nodes_list = source.map_err(Refusal::because)?;
            }

            ("database", "volatile database directory") => {
                database.volatile_directory = value::directory(value)?;
            }
            ("database", "persistent database directory") => {
                database.persistent_directory = value::directory(value)?;
            }
            ("database", "state database directory") => {
                database.state_directory = value::directory(value)?;
            }
            ("database", "lock debug script") => {
                database.lock_debug_script = Some(value::script(value, &paths.etc)?);
            }
            ("database", "tdb mutexes") => database.mutexes = value::boolean(value)?,

            ("event", "debug script") => {
                options.event_debug_script = Some(value::script(value, &paths.etc)?);
            }

            ("failover", "disabled") => failover.disabled = value::boolean(value)?,
            ("failover", "shutdown failover timeout") => {
                failover.shutdown_timeout_s = value::integer(value, &mut remark)?;
            }
            ("failover", "shutdown extra timeout") => {
                failover.shutdown_extra_timeout_s = value::integer(value, &mut remark)?;
            }

            ("legacy", "realtime scheduling") => {
                legacy.realtime_scheduling = value::boolean(value)?;
            }
            ("legacy", "lmaster capability") => legacy.lmaster_capability = value::boolean(value)?,
            ("legacy", "start as stopped") => legacy.start_as_stopped = value::boolean(value)?,
            ("legacy", "start as disabled") => legacy.start_as_disabled = value::boolean(value)?,
            ("legacy", "script log level") => {
                legacy.script_log_level = value::level(value, &mut remark)?;
            }
            _ => return Err(Refusal::UnknownOption),
        }
        if let Some(remark) = remark {
            self.complaints.warning(line, format!("[{section}] -> \"{name}\": {remark}"));
        }
        Ok(())
    }

    /// The last one of several counts.
    fn note(&mut self, section: &'static str, name: &OsStr, line: u32) {
        let earlier = self.seen.iter_mut().find(|seen| seen.0 == section && seen.1 == name);
        if let Some((_, _, earlier)) = earlier {
            let shown = name.display();
            let text = format!("[{section}] -> \"{shown}\" replaces the one of line {earlier}");
            *earlier = line;
            self.complaints.warning(line, text);
        } else {
            self.seen.push((section, name.to_owned(), line));
        }
    }
}

/// The directory of a log file has to exist; the file is made when it is opened.
fn location(value: &OsStr) -> Result<LogLocation, Refusal> {
    let location = LogLocation::parse(value).map_err(Refusal::because)?;
    let LogLocation::File(path) = location else { return Ok(location) };
    let path = value::absolute(&path);
    if path.parent().is_some_and(Path::is_dir) {
        Ok(LogLocation::File(path))
    } else {
        Err(Refusal::because("the directory does not exist"))
    }
}

fn lock(value: &OsStr) -> Result<ClusterLockOption, Refusal> {
    let source = FileOrCommand::parse(value::present(value)?).map_err(Refusal::because)?;
    Ok(ClusterLockOption { text: value.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{LogLevel, Syslog};
    use crate::paths::Surroundings;
    use crate::problem::Problems;
    use crate::scratch::Scratch;

    /// The options of a text, and the problems in it as `line: text`.
    fn read(scratch: &Scratch, text: &str) -> (Options, Vec<String>) {
        let base = Some(scratch.path().into());
        let from = Surroundings { test_mode: true, base, ..Surroundings::default() };
        let paths = Paths::resolve(&from).unwrap();
        let mut problems = Problems::default();
        let options = Options::read(text.as_bytes(), &paths, &mut problems.about(Path::new("c")));
        let shown = problems.iter().map(|problem| problem.to_string().split_off(2)).collect();
        (options, shown)
    }

    fn problems_of(text: &str) -> Vec<String> {
        read(&Scratch::new(), text).1
    }

    #[test]
    fn every_option_finds_its_place() {
        let scratch = Scratch::new();
        scratch.script("s.sh", "");
        let base = scratch.path().display();
        let text = format!(
            "[logging]\nlocation = syslog:nonblocking\nlog level = DEBUG\n\
             [cluster]\ntransport = tcp\nnode address = ::1\ncluster lock = /l\n\
             leader timeout = 0x10\nleader capability = No\nnodes list = /n\n\
             [database]\nvolatile database directory = {base}\n\
             persistent database directory = {base}\nstate database directory = {base}\n\
             lock debug script = s.sh\ntdb mutexes = FALSE\n\
             [event]\ndebug script = /elsewhere/s.sh\n\
             [failover]\ndisabled = true\nshutdown failover timeout = 0\n\
             shutdown extra timeout = 3\n\
             [legacy]\nrealtime scheduling = no\nlmaster capability = no\n\
             start as stopped = yes\nstart as disabled = yes\nscript log level = info\n"
        );
        let (options, problems) = read(&scratch, &text);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(options.logging.location, LogLocation::Syslog(Syslog::Nonblocking));
        assert_eq!(options.logging.level, LogLevel::Debug);
        assert_eq!(options.cluster.node_address, Some("::1".parse().unwrap()));
        assert_eq!(options.cluster.lock.unwrap().text, "/l");
        assert_eq!(options.cluster.leader_timeout_s, 16);
        assert!(!options.cluster.leader_capability);
        assert_eq!(options.cluster.nodes_list, FileOrCommand::File("/n".into()));
        assert_eq!(options.database.volatile_directory, scratch.path());
        assert_eq!(options.database.state_directory, scratch.path());
        assert_eq!(options.database.lock_debug_script, Some("s.sh".into()));
        assert!(!options.database.mutexes);
        assert_eq!(options.event_debug_script, Some("s.sh".into()));
        assert!(options.failover.disabled);
        assert_eq!(options.failover.shutdown_timeout_s, 0);
        assert_eq!(options.failover.shutdown_extra_timeout_s, 3);
        assert!(!options.legacy.realtime_scheduling && !options.legacy.lmaster_capability);
        assert!(options.legacy.start_as_stopped && options.legacy.start_as_disabled);
        assert_eq!(options.legacy.script_log_level, LogLevel::Info);
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let got = problems_of(
            "[logging]\nlocation = stderr\nlog level = LOUD\n[cluster]\ntransport = ib\n\
             node address = 10.0.0.1:4379\nleader timeout = -5\nleader capability = on\n\
             cluster lock =\n[database]\nstate database directory = /nonexistent\n",
        );
        let starts = [
            "2: invalid value [logging] -> \"location\" = \"stderr\"",
            "3: invalid value [logging] -> \"log level\" = \"LOUD\"",
            "5: invalid value [cluster] -> \"transport\" = \"ib\"",
            "6: invalid value [cluster] -> \"node address\" = \"10.0.0.1:4379\"",
            "7: invalid value [cluster] -> \"leader timeout\" = \"-5\"",
            "8: invalid value [cluster] -> \"leader capability\" = \"on\"",
            "9: empty value [cluster] -> \"cluster lock\"",
            "11: invalid value [database] -> \"state database directory\" = \"/nonexistent\"",
        ];
        assert_eq!(got.len(), starts.len(), "{got:#?}");
        for (got, start) in got.iter().zip(starts) {
            assert!(got.starts_with(start), "{got}");
        }
    }

    #[test]
    fn what_the_original_ignores_is_a_warning() {
        let text = "leader timeout = 3\n[nosuch]\nx = y\n[cluster]\nfoo = bar\n\
                    Leader Timeout = 9\nnoequals\n";
        let (options, got) = read(&Scratch::new(), text);
        let warnings = [
            "1: option \"leader timeout\" in front of the first section is ignored",
            "2: unknown section [nosuch]",
            "5: unknown option [cluster] -> \"foo\"",
            "6: unknown option [cluster] -> \"Leader Timeout\"",
            "7: line without \"=\" is ignored: \"noequals\"",
        ];
        assert_eq!(got, warnings);
        assert_eq!(options.cluster.leader_timeout_s, 5);
    }

    #[test]
    fn a_syntax_error_is_no_reason_to_go_on_without_a_lock() {
        let got = problems_of(
            "[cluster]\ncluster lock = /l\n[logging\nlog level = x\n[logging]\nlog level = y\n",
        );
        assert_eq!(got[0], "3: section without a closing bracket");
        assert!(got.len() == 2 && got[1].starts_with("6: invalid value"), "{got:?}");
    }

    #[test]
    fn sections_match_in_any_case() {
        let (options, problems) = read(&Scratch::new(), "[CLUSTER]\nleader timeout = 9\n");
        assert_eq!((options.cluster.leader_timeout_s, problems.len()), (9, 0));
    }

    #[test]
    fn garbage_behind_a_number_is_accepted_with_a_warning() {
        let (options, problems) = read(&Scratch::new(), "[cluster]\nleader timeout = 7x\n");
        assert_eq!(options.cluster.leader_timeout_s, 7);
        assert_eq!(
            problems,
            ["2: [cluster] -> \"leader timeout\": \"x\" behind the number 7 is ignored"]
        );
    }

    #[test]
    fn the_last_of_several_counts() {
        let text = "[cluster]\nleader timeout = 9\n[logging]\n[cluster]\nleader timeout = 7\n";
        let (options, problems) = read(&Scratch::new(), text);
        assert_eq!(options.cluster.leader_timeout_s, 7);
        assert_eq!(problems, ["5: [cluster] -> \"leader timeout\" replaces the one of line 2"]);
    }

    #[test]
    fn the_newer_name_of_the_lock_wins_wherever_it_stands() {
        for text in
            ["cluster lock = /n\nrecovery lock = /o", "recovery lock = /o\ncluster lock = /n"]
        {
            let (options, _) = read(&Scratch::new(), &format!("[cluster]\n{text}\n"));
            assert_eq!(options.cluster.lock.unwrap().text, "/n");
        }
        let (options, _) = read(&Scratch::new(), "[cluster]\nrecovery lock = /o\n");
        assert_eq!(options.cluster.lock.unwrap().text, "/o");
    }

    #[test]
    fn a_log_file_needs_its_directory() {
        let got = problems_of("[logging]\nlocation = file:/nonexistent/log\n");
        assert!(got[0].ends_with("the directory does not exist"), "{got:?}");
    }
}
