//! The real kernel.

use kubeweir_ipvs::Client;
use kubeweir_ipvs::cleanup::Device;
use kubeweir_netlink::Error;

use super::Doors;

/// The kernel of the network namespace of the thread that opened it.
pub struct Live {
    tables: kubeweir_netfilter::Client,
    device: Device,
    /// Once it was asked for.
    servers: Option<Client>,
}

impl Live {
    /// Opens sockets, none of them to IPVS.
    pub fn open() -> Result<Live, Error> {
        Ok(Live { tables: kubeweir_netfilter::Client::open()?, device: Device::open()?, servers: None })
    }
}

impl Doors for Live {
    type Tables = kubeweir_netfilter::Client;
    type Servers = Client;

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
