//! The real kernel.

use kubeweir_ipvs::Client;
use kubeweir_ipvs::cleanup::Device;
use kubeweir_netfilter::survey::Surveyed;
use kubeweir_netfilter::{Commit, CommitError, Family, Kernel, ObserveError};
use kubeweir_netlink::{Error, ipset};

use super::Doors;

/// The kernel of the network namespace of the thread that opened it.
pub struct Live {
    tables: kubeweir_netfilter::Client,
    device: Device,
    /// Once it was asked for.
    servers: Option<Client>,
    /// Likewise.
    sets: Option<ipset::Client>,
}

impl Live {
    /// Opens sockets, none of them to IPVS.
    pub fn open() -> Result<Live, Error> {
        let tables = kubeweir_netfilter::Client::open()?;
        Ok(Live { tables, device: Device::open()?, servers: None, sets: None })
    }
}

impl Doors for Live {
    type Tables = kubeweir_netfilter::Client;
    type Servers = Client;
    type Sets = ipset::Client;

    fn survey(&mut self, family: Family, tables: &[&str]) -> Result<Vec<Surveyed>, ObserveError> {
        self.tables.survey(family, tables)
    }

    fn remove_chains(&mut self, commits: &[Commit]) -> Result<(), CommitError> {
        self.tables.commit(commits, None)
    }

    fn sets(&mut self) -> Result<Option<&mut ipset::Client>, Error> {
        if self.sets.is_none() {
            self.sets = ipset::Client::open()?;
        }
        Ok(self.sets.as_mut())
    }

    fn tables(&mut self) -> &mut kubeweir_netfilter::Client {
        &mut self.tables
    }

    fn has_device(&mut self) -> Result<bool, Error> {
        Ok(self.device.index()?.is_some())
    }

    fn remove_device(&mut self) -> Result<(), Error> {
        self.device.remove()
    }

    fn servers(&mut self) -> Result<Option<&mut Client>, Error> {
        if self.servers.is_none() {
            self.servers = match Client::open() {
                Ok(client) => Some(client),
                Err(Error::NoFamily { .. }) => None,
                Err(error) => return Err(error),
            };
        }
        Ok(self.servers.as_mut())
    }
}
