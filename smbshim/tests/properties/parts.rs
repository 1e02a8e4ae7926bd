//! Arbitrary material for everything that can be sent.

use bateria_smbshim::structures::address::{Connection, Interface, InterfaceName, PublicIp};
use bateria_smbshim::structures::node::Timeval;
use bateria_smbshim::structures::statistics::Statistics;
use bateria_smbshim::{LtdbHeader, Marshall, MarshallBuilder, RecordFlags};
use bateria_wire::{DbId, Pnn, Rsn, Srvid};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::SocketAddr;

/// Material for everything that can be sent.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) numbers: [u32; 4],
    pub(crate) srvid: Srvid,
    pub(crate) flag: bool,
    pub(crate) name: String,
    pub(crate) interface: String,
    pub(crate) address: SocketAddr,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) records: MarshallBuilder,
}

fn addresses() -> impl Strategy<Value = SocketAddr> {
    // IPv4 mapped into IPv6 is read as IPv4, so it is not among what survives unchanged.
    any::<SocketAddr>()
        .prop_map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Arbitrary material.
pub(crate) fn parts() -> impl Strategy<Value = Parts> {
    let bytes = || vec(any::<u8>(), 0..80);
    let records = vec((bytes(), any::<u64>(), bytes()), 0..5);
    let names = ("[a-zA-Z_][a-z_]{0,20}\\.tdb", "[a-z][a-z0-9]{0,14}");
    (any::<[u32; 4]>(), any::<u64>(), any::<bool>(), names, addresses(), bytes(), bytes(), records)
        .prop_map(|(numbers, srvid, flag, (name, interface), address, key, value, records)| {
            let mut builder = MarshallBuilder::new(DbId(numbers[0]));
            for (key, rsn, value) in records {
                builder.push(&key, &LtdbHeader::new(Rsn(rsn), Pnn(numbers[1])), &value);
            }
            let srvid = Srvid(srvid);
            Parts { numbers, srvid, flag, name, interface, address, key, value, records: builder }
        })
}

impl Parts {
    pub(crate) fn db_id(&self) -> DbId {
        DbId(self.numbers[0])
    }

    pub(crate) fn pnn(&self) -> Pnn {
        Pnn(self.numbers[1])
    }

    pub(crate) fn signed(&self) -> i32 {
        self.numbers[2].cast_signed()
    }

    pub(crate) fn header(&self) -> LtdbHeader {
        let flags = RecordFlags::from_bits_retain(self.numbers[2]);
        let [_, _, reserved, padding] = self.numbers;
        LtdbHeader { flags, reserved, padding, ..LtdbHeader::new(Rsn(self.srvid.0), self.pnn()) }
    }

    pub(crate) fn interface(&self) -> Interface {
        let name = InterfaceName::new(&self.interface).expect("generated to fit");
        Interface { name, link_state: u16::from(self.flag), references: self.numbers[3] }
    }

    pub(crate) fn connection(&self) -> Connection {
        Connection { source: self.address, target: SocketAddr::new(self.address.ip(), 445) }
    }

    pub(crate) fn public_ip(&self) -> PublicIp {
        PublicIp { holder: self.pnn(), address: self.address }
    }

    pub(crate) fn marshall(&self) -> Marshall<'_> {
        self.records.view()
    }

    pub(crate) fn statistics(&self) -> Statistics {
        let mut statistics = Statistics {
            num_clients: self.numbers[0],
            total_ro_revokes: self.numbers[3],
            start_time: self.timeval(),
            ..Statistics::default()
        };
        statistics.locks.record_wait(self.numbers[1]);
        statistics.call_latency.record(f64::from(self.numbers[2]) / 7.0);
        statistics
    }

    pub(crate) fn timeval(&self) -> Timeval {
        Timeval { seconds: self.srvid.0.cast_signed(), microseconds: i64::from(self.numbers[0]) }
    }
}
