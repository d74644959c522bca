use std::net::IpAddr;
use std::os::fd::AsRawFd;

use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection,
};

use crate::{Error, Namespace};

/// A pair of connected interfaces to be made, each end up and with its addresses.
#[derive(Clone, Debug)]
pub struct Veth<'a> {
    /// Where the first end is.
    pub here: &'a Namespace,
    /// Name of the first end.
    pub name: &'a str,
    /// Where the second end is.
    pub there: &'a Namespace,
    /// Name of the second end.
    pub peer: &'a str,
}

/// A bridge to be made.
#[derive(Clone, Copy, Debug)]
pub struct Bridge<'a> {
    /// Where it is.
    pub here: &'a Namespace,
    /// Its name.
    pub name: &'a str,
}

impl Veth<'_> {
    /// Makes the pair and sets both ends up.
    pub fn make(&self) -> Result<(), Error> {
        let peer = LinkUnspec::new_with_name(self.peer).setns_by_fd(self.there.file().as_raw_fd()).build();
        let pair =
            LinkVeth::new(self.name, self.peer).set_info_data(InfoData::Veth(InfoVeth::Peer(peer))).build();
        let what = format!("add {} and its peer", self.name);
        self.here.network(&what, |handle| async move { handle.link().add(pair).execute().await })?;
        self.here.up(self.name)?;
        self.there.up(self.peer)
    }
}

impl Bridge<'_> {
    /// Makes the bridge and sets it up.
    pub fn make(&self) -> Result<(), Error> {
        let bridge = LinkBridge::new(self.name).up().build();
        let what = format!("add bridge {}", self.name);
        self.here.network(&what, |handle| async move { handle.link().add(bridge).execute().await })
    }

    /// Has what crosses the bridge meet the rules of IP whatever the sysctls say.
    pub fn filter(&self) -> Result<(), Error> {
        let bridge = LinkBridge::new(self.name).nf_call_iptables(true).nf_call_ip6tables(true).build();
        let what = format!("filter {}", self.name);
        self.here.network(&what, |handle| async move { handle.link().change(bridge).execute().await })
    }

    /// Makes an interface of the same namespace a port of the bridge.
    pub fn enslave(&self, interface: &str) -> Result<(), Error> {
        let bridge = self.here.index(self.name)?;
        let port = LinkUnspec::new_with_index(self.here.index(interface)?).controller(bridge).build();
        let what = format!("put {interface} on {}", self.name);
        self.here.network(&what, |handle| async move { handle.link().set(port).execute().await })
    }

    /// Lets a port send back out what came in through it, or not (hairpin mode).
    pub fn hairpin(&self, port: &str, on: bool) -> Result<(), Error> {
        let link = LinkBridgePort::new(self.here.index(port)?).hairpin(on).build();
        let what = format!("change hairpin mode of {port}");
        self.here.network(&what, |handle| async move { handle.link().set_port(link).execute().await })
    }
}

impl Namespace {
    /// Sets an interface up.
    pub fn up(&self, interface: &str) -> Result<(), Error> {
        let link = LinkUnspec::new_with_index(self.index(interface)?).up().build();
        let what = format!("set {interface} up");
        self.network(&what, |handle| async move { handle.link().set(link).execute().await })
    }

    /// Removes an interface.
    pub fn delete_link(&self, interface: &str) -> Result<(), Error> {
        let index = self.index(interface)?;
        let what = format!("delete {interface}");
        self.network(&what, |handle| async move { handle.link().del(index).execute().await })
    }

    /// Adds an address with its prefix to an interface. IPv6 addresses skip duplicate address detection, so that
    /// they can be used at once.
    pub fn address(&self, interface: &str, address: IpNet) -> Result<(), Error> {
        use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
        let index = self.index(interface)?;
        let what = format!("add {address} to {interface}");
        self.network(&what, |handle| async move {
            let mut request = handle.address().add(index, address.addr(), address.prefix_len());
            request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            request.execute().await
        })
    }

    /// Removes an address from an interface.
    pub fn delete_address(&self, interface: &str, address: IpAddr) -> Result<(), Error> {
        let index = self.index(interface)?;
        let what = format!("delete {address} from {interface}");
        self.network(&what, |handle| async move {
            let listed = handle.address().get().set_link_index_filter(index).set_address_filter(address);
            let mut found = listed.execute();
            while let Some(message) = found.try_next().await? {
                handle.address().del(message).execute().await?;
            }
            Ok(())
        })
    }

    /// Routes a prefix through a gateway; length 0 makes it the default route.
    pub fn route(&self, prefix: IpNet, gateway: IpAddr) -> Result<(), Error> {
        let what = format!("route {prefix} through {gateway}");
        self.network(&what, |handle| async move {
            let route = RouteMessageBuilder::<IpAddr>::new()
                .destination_prefix(prefix.addr(), prefix.prefix_len())
                .and_then(|route| route.gateway(gateway))
                .map_err(|_| rtnetlink::Error::RequestFailed)?;
            handle.route().add(route.build()).execute().await
        })
    }

    /// Routes a prefix directly to an interface.
    pub fn route_to_link(&self, prefix: IpNet, interface: &str) -> Result<(), Error> {
        let index = self.index(interface)?;
        let what = format!("route {prefix} to {interface}");
        self.network(&what, |handle| async move {
            let route = RouteMessageBuilder::<IpAddr>::new()
                .destination_prefix(prefix.addr(), prefix.prefix_len())
                .map_err(|_| rtnetlink::Error::RequestFailed)?
                .scope(RouteScope::Link)
                .output_interface(index);
            handle.route().add(route.build()).execute().await
        })
    }

    pub(crate) fn index(&self, interface: &str) -> Result<u32, Error> {
        let name = interface.to_owned();
        let index = self.network("list interfaces", |handle| async move {
            let found = handle.link().get().match_name(name).execute().try_next().await;
            Ok(found.ok().flatten().map(|link| link.header.index))
        })?;
        let missing = || Error::NoInterface { name: self.name().to_owned(), interface: interface.to_owned() };
        index.ok_or_else(missing)
    }

    /// Does one thing over rtnetlink inside the namespace.
    pub(crate) fn network<T, W>(&self, what: &str, work: impl FnOnce(Handle) -> W + Send) -> Result<T, Error>
    where
        T: Send,
        W: Future<Output = Result<T, rtnetlink::Error>>,
    {
        let done = self.run(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_runtime)?;
            runtime.block_on(async {
                let (connection, handle, _) = new_connection().map_err(no_runtime)?;
                tokio::spawn(connection);
                work(handle).await
            })
        })?;
        done.map_err(|source| Error::Link { name: self.name().to_owned(), what: what.to_owned(), source })
    }
}

fn no_runtime(_: std::io::Error) -> rtnetlink::Error {
    rtnetlink::Error::RequestFailed
}
