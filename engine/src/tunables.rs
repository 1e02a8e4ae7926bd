//! Tunables set in files (cluster management §1.8 and §6).

use crate::conf::{self, Item};
use crate::config_file;
use crate::paths::Paths;
use crate::problem::{Complaints, Problems};
use bateria_smbshim::structures::tunable::{Tunable, Tunables};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Reads `ctdb.tunables` and then `tunables.d/*.tunables` by name; the last one of several values
/// counts. Without files the defaults hold.
///
/// Nothing here keeps the daemon from starting: as in the original, a line that means nothing is
/// reported and the others hold.
#[must_use]
pub fn load(paths: &Paths, problems: &mut Problems) -> Tunables {
    let mut tunables = Tunables::default();
    read_file(&paths.tunables(), &mut tunables, problems);
    let directory = paths.tunables_directory();
    match files_in(&directory) {
        Ok(files) => files.iter().for_each(|file| read_file(file, &mut tunables, problems)),
        Err(error) => {
            problems.about(&directory).warning_of_file(format!("cannot be read: {error}"));
        }
    }
    tunables
}

/// Reads the text of a tunables file, in the syntax of `ctdb.conf` without sections.
pub fn read(text: &[u8], tunables: &mut Tunables, complaints: &mut Complaints<'_>) {
    for line in conf::parse(text) {
        if let Some(remark) = line.remark {
            complaints.warning(line.number, remark);
        }
        let refusal = match &line.item {
            // As in the original, what stands above holds.
            Item::Broken(reason) => {
                let text = format!("Syntax error: {reason}; the rest of the file is not read");
                return complaints.warning(line.number, text);
            }
            Item::Section(name) => Err(format!(
                "Invalid line for section [{}] - sections not supported",
                name.display()
            )),
            Item::Bare(text) => Err(format!("Invalid line containing \"{}\"", text.display())),
            Item::Assignment { name, value } => set(name, value, tunables),
        };
        if let Err(refusal) = refusal {
            complaints.warning(line.number, refusal);
        }
    }
}

fn set(name: &OsStr, value: &OsStr, tunables: &mut Tunables) -> Result<(), String> {
    let shown = name.display();
    let Some(tunable) = name.to_str().and_then(Tunable::from_name) else {
        return Err(format!("Unknown tunable \"{shown}\""));
    };
    if tunable.is_obsolete() {
        return Err(format!("Obsolete tunable \"{shown}\"{}", successor(tunable)));
    }
    let number = value.to_str().and_then(number_of);
    let number = number
        .ok_or_else(|| format!("Invalid value \"{}\" for tunable \"{shown}\"", value.display()))?;
    tunables.set(tunable, number);
    Ok(())
}

/// What to write today, for those who bring their files from 2011.
fn successor(tunable: Tunable) -> &'static str {
    match tunable {
        Tunable::DeterministicIps => ", use IPAllocAlgorithm = 0 for DeterministicIPs = 1",
        Tunable::Lcp2PublicIps => ", use IPAllocAlgorithm = 1 for LCP2PublicIPs = 0",
        Tunable::DisableIpFailover => ", use [failover] -> \"disabled\" in ctdb.conf",
        Tunable::TdbMutexEnabled => ", use [database] -> \"tdb mutexes\" in ctdb.conf",
        _ => "",
    }
}

/// A number that fills the value: decimal, octal behind `0`, hexadecimal behind `0x`.
fn number_of(text: &str) -> Option<u32> {
    let (radix, digits) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &text[2..]),
        [b'0', _, ..] => (8, &text[1..]),
        _ => (10, text),
    };
    // `from_str_radix` would accept a sign.
    let digits = Some(digits).filter(|digits| digits.chars().all(|digit| digit.is_digit(radix)))?;
    u32::from_str_radix(digits, radix).ok()
}

fn read_file(file: &Path, tunables: &mut Tunables, problems: &mut Problems) {
    let mut complaints = problems.about(file);
    match config_file::read_if_present(file) {
        Ok(text) => read(&text.unwrap_or_default(), tunables, &mut complaints),
        Err(error) => complaints.warning_of_file(format!("cannot be read: {error}")),
    }
}

