//! Addresses and interfaces (client protocol §4.1).

use crate::fields::{Fields, FixedLayout, Layout, LayoutFault, put_len, structure, text_of};
use alloc::string::String;
use alloc::vec::Vec;
use bateria_wire::Pnn;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// A truncated union of the kernel's socket addresses.
///
/// ```text
/// offset  size  IPv4 field               IPv6 field
///      0     2  family 2                 family 10
///      2     2  port, big-endian         port, big-endian
///      4     4  address, network order   flowinfo
///      8    16  garbage in requests      address
///     24     4                           scope_id
/// ```
///
/// What is read is one form for one address: IPv4 mapped into IPv6 becomes IPv4, and the garbage
/// that Samba 4.17 leaves behind IPv4 addresses is ignored. What is written ends in zeroes, since
/// clients hash the raw bytes.
impl Layout<'_> for SocketAddr {
    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        match self {
            Self::V4(v4) => {
                FAMILY_IPV4.encode(out);
                out.extend_from_slice(&v4.port().to_be_bytes());
                out.extend_from_slice(&v4.ip().octets());
            }
            Self::V6(v6) => {
                FAMILY_IPV6.encode(out);
                out.extend_from_slice(&v6.port().to_be_bytes());
                v6.flowinfo().encode(out);
                out.extend_from_slice(&v6.ip().octets());
                v6.scope_id().encode(out);
            }
        }
        out.resize(start + Self::SIZE_BYTES, 0);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, LayoutFault> {
        let mut fields = Fields::new(fields.take(Self::SIZE_BYTES)?);
        let family: u16 = fields.read()?;
        let port = u16::from_be_bytes(fields.array()?);
        match family {
            FAMILY_IPV4 => {
                let ip = Ipv4Addr::from(fields.array::<4>()?);
                Ok(Self::new(IpAddr::V4(ip), port))
            }
            FAMILY_IPV6 => {
                let flowinfo = fields.read()?;
                let ip = Ipv6Addr::from(fields.array::<16>()?);
                Ok(match ip.to_ipv4_mapped() {
                    Some(ip) => Self::new(IpAddr::V4(ip), port),
                    None => Self::V6(SocketAddrV6::new(ip, port, flowinfo, fields.read()?)),
                })
            }
            other => Err(LayoutFault::AddressFamily(other)),
        }
    }
}

impl FixedLayout for SocketAddr {
    const SIZE_BYTES: usize = 28;
}

structure! {
    /// A TCP connection of a client of the cluster.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct Connection [56 bytes] {
        /// The remote client.
        0 => source: SocketAddr,
        /// Our public address and the service's port.
        28 => target: SocketAddr,
    }
}

structure! {
    /// A public address and the node believed to hold it, `Pnn::UNKNOWN` for none.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PublicIp [32 bytes] {
        0 => holder: Pnn,
        4 => address: SocketAddr,
    }
}

structure! {
    /// A network interface.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Interface [24 bytes] {
        0 => name: InterfaceName,
        /// 1 when up.
        18 => link_state: u16,
        /// Public addresses that are on it now.
        20 => references: u32,
    }
}

/// Name of an interface: at most 15 bytes, filled with zeroes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct InterfaceName([u8; 18]);

/// Answer to GET_PUBLIC_IP_INFO.
///
/// ```text
/// offset  size  field
///      0    32  address      PublicIp
///     32     4  active_index of the interface in use; 0xFFFFFFFF when not hosted here
///     36  4+24n interfaces   list
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicIpInfo {
    pub address: PublicIp,
    pub active_index: u32,
    pub interfaces: Vec<Interface>,
}

/// Payload of ADD_PUBLIC_IP, DEL_PUBLIC_IP and SEND_GRATUITOUS_ARP.
///
/// ```text
/// offset  size  field
///      0    28  address
///     28     4  mask_bits
///     32     4  len       of the name with its NUL; 0 for no name
///     36   len  interface
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressInfo<'a> {
    pub address: SocketAddr,
    pub mask_bits: u32,
    pub interface: Option<&'a str>,
}

