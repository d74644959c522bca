//! What the table has counted, frontend by frontend.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::AddAssign;

use kubeweir_netfilter::{Client, Counter, Family, Key, ObserveError};
use kubeweir_plan::FrontendAddress;

use crate::handover::place;
use crate::names::{Counted, Place, SetId};

/// What was counted of a frontend, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Connections, and flows of connectionless protocols.
    pub connections: u64,
    /// From clients.
    pub inward: Counter,
    /// To clients.
    pub outward: Counter,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.connections = self.connections.wrapping_add(other.connections);
        for (mine, more) in [(&mut self.inward, other.inward), (&mut self.outward, other.outward)] {
            mine.packets = mine.packets.wrapping_add(more.packets);
            mine.bytes = mine.bytes.wrapping_add(more.bytes);
        }
    }
}

/// Counts by address, number of the protocol, and port.
pub type Counts = BTreeMap<(FrontendAddress, u8, u16), Count>;

/// Adds what a table with this name has counted. Takes the kernel some time for each element; a table that is not there, or does not
/// count, has counted nothing.
pub fn read(client: &mut Client, table: &str, counts: &mut Counts) -> Result<(), ObserveError> {
    for family in Family::ALL {
        for place in Place::ALL {
            for what in Counted::ALL {
                let set = SetId::Counted(place, what).to_string();
                let elements = client.counters(family, table, &set)?.unwrap_or_default();
                for (key, counter) in elements {
                    if let Some(frontend) = frontend(family, place, &key) {
                        *counts.entry(frontend).or_default() += what.as_count(counter);
                    }
                }
            }
        }
    }
    Ok(())
}

fn frontend(family: Family, at: Place, key: &Key) -> Option<(FrontendAddress, u8, u16)> {
    match (at, key.as_slice()) {
        (Place::Service, key) => {
            let (protocol, socket): (u8, SocketAddr) = place(key)?;
            Some((FrontendAddress::Ip(socket.ip()), protocol, socket.port()))
        }
        (Place::NodePort, &[protocol, _, _, _, high, low, ..]) => {
            let family = match family {
                Family::Ip => kubeweir_plan::Family::V4,
                Family::Ip6 => kubeweir_plan::Family::V6,
            };
            Some((FrontendAddress::Node(family), protocol, u16::from_be_bytes([high, low])))
        }
        (Place::NodePort, _) => None,
    }
}

impl Counted {
    fn as_count(self, counter: Counter) -> Count {
        match self {
            Counted::Connections => Count { connections: counter.packets, ..Count::default() },
            Counted::In => Count { inward: counter, ..Count::default() },
            Counted::Out => Count { outward: counter, ..Count::default() },
        }
    }
}