/// Sorted by byte: the original's order depends on the locale that the daemon was started in.
fn files_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "tunables"));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Surroundings;
    use crate::scratch::Scratch;

    fn read_text(text: &str) -> (Tunables, Vec<String>) {
        let (mut tunables, mut problems) = (Tunables::default(), Problems::default());
        read(text.as_bytes(), &mut tunables, &mut problems.about(Path::new("t")));
        assert!(!problems.has_errors());
        (tunables, problems.iter().map(|problem| problem.to_string().split_off(2)).collect())
    }

    #[test]
    fn names_match_in_any_case_and_the_last_value_counts() {
        let (tunables, problems) = read_text("monitorinterval = 5\nMONITORINTERVAL = 0x10\n");
        assert_eq!(tunables.get(Tunable::MonitorInterval), 16);
        assert!(problems.is_empty());
    }

    #[test]
    fn bad_lines_are_named_and_the_others_hold() {
        let (tunables, problems) = read_text(
            "[x]\nFoo = 3\nmonitorinterval = 5x\nEnableBans =\nKeepaliveInterval = -1\n\
             KeepaliveLimit = 4294967296\nMaxRedirectCount = 3\nnoequals\nSeqnumInterval = 017\n",
        );
        let warnings = [
            "1: Invalid line for section [x] - sections not supported",
            "2: Unknown tunable \"Foo\"",
            "3: Invalid value \"5x\" for tunable \"monitorinterval\"",
            "4: Invalid value \"\" for tunable \"EnableBans\"",
            "5: Invalid value \"-1\" for tunable \"KeepaliveInterval\"",
            "6: Invalid value \"4294967296\" for tunable \"KeepaliveLimit\"",
            "7: Obsolete tunable \"MaxRedirectCount\"",
            "8: Invalid line containing \"noequals\"",
        ];
        assert_eq!(problems, warnings);
        assert_eq!(tunables.get(Tunable::SeqnumInterval), 15);
        assert_eq!(tunables.get(Tunable::KeepaliveLimit), 5);
    }

    #[test]
    fn a_syntax_error_ends_the_reading() {
        let (tunables, problems) = read_text("KeepaliveLimit = 7\n[foo\nKeepaliveInterval = 8\n");
        assert_eq!(tunables.get(Tunable::KeepaliveLimit), 7);
        assert_eq!(tunables.get(Tunable::KeepaliveInterval), 5);
        assert!(problems.len() == 1 && problems[0].starts_with("2: Syntax error"), "{problems:?}");
    }

    #[test]
    fn numbers_fill_their_value() {
        let cases = [("0", 0), ("10", 10), ("017", 15), ("0X1f", 31), ("4294967295", u32::MAX)];
        for (text, number) in cases {
            assert_eq!(number_of(text), Some(number), "{text}");
        }
        for text in ["", "0x", "08", "+5", "-0", "0x+5", "1 2", "٣"] {
            assert_eq!(number_of(text), None, "{text}");
        }
    }

    #[test]
    fn old_names_lead_to_their_successors() {
        let (_, problems) = read_text("DeterministicIPs = 1\n");
        assert!(problems[0].ends_with("use IPAllocAlgorithm = 0 for DeterministicIPs = 1"));
    }

    #[test]
    fn further_files_follow_in_the_order_of_their_names() {
        let scratch = Scratch::new();
        let base = Some(scratch.path().into());
        let from = Surroundings { test_mode: true, base, ..Surroundings::default() };
        let paths = Paths::resolve(&from).unwrap();
        assert_eq!(load(&paths, &mut Problems::default()), Tunables::default());

        scratch.file("ctdb.tunables", "KeepaliveLimit = 7\nEnableBans = 0\n");
        fs::create_dir(paths.tunables_directory()).unwrap();
        scratch.file("tunables.d/20.tunables", "KeepaliveLimit = 9\n");
        scratch.file("tunables.d/10.tunables", "KeepaliveLimit = 8\nFoo = 1\n");
        scratch.file("tunables.d/30.conf", "KeepaliveLimit = 1\n");
        let mut problems = Problems::default();
        let tunables = load(&paths, &mut problems);
        assert_eq!(tunables.get(Tunable::KeepaliveLimit), 9);
        assert_eq!(tunables.get(Tunable::EnableBans), 0);
        let shown = problems.iter().next().unwrap().to_string();
        assert!(shown.contains("tunables.d/10.tunables:2: "), "{shown}");
    }
}