/// The TCP connections to one public address.
///
/// ```text
/// offset  size  field
///      0    28  address
///     28  4+56n connections  list
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickleList {
    pub address: SocketAddr,
    pub connections: Vec<Connection>,
}

impl InterfaceName {
    /// `None` when the name does not fit an interface's.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; 18];
        if name.is_empty() || name.len() > INTERFACE_NAME_BYTES_MAX || name.contains('\0') {
            return None;
        }
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Some(Self(bytes))
    }

    /// The bytes before the first NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    #[must_use]
    pub fn to_text(&self) -> String {
        String::from_utf8_lossy(self.as_bytes()).into_owned()
    }
}

impl Layout<'_> for InterfaceName {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, LayoutFault> {
        fields.array().map(Self)
    }
}

impl FixedLayout for InterfaceName {
    const SIZE_BYTES: usize = 18;
}

impl Layout<'_> for PublicIpInfo {
    fn encode(&self, out: &mut Vec<u8>) {
        self.address.encode(out);
        self.active_index.encode(out);
        self.interfaces.encode(out);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, LayoutFault> {
        let (address, active_index) = (fields.read()?, fields.read()?);
        Ok(Self { address, active_index, interfaces: fields.read()? })
    }
}

impl<'a> Layout<'a> for AddressInfo<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.address.encode(out);
        self.mask_bits.encode(out);
        put_len(out, self.interface.map_or(0, |name| name.len() + 1));
        if let Some(name) = self.interface {
            crate::fields::put_text(out, name);
        }
    }

    fn decode(fields: &mut Fields<'a>) -> Result<Self, LayoutFault> {
        let (address, mask_bits, len) = (fields.read()?, fields.read()?, fields.read()?);
        let name = fields.take_u32(len)?;
        let interface = if name.is_empty() { None } else { Some(text_of(name)?) };
        Ok(Self { address, mask_bits, interface })
    }
}

impl Layout<'_> for TickleList {
    fn encode(&self, out: &mut Vec<u8>) {
        self.address.encode(out);
        self.connections.encode(out);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, LayoutFault> {
        Ok(Self { address: fields.read()?, connections: fields.read()? })
    }
}

const FAMILY_IPV4: u16 = 2;
const FAMILY_IPV6: u16 = 10;
/// The kernel's names are shorter than the field (client protocol §4.1).
const INTERFACE_NAME_BYTES_MAX: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_behind_an_ipv4_address_is_neither_read_nor_written() {
        let mut bytes = [0xEE; 28];
        bytes[..8].copy_from_slice(&[2, 0, 0x11, 0x62, 192, 168, 100, 1]);
        let address = SocketAddr::from_bytes(&bytes).unwrap();
        assert_eq!(address, SocketAddr::from(([192, 168, 100, 1], 4450)));
        assert_eq!(address.to_bytes()[8..], [0; 20]);
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        let mapped: SocketAddr = "[::ffff:10.0.0.7]:445".parse().unwrap();
        let read = SocketAddr::from_bytes(&mapped.to_bytes()).unwrap();
        assert_eq!(read, SocketAddr::from(([10, 0, 0, 7], 445)));
    }

    #[test]
    fn an_ipv6_address_keeps_its_scope() {
        let address = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 4379, 1, 2));
        assert_eq!(SocketAddr::from_bytes(&address.to_bytes()), Ok(address));
    }

    #[test]
    fn other_families_are_refused() {
        assert_eq!(SocketAddr::from_bytes(&[0; 28]), Err(LayoutFault::AddressFamily(0)));
    }

    #[test]
    fn interface_names_fit_the_kernel() {
        assert_eq!(InterfaceName::new("eth0").unwrap().as_bytes(), b"eth0");
        assert_eq!(InterfaceName::new("0123456789abcdef"), None);
        assert_eq!(InterfaceName::new(""), None);
    }

    #[test]
    fn an_address_may_be_deleted_without_naming_its_interface() {
        let address = SocketAddr::from(([10, 0, 0, 1], 0));
        let info = AddressInfo { address, mask_bits: 24, interface: None };
        assert_eq!(info.to_bytes().len(), 36);
        assert_eq!(AddressInfo::from_bytes(&info.to_bytes()), Ok(info));
    }
}
