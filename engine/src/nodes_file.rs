//! The list of nodes (cluster management §1.6).

use crate::command_line::{CommandLine, FileOrCommand};
use crate::config_file;
use crate::problem::{Complaints, Problems};
use bateria_wire::Pnn;
use bateria_wire::limits::NODES_COUNT_MAX;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{ChildStdout, Stdio};
use std::time::{Duration, Instant};

/// All nodes of the cluster, by their place in the file.
///
/// One address a line, IPv4 or IPv6, with or without a port:
///
/// ```text
/// 10.0.0.1            PNN 0
///                     an empty line counts for nothing
/// #10.0.0.2           PNN 1, deleted: there are no comments
/// [fd00::3]:4380      PNN 2
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    pub pnn: Pnn,
    /// `0.0.0.0` for a deleted node.
    pub address: SocketAddr,
    pub deleted: bool,
    /// Where it stands in the file.
    pub line: u32,
}

/// Port of nodes without one, unless `/etc/services` knows the service `ctdb`.
pub const PORT_DEFAULT: u16 = 4379;
/// A program that lists nodes and does not end by then is killed.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

impl Nodes {
    /// Reads the list. It blocks for as long as a program takes that makes it. All findings go to
    /// `problems`: with an error among them the list must not be used.
    #[must_use]
    pub fn load(source: &FileOrCommand, problems: &mut Problems) -> Self {
        let (name, text) = match source {
            FileOrCommand::File(path) => {
                let text = config_file::read_if_present(path);
                let absent = || rustix::io::Errno::NOENT.into();
                (path.as_path(), text.and_then(|text| text.ok_or_else(absent)))
            }
            FileOrCommand::Command(line) => {
                (Path::new(&line.program), output_of(line, COMMAND_LIMIT))
            }
        };
        let mut complaints = problems.about(name);
        match text {
            Ok(text) => Self::parse(&text, default_port(), &mut complaints),
            Err(error) => {
                complaints.error_of_file(format!("Failed to read nodes file: {error}"));
                Self::default()
            }
        }
    }

    /// Reads the text of a list.
    #[must_use]
    pub fn parse(text: &[u8], port: u16, complaints: &mut Complaints<'_>) -> Self {
        let mut nodes = Vec::new();
        let mut first_of: BTreeMap<SocketAddr, Pnn> = BTreeMap::new();
        let mut broken = false;
        for (line, text) in (1_u32..).zip(text.split(|byte| *byte == b'\n')) {
            let text = text.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let pnn = Pnn(u32::try_from(nodes.len()).unwrap_or(u32::MAX));
            if !pnn.is_node() {
                complaints.error(line, format!("more than {NODES_COUNT_MAX} nodes"));
                break;
            }
            nodes.push(match text.strip_prefix(b"#") {
                Some(rest) => {
                    warn_of_comment(rest, pnn, line, complaints);
                    Node::deleted(pnn, port, line)
                }
                None => match address_of(text, port) {
                    Ok(address) => {
                        let first = *first_of.entry(address).or_insert(pnn);
                        if first != pnn {
                            let text = format!(
                                "{address} is node {first} already; node {pnn} can never be reached"
                            );
                            complaints.warning(line, text);
                        }
                        Node { pnn, address, deleted: false, line }
                    }
                    Err(reason) => {
                        let text = String::from_utf8_lossy(text);
                        complaints.error(line, format!("Invalid IP address \"{text}\": {reason}"));
                        broken = true;
                        Node::deleted(pnn, port, line)
                    }
                },
            });
        }
        if nodes.iter().all(|node| node.deleted) && !broken {
            complaints.error_of_file("No nodes available - is the nodes file empty?");
        }
        Self { nodes }
    }

    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Node> {
        self.nodes.iter()
    }

    #[must_use]
    pub fn get(&self, pnn: Pnn) -> Option<&Node> {
        self.nodes.get(pnn.index())
    }

    /// Deleted nodes count.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// The first node of an address, whatever its port.
    #[must_use]
    pub fn of_address(&self, address: IpAddr) -> Option<&Node> {
        self.nodes.iter().find(|node| !node.deleted && node.address.ip() == address)
    }
}

