//! The door to the kernel's virtual servers and to the device that carries their addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use kubeweir_netlink::Error;
use kubeweir_netlink::bulk::Outcome;
use kubeweir_netlink::ipvs::{Identity, RealServer, Request, Scheduling};

/// A kernel, real or simulated. After an error it is not known what was done: read again.
pub trait Kernel {
    /// Reads everything, whoever made it.
    fn observe(&mut self) -> Result<Observed, Error>;

    /// Makes the device that carries addresses, unless it is there.
    fn prepare(&mut self) -> Result<(), Error>;

    /// Carries requests out in order; each has its own outcome, and one that is refused does not keep the next from being
    /// tried.
    fn execute(&mut self, requests: &[Request]) -> Result<Vec<Outcome>, Error>;

    /// Takes on addresses, each with its own outcome.
    fn bind(&mut self, addresses: &[IpAddr]) -> Result<Vec<Outcome>, Error>;

    /// Gives addresses up, each with its own outcome.
    fn unbind(&mut self, addresses: &[IpAddr]) -> Result<Vec<Outcome>, Error>;

    /// How many connections each real server of a virtual server has, being closed or not.
    fn connections(&mut self, server: &Identity) -> Result<BTreeMap<SocketAddr, u32>, Error>;

    /// Whether there is this virtual server.
    fn has(&mut self, server: &Identity) -> Result<bool, Error>;

    /// The index of the device that carries addresses, if it is there.
    fn device_index(&mut self) -> Result<Option<u32>, Error>;

    /// Removes the device with all its addresses, if it is there and of the right kind.
    fn remove_device(&mut self) -> Result<(), Error>;

    /// Requests sent so far.
    fn sent(&self) -> u64;
}

/// What the kernel has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Virtual servers with their real servers.
    pub servers: BTreeMap<Identity, ObservedServer>,
    /// Addresses on the device.
    pub bound: BTreeSet<IpAddr>,
}

/// A virtual server as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedServer {
    /// How it chooses.
    pub scheduling: Scheduling,
    /// Among whom.
    pub real: BTreeMap<SocketAddr, RealServer>,
}
