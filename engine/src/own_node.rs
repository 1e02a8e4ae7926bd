//! Which of the listed nodes this one is (cluster management §1.4, samba-4.25 §9).

use crate::nodes_file::{Node, Nodes};
use bateria_wire::Pnn;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::{fs, io};

/// This node's place in the list, and the listening socket that proves it.
///
/// The socket is kept from the moment of the proof: two daemons that look for their node on one
/// host at the same time cannot both find the same one.
#[derive(Debug)]
pub struct OwnNode {
    pub pnn: Pnn,
    pub address: SocketAddr,
    pub listener: TcpListener,
}

#[derive(Debug, thiserror::Error)]
pub enum OwnNodeFault {
    #[error("Can not determine PNN - node address {0} is not in the nodes list")]
    NotListed(IpAddr),
    #[error("Unable to bind to node address {address}: {error}")]
    NotBindable { address: SocketAddr, error: io::Error },
    #[error(
        "Unable to bind to any of the node addresses - giving up (last one: {address}: {error})"
    )]
    NoneBindable { address: SocketAddr, error: io::Error },
    #[error("No nodes available to attempt bind to - is the nodes file empty?")]
    NoNodes,
}

impl OwnNode {
    /// With a `node address` the node that has it; without one the first that can be bound.
    ///
    /// # Errors
    ///
    /// See [`OwnNodeFault`].
    pub fn find(nodes: &Nodes, node_address: Option<IpAddr>) -> Result<Self, OwnNodeFault> {
        if let Some(address) = node_address {
            let node = nodes.of_address(address).ok_or(OwnNodeFault::NotListed(address))?;
            return Self::bind(node)
                .map_err(|error| OwnNodeFault::NotBindable { address: node.address, error });
        }
        let mut last = OwnNodeFault::NoNodes;
        for node in nodes.iter().filter(|node| !node.deleted) {
            match Self::bind_if_local(node) {
                Ok(own) => return Ok(own),
                Err(error) => {
                    last = OwnNodeFault::NoneBindable { address: node.address, error };
                }
            }
        }
        Err(last)
    }

    fn bind(node: &Node) -> io::Result<Self> {
        let listener = TcpListener::bind(node.address)?;
        Ok(Self { pnn: node.pnn, address: node.address, listener })
    }

    /// On hosts that may bind what is not theirs (load balancers like that setting), binding
    /// proves nothing: without a further look every node would take itself for node 0.
    fn bind_if_local(node: &Node) -> io::Result<Self> {
        let own = Self::bind(node)?;
        let ip = node.address.ip();
        if binds_anything(ip) && !is_local(ip)? {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        Ok(own)
    }
}

fn binds_anything(address: IpAddr) -> bool {
    let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    let setting = fs::read_to_string(format!("/proc/sys/net/{family}/ip_nonlocal_bind"));
    setting.is_ok_and(|text| text.trim() != "0")
}

fn is_local(address: IpAddr) -> io::Result<bool> {
    match address {
        IpAddr::V4(address) => Ok(has_v4(&fs::read_to_string("/proc/net/fib_trie")?, address)),
        IpAddr::V6(address) => Ok(has_v6(&fs::read_to_string("/proc/net/if_inet6")?, address)),
    }
}

/// Whether a local route covers the address.
///
/// ```text
///      +-- 127.0.0.0/8 2 0 2
///            |-- 127.0.0.0
///               /8 host LOCAL
/// ```
fn has_v4(fib_trie: &str, address: Ipv4Addr) -> bool {
    let mut leaf = None;
    fib_trie.lines().any(|line| {
        if let Some((_, text)) = line.split_once("|-- ") {
            leaf = text.trim().parse::<Ipv4Addr>().ok();
            return false;
        }
        let Some(bits) = line.trim().strip_suffix(" host LOCAL") else { return false };
        let bits = bits.strip_prefix('/').and_then(|bits| bits.parse::<u32>().ok());
        let (Some(leaf), Some(bits @ 1..=32)) = (leaf, bits) else { return false };
        (leaf.to_bits() ^ address.to_bits()) >> (32 - bits) == 0
    })
}

/// `00000000000000000000000000000001 01 80 10 80       lo`
fn has_v6(if_inet6: &str, address: Ipv6Addr) -> bool {
    if_inet6.lines().any(|line| {
        let digits = line.split_ascii_whitespace().next().unwrap_or_default();
        u128::from_str_radix(digits, 16).is_ok_and(|bits| bits == address.to_bits())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Problems;
    use std::path::Path;

    fn nodes(text: &str) -> Nodes {
        // Port 0 cannot be written into a list, so tests ask the system for a free one first.
        Nodes::parse(text.as_bytes(), 4379, &mut Problems::default().about(Path::new("n")))
    }

    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn the_node_address_decides() {
        let port = free_port();
        let nodes = nodes(&format!("192.0.2.1:{port}\n127.0.0.1:{port}\n"));
        let own = OwnNode::find(&nodes, Some("127.0.0.1".parse().unwrap())).unwrap();
        assert_eq!((own.pnn, own.address.port()), (Pnn(1), port));
    }

    #[test]
    fn a_node_address_outside_the_list_is_refused() {
        let fault = OwnNode::find(&nodes("127.0.0.1\n"), Some("127.0.0.9".parse().unwrap()));
        assert!(matches!(fault, Err(OwnNodeFault::NotListed(_))));
    }

    #[test]
    fn without_a_node_address_the_first_free_one_is_ours() {
        let port = free_port();
        let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let nodes = nodes(&format!("192.0.2.1:{port}\n127.0.0.1:{port}\n127.0.0.2:{port}\n"));
        assert_eq!(OwnNode::find(&nodes, None).unwrap().pnn, Pnn(2));
        drop(taken);
        assert_eq!(OwnNode::find(&nodes, None).unwrap().pnn, Pnn(1));
    }

    #[test]
    fn nobody_s_addresses_are_named() {
        let fault = OwnNode::find(&nodes("192.0.2.1\n#127.0.0.1\n"), None).unwrap_err();
        assert!(fault.to_string().contains("192.0.2.1:4379"), "{fault}");
        assert!(matches!(OwnNode::find(&nodes(""), None), Err(OwnNodeFault::NoNodes)));
    }

    #[test]
    fn local_routes_cover_their_addresses() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
                    |-- 10.1.0.0\n   /16 link UNICAST\nLocal:\n     |-- 10.1.0.7\n        \
                    /32 host LOCAL\n     |-- 127.0.0.0\n        /8 host LOCAL\n";
        let has = |address: &str| has_v4(trie, address.parse().unwrap());
        assert!(has("10.1.0.7") && has("127.0.0.1") && has("127.0.3.2"));
        assert!(!has("10.1.0.8") && !has("192.0.2.1"));
    }

    #[test]
    fn local_addresses_of_ipv6_are_listed_in_hex() {
        let list = "00000000000000000000000000000001 01 80 10 80       lo\n\
                    fd000000000000000000000000000007 02 40 00 80     eth0\n";
        assert!(has_v6(list, "::1".parse().unwrap()) && has_v6(list, "fd00::7".parse().unwrap()));
        assert!(!has_v6(list, "fd00::8".parse().unwrap()));
    }
}
