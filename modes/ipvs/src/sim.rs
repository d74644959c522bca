//! A simulated kernel that refuses what the real one refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use kubeweir_netlink::bulk::{Outcome, Refusal};
use kubeweir_netlink::ipvs::{Identity, Request};
use kubeweir_netlink::{Errno, Error};

use crate::kernel::{Kernel, Observed, ObservedServer};

/// Virtual servers and addresses in memory.
#[derive(Clone, Debug, Default)]
pub struct Simulated {
    /// What there is.
    pub state: Observed,
    /// Whether the device is there.
    pub has_device: bool,
    /// Its index.
    pub device: u32,
    /// Schedulers that it lacks.
    pub lacks: BTreeSet<String>,
    /// Whether real servers of which nothing else is said have a connection.
    pub is_busy: bool,
    /// Connections of real servers.
    pub connections: BTreeMap<(Identity, SocketAddr), u32>,
    /// Requests that are refused with this error.
    pub refuses: BTreeMap<Identity, Errno>,
    /// All changes, in order, refused or not.
    pub log: Vec<String>,
    /// Requests so far.
    pub sent: u64,
}

fn refuse(errno: Errno) -> Outcome {
    Err(Refusal { errno, message: None })
}

impl Simulated {
    fn one(&mut self, request: &Request) -> Outcome {
        self.log.push(request.to_string());
        if let Some(errno) = self.refuses.get(request.server()) {
            return refuse(*errno);
        }
        match request {
            Request::NewServer(id, _) if self.state.servers.contains_key(id) => refuse(Errno::EEXIST),
            Request::NewServer(_, how) | Request::SetServer(_, how)
                if self.lacks.contains(&how.scheduler) =>
            {
                refuse(Errno::ENOENT)
            }
            Request::NewServer(id, how) => {
                let server = ObservedServer { scheduling: how.clone(), real: BTreeMap::new() };
                self.state.servers.insert(*id, server);
                Ok(())
            }
            _ => self.change(request),
        }
    }

    fn change(&mut self, request: &Request) -> Outcome {
        let id = request.server();
        let Some(server) = self.state.servers.get_mut(id) else { return refuse(Errno::ESRCH) };
        let at = |address, port| SocketAddr::new(address, port);
        match request {
            Request::SetServer(_, how) => server.scheduling = how.clone(),
            Request::DeleteServer(_) => drop(self.state.servers.remove(id)),
            Request::NewReal(_, real) => {
                if server.real.contains_key(&at(real.address, real.port)) {
                    return refuse(Errno::EEXIST);
                }
                server.real.insert(at(real.address, real.port), *real);
            }
            Request::SetReal(_, real) => match server.real.get_mut(&at(real.address, real.port)) {
                Some(old) => *old = *real,
                None => return refuse(Errno::ENOENT),
            },
            Request::DeleteReal(_, real) => {
                if server.real.remove(real).is_none() {
                    return refuse(Errno::ENOENT);
                }
            }
            Request::NewServer(..) => {}
        }
        Ok(())
    }
}

impl Kernel for Simulated {
    fn observe(&mut self) -> Result<Observed, Error> {
        self.sent += 2 + self.state.servers.len() as u64;
        Ok(self.state.clone())
    }

    fn prepare(&mut self) -> Result<(), Error> {
        self.sent += 1;
        self.has_device = true;
        Ok(())
    }

    fn execute(&mut self, requests: &[Request]) -> Result<Vec<Outcome>, Error> {
        self.sent += requests.len() as u64;
        Ok(requests.iter().map(|request| self.one(request)).collect())
    }

    fn bind(&mut self, addresses: &[IpAddr]) -> Result<Vec<Outcome>, Error> {
        self.sent += addresses.len() as u64;
        self.log.extend(addresses.iter().map(|address| format!("bind {address}")));
        let bind = |address: &IpAddr| {
            if self.state.bound.insert(*address) { Ok(()) } else { refuse(Errno::EEXIST) }
        };
        Ok(addresses.iter().map(bind).collect())
    }

    fn unbind(&mut self, addresses: &[IpAddr]) -> Result<Vec<Outcome>, Error> {
        self.sent += addresses.len() as u64;
        self.log.extend(addresses.iter().map(|address| format!("unbind {address}")));
        let unbind = |address: &IpAddr| {
            if self.state.bound.remove(address) { Ok(()) } else { refuse(Errno::EADDRNOTAVAIL) }
        };
        Ok(addresses.iter().map(unbind).collect())
    }

    fn connections(&mut self, server: &Identity) -> Result<BTreeMap<SocketAddr, u32>, Error> {
        self.sent += 1;
        let real = self.state.servers.get(server).into_iter().flat_map(|server| server.real.keys());
        let count = |real: &SocketAddr| {
            self.connections.get(&(*server, *real)).copied().unwrap_or(u32::from(self.is_busy))
        };
        Ok(real.map(|real| (*real, count(real))).collect())
    }

    fn has(&mut self, server: &Identity) -> Result<bool, Error> {
        Ok(self.state.servers.contains_key(server))
    }

    fn device_index(&mut self) -> Result<Option<u32>, Error> {
        Ok(self.has_device.then_some(self.device))
    }

    fn remove_device(&mut self) -> Result<(), Error> {
        self.has_device = false;
        self.state.bound.clear();
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.sent
    }
}