impl Node {
    fn deleted(pnn: Pnn, port: u16, line: u32) -> Self {
        let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        Self { pnn, address, deleted: true, line }
    }
}

/// Whoever writes a comment into the list has moved all later nodes by one.
fn warn_of_comment(text: &[u8], pnn: Pnn, line: u32, complaints: &mut Complaints<'_>) {
    if address_of(text.trim_ascii(), PORT_DEFAULT).is_err() {
        let text = format!("there are no comments here: this line is node {pnn}, deleted");
        complaints.warning(line, text);
    }
}

fn address_of(text: &[u8], port: u16) -> Result<SocketAddr, &'static str> {
    let text = str::from_utf8(text).map_err(|_| "not text")?;
    let bare = text.parse().map(|address| SocketAddr::new(address, port));
    let address = bare.or_else(|_| text.parse::<SocketAddr>()).map_err(|_| {
        if text.contains([' ', '\t']) { "one address a line" } else { "not IPv4 or IPv6" }
    })?;
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        Err("not the address of a host")
    } else if address.port() == 0 {
        Err("0 is not a port")
    } else {
        Ok(address)
    }
}

fn default_port() -> u16 {
    let services = config_file::read_if_present(Path::new("/etc/services")).ok().flatten();
    service_port(&String::from_utf8_lossy(&services.unwrap_or_default())).unwrap_or(PORT_DEFAULT)
}

/// The port of `ctdb 4379/tcp`, or of a line that has `ctdb` as an alias.
fn service_port(services: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let (name, port) = (words.next()?, words.next()?);
        let named = name == "ctdb" || words.any(|alias| alias == "ctdb");
        port.strip_suffix("/tcp").filter(|_| named)?.parse().ok()
    })
}

/// What a program writes to its standard output. Its exit status counts for nothing when the
/// output is valid (cluster management §1.4).
fn output_of(line: &CommandLine, limit: Duration) -> io::Result<Vec<u8>> {
    let mut child = line.command().stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().expect("the output was asked for");
    let output = config_file::read_bounded(BeforeDeadline { stdout, end: Instant::now() + limit });
    if output.is_err() {
        let _ = child.kill();
    }
    child.wait()?;
    output
}

/// Reads from a program that may never write.
struct BeforeDeadline {
    stdout: ChildStdout,
    end: Instant,
}

impl Read for BeforeDeadline {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.stdout, PollFlags::IN)], Some(&left))? {
            0 => Err(io::Error::new(io::ErrorKind::TimedOut, "the program does not end")),
            _ => self.stdout.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    /// Nodes as `address` or `-` for deleted ones, and the problems as `line: text`.
    fn read(text: &str) -> (Vec<String>, Vec<String>) {
        let mut problems = Problems::default();
        let nodes = Nodes::parse(text.as_bytes(), 4379, &mut problems.about(Path::new("n")));
        let show = |node: &Node| if node.deleted { "-".into() } else { node.address.to_string() };
        let shown = problems.iter().map(|problem| problem.to_string().split_off(2)).collect();
        (nodes.iter().map(show).collect(), shown)
    }

    #[test]
    fn a_line_is_a_node() {
        let (nodes, problems) = read("10.0.0.1\n  fd00::2\t\n10.0.0.3:99\n[fd00::4]:98\n");
        assert_eq!(nodes, ["10.0.0.1:4379", "[fd00::2]:4379", "10.0.0.3:99", "[fd00::4]:98"]);
        assert_eq!(problems.len(), 0);
    }

    #[test]
    fn empty_lines_take_no_number_and_deleted_ones_do() {
        let (nodes, problems) = read("\n10.0.0.1\n\n # 10.0.0.2\n10.0.0.3");
        assert_eq!(nodes, ["10.0.0.1:4379", "-", "10.0.0.3:4379"]);
        assert_eq!(problems.len(), 0);
    }

