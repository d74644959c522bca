//! What virtual servers have counted.

use kubeweir_netfilter::Counter;
use kubeweir_netlink::Error;
use kubeweir_netlink::ipvs::{Client, Identity, Statistics};
use kubeweir_nftables::counters::{Count, Counts};
use kubeweir_plan::FrontendAddress;

/// Adds the statistics of all virtual servers that have an address. For NodePorts these are the node's own addresses.
pub fn read(client: &mut Client, counts: &mut Counts) -> Result<(), Error> {
    for listed in client.servers()? {
        if let Identity::Address { protocol, address, port } = listed.identity {
            let frontend = (FrontendAddress::Ip(address), protocol, port);
            *counts.entry(frontend).or_default() += count(&listed.statistics);
        }
    }
    Ok(())
}

fn count(statistics: &Statistics) -> Count {
    Count {
        connections: statistics.connections,
        inward: Counter { packets: statistics.packets_in, bytes: statistics.bytes_in },
        outward: Counter { packets: statistics.packets_out, bytes: statistics.bytes_out },
    }
}
