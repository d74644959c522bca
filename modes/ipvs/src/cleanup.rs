//! What IPVS mode leaves in a kernel, ours or kube-proxy's: for whoever removes it. Nobody else's is touched.

use std::collections::BTreeSet;

use ipnet::IpNet;
use kubeweir_netlink::Error;
use kubeweir_netlink::ipvs::{Identity, Request};
use kubeweir_netlink::link;
use kubeweir_nftables::handover;
use kubeweir_nftables::programmed::Observed as Tables;

use crate::DEVICE;
use crate::carry::{Carried, Failed, carry_out};
use crate::kernel::Kernel;
use crate::programmed::Seen;
use crate::schedulers::Schedulers;
use crate::steps::{Change, Step};

/// Virtual servers by whose they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sorted {
    /// Those that IPVS mode made.
    pub ours: Vec<Identity>,
    /// All others, those of excluded prefixes among them.
    pub foreign: Vec<Identity>,
}

/// Whether anything says that IPVS mode was here. If nothing does, IPVS must not be asked: that would load it.
pub fn is_hinted_at(has_device: bool, tables: &Tables) -> bool {
    has_device || tables.iter().any(Option::is_some)
}

/// The virtual servers that the tables beside them say are ours.
pub fn recorded(tables: &Tables) -> BTreeSet<Identity> {
    handover::recorded(tables).map(|(protocol, at)| Identity::at(protocol, at)).collect()
}

/// Tells virtual servers apart. Pure. NodePorts of kube-proxy are on the host's own addresses and recorded nowhere: they
/// count as foreign.
pub fn sort(seen: Seen<'_>, excluded: &[IpNet]) -> Sorted {
    let (ours, foreign) = seen.kernel.servers.keys().partition(|identity| seen.is_ours(identity, excluded));
    Sorted { ours, foreign }
}

/// Deletes virtual servers, and their connections with them. Returns those that the kernel did not let go.
pub fn delete(kernel: &mut impl Kernel, servers: &[Identity]) -> Result<Vec<Failed>, Error> {
    let step = |identity: &Identity| Step {
        service: None,
        change: Change::Server(Request::DeleteServer(*identity)),
    };
    let steps: Vec<Step> = servers.iter().map(step).collect();
    let mut carried = Carried::new(Schedulers::default());
    carry_out(kernel, &steps, &mut carried)?;
    Ok(carried.failed)
}

/// The virtual server that a failed step was about.
pub fn server_of(failed: &Failed) -> Option<&Identity> {
    match &failed.step.change {
        Change::Server(request) => Some(request.server()),
        Change::Bind(_) | Change::Unbind(_) => None,
    }
}

/// The device that carries addresses, for kernels with and without IPVS.
pub struct Device {
    links: link::Client,
}

impl Device {
    /// The device of the network namespace of the calling thread.
    pub fn open() -> Result<Device, Error> {
        Ok(Device { links: link::Client::open()? })
    }

    /// Its number, if it is there. A link of its name that is no dummy is somebody else's.
    pub fn index(&mut self) -> Result<Option<u32>, Error> {
        Ok(self.links.find(DEVICE)?.filter(link::Link::is_dummy).map(|link| link.index))
    }

    /// Removes it with all its addresses, if it is there.
    pub fn remove(&mut self) -> Result<(), Error> {
        match self.index()? {
            Some(index) => self.links.delete(index),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use kubeweir_netlink::Family;
    use kubeweir_netlink::ipvs::Scheduling;

    use super::*;
    use crate::kernel::{Observed, ObservedServer};

    fn at(text: &str) -> Identity {
        Identity::at(6, text.parse().unwrap())
    }

    fn kernel(servers: &[Identity], bound: &[&str]) -> Observed {
        let server = ObservedServer { scheduling: Scheduling::new("rr", Family::V4), real: BTreeMap::new() };
        let bound = bound.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect();
        Observed { servers: servers.iter().map(|id| (*id, server.clone())).collect(), bound }
    }

    #[test]
    fn ours_is_what_is_recorded_and_what_is_on_the_device_unless_excluded() {
        let mark = Identity::Mark { family: Family::V4, mark: 7.try_into().unwrap() };
        let [on_device, excluded, excluded_but_recorded, node_port, foreign] =
            ["10.96.0.1:80", "10.97.0.1:80", "10.97.0.2:80", "192.0.2.1:30080", "192.0.2.1:8443"].map(at);
        let all = [on_device, excluded, excluded_but_recorded, node_port, foreign, mark];
        let observed = kernel(&all, &["10.96.0.1", "10.97.0.1", "10.97.0.2"]);
        let recorded = [node_port, excluded_but_recorded].into();
        let seen = Seen { kernel: &observed, recorded: &recorded };
        let sorted = sort(seen, &["10.97.0.0/16".parse().unwrap()]);
        assert_eq!(sorted.ours, [on_device, excluded_but_recorded, node_port]);
        assert_eq!(sorted.foreign, [excluded, foreign, mark]);
    }

    #[test]
    fn without_device_and_table_nothing_hints_at_ipvs() {
        let table = || Some(kubeweir_netfilter::Table::new(kubeweir_netfilter::Family::Ip6, "any"));
        assert!(!is_hinted_at(false, &[None, None]));
        assert!(is_hinted_at(true, &[None, None]) && is_hinted_at(false, &[None, table()]));
    }
}