    #[test]
    fn a_comment_is_a_deleted_node_and_a_surprise() {
        let (nodes, problems) = read("# our nodes\n10.0.0.1\n");
        assert_eq!(nodes, ["-", "10.0.0.1:4379"]);
        assert_eq!(problems, ["1: there are no comments here: this line is node 0, deleted"]);
    }

    #[test]
    fn every_bad_line_is_named() {
        let (_, problems) = read("10.0.0.1\nfoo bar\n10.0.0.2 x\nnas3\n0.0.0.0\n10.0.0.6:0\n");
        let lines = [
            "2: Invalid IP address \"foo bar\": one address a line",
            "3: Invalid IP address \"10.0.0.2 x\": one address a line",
            "4: Invalid IP address \"nas3\": not IPv4 or IPv6",
            "5: Invalid IP address \"0.0.0.0\": not the address of a host",
            "6: Invalid IP address \"10.0.0.6:0\": 0 is not a port",
        ];
        assert_eq!(problems, lines);
    }

    #[test]
    fn duplicates_are_named() {
        let (nodes, problems) = read("10.0.0.1\n10.0.0.2\n10.0.0.1\n#10.0.0.2\n10.0.0.2:99\n");
        assert_eq!(nodes.len(), 5);
        let text = "3: 10.0.0.1:4379 is node 0 already; node 2 can never be reached";
        assert_eq!(problems, [text]);
    }

    #[test]
    fn a_list_without_a_live_node_is_an_error() {
        for text in ["", "\n\n", "#10.0.0.1\n"] {
            let mut problems = Problems::default();
            let _ = Nodes::parse(text.as_bytes(), 4379, &mut problems.about(Path::new("n")));
            assert!(problems.has_errors());
        }
    }

    #[test]
    fn the_number_of_nodes_is_limited() {
        let lines: Vec<String> =
            (0..1_030).map(|n| format!("10.0.{}.{}", n >> 8, n & 255)).collect();
        let (nodes, problems) = read(&lines.join("\n"));
        assert_eq!(nodes.len(), 1_024);
        assert_eq!(problems, ["1025: more than 1024 nodes"]);
    }

    #[test]
    fn an_address_finds_its_live_node() {
        let mut problems = Problems::default();
        let text = b"#10.0.0.1\n10.0.0.1:99\n";
        let nodes = Nodes::parse(text, 4379, &mut problems.about(Path::new("n")));
        let found = nodes.of_address("10.0.0.1".parse().unwrap()).unwrap();
        assert_eq!((found.pnn, found.line), (Pnn(1), 2));
        assert!(nodes.of_address("0.0.0.0".parse().unwrap()).is_none());
    }

    #[test]
    fn the_port_comes_from_the_services() {
        assert_eq!(service_port("http 80/tcp\nctdb\t4380/tcp x # y\n"), Some(4380));
        assert_eq!(service_port("x 4381/tcp ctdb\n"), Some(4381));
        assert_eq!(service_port("ctdb 4380/udp\n#ctdb 1/tcp\n"), None);
    }

    #[test]
    fn an_absent_file_is_an_error() {
        let mut problems = Problems::default();
        let _ = Nodes::load(&FileOrCommand::File("/nonexistent/nodes".into()), &mut problems);
        assert!(problems.has_errors());
    }

    #[test]
    fn a_program_may_make_the_list_whatever_its_status() {
        let scratch = Scratch::new();
        let script = scratch.file("nodes", "echo 10.0.0.1; echo \"$1\"; exit 3");
        let text = format!("!/bin/sh {} 10.0.0.2", script.display());
        let mut problems = Problems::default();
        let source = FileOrCommand::parse(text.as_ref()).unwrap();
        assert_eq!(Nodes::load(&source, &mut problems).count(), 2);
        assert!(problems.is_empty());
    }

    #[test]
    fn a_program_that_hangs_or_floods_is_stopped() {
        let hang = CommandLine { program: "sleep".into(), arguments: vec!["1000".into()] };
        let fault = output_of(&hang, Duration::from_millis(20)).unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::TimedOut);
        let flood = CommandLine { program: "yes".into(), arguments: Vec::new() };
        let fault = output_of(&flood, COMMAND_LIMIT).unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::FileTooLarge);
    }
}
