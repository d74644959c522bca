//! The real kernel, through netlink.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use kubeweir_netlink::bulk::{Outcome, Refusal};
use kubeweir_netlink::ipvs::{self, Identity, Listed, Request};
use kubeweir_netlink::link::{self, Address, Link};
use kubeweir_netlink::module;
use kubeweir_netlink::{Errno, Error};

use crate::DEVICE;
use crate::kernel::{Kernel, Observed, ObservedServer};

/// Schedulers whose modules must be loaded before the kernel is asked for them. It would load them itself, but holding the
/// lock of IPVS; these two wait for network namespaces that are being removed, which wait for that lock: for ever.
const LOADED_FIRST: [&str; 2] = ["lblc", "lblcr"];

/// The kernel of the network namespace of the thread that opened it.
pub struct Client {
    ipvs: ipvs::Client,
    links: link::Client,
}

impl Client {
    /// Opens sockets. An error if the kernel has no IPVS and cannot load it.
    pub fn open() -> Result<Client, Error> {
        Ok(Client { ipvs: ipvs::Client::open()?, links: link::Client::open()? })
    }

    /// What IPVS can be asked besides.
    pub fn ipvs(&mut self) -> &mut ipvs::Client {
        &mut self.ipvs
    }

    /// The device, if there is one; a link of its name that is no dummy is somebody else's.
    fn device(&mut self) -> Result<Option<Link>, Error> {
        Ok(self.links.find(DEVICE)?.filter(Link::is_dummy))
    }

    fn server(&mut self, listed: Listed) -> Result<(Identity, ObservedServer), Error> {
        let real = self.ipvs.real_servers(&listed.identity)?.into_iter();
        let real = real.map(|real| (SocketAddr::new(real.server.address, real.server.port), real.server));
        Ok((listed.identity, ObservedServer { scheduling: listed.scheduling, real: real.collect() }))
    }

    fn index(&mut self) -> Result<u32, Error> {
        match self.device()? {
            Some(device) => Ok(device.index),
            None => Ok(self.links.create_dummy(DEVICE)?.index),
        }
    }
}

impl Kernel for Client {
    fn observe(&mut self) -> Result<Observed, Error> {
        let listed = self.ipvs.servers()?;
        let servers = listed.into_iter().map(|listed| self.server(listed)).collect::<Result<_, _>>()?;
        let bound = match self.device()? {
            Some(device) => self.links.addresses(device.index)?.into_iter().map(|a| a.address).collect(),
            None => BTreeSet::new(),
        };
        Ok(Observed { servers, bound })
    }

    fn prepare(&mut self) -> Result<(), Error> {
        self.index().map(|_| ())
    }

    fn execute(&mut self, requests: &[Request]) -> Result<Vec<Outcome>, Error> {
        let lacking: Vec<bool> = requests.iter().map(is_lacking).collect();
        if !lacking.contains(&true) {
            return self.ipvs.execute(requests);
        }
        let sent: Vec<Request> =
            requests.iter().zip(&lacking).filter(|(_, lacking)| !**lacking).map(|(r, _)| r.clone()).collect();
        let mut outcomes = self.ipvs.execute(&sent)?.into_iter();
        let no_scheduler = || Err(Refusal { errno: Errno::ENOENT, message: None });
        Ok(lacking
            .into_iter()
            .map(|lacking| if lacking { no_scheduler() } else { outcomes.next().unwrap_or(Ok(())) })
            .collect())
    }

    fn bind(&mut self, addresses: &[IpAddr]) -> Result<Vec<Outcome>, Error> {
        let index = self.index()?;
        self.links.add_addresses(index, &hosts(addresses))
    }

    fn unbind(&mut self, addresses: &[IpAddr]) -> Result<Vec<Outcome>, Error> {
        match self.device()? {
            Some(device) => self.links.delete_addresses(device.index, &hosts(addresses)),
            None => Ok(vec![Ok(()); addresses.len()]),
        }
    }

    fn connections(&mut self, server: &Identity) -> Result<BTreeMap<SocketAddr, u32>, Error> {
        let listed = self.ipvs.real_servers(server)?.into_iter();
        let count = |connections: ipvs::Connections| connections.active.saturating_add(connections.inactive);
        Ok(listed
            .map(|real| (SocketAddr::new(real.server.address, real.server.port), count(real.connections)))
            .collect())
    }

    fn has(&mut self, server: &Identity) -> Result<bool, Error> {
        self.ipvs.has(server)
    }

    fn device_index(&mut self) -> Result<Option<u32>, Error> {
        Ok(self.device()?.map(|device| device.index))
    }

    fn remove_device(&mut self) -> Result<(), Error> {
        match self.device()? {
            Some(device) => self.links.delete(device.index),
            None => Ok(()),
        }
    }

    fn sent(&self) -> u64 {
        self.ipvs.sent() + self.links.sent()
    }
}

/// Whether the request wants a scheduler that must be loaded first, and could not be: it must not be asked for.
fn is_lacking(request: &Request) -> bool {
    match request {
        Request::NewServer(_, how) | Request::SetServer(_, how) => {
            let name = how.scheduler.as_str();
            LOADED_FIRST.contains(&name) && !module::load(&format!("ip_vs_{name}"))
        }
        _ => false,
    }
}

fn hosts(addresses: &[IpAddr]) -> Vec<Address> {
    addresses.iter().copied().map(Address::host).collect()
}
