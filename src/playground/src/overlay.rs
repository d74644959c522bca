use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::neighbour::NeighbourFlags;
use rtnetlink::{LinkVxlan, RouteMessageBuilder};

use crate::{Error, Namespace};

/// A hardware address.
pub type Mac = [u8; 6];

/// A VXLAN device to be made: it learns nothing, so it sends only where [`Namespace::tunnel_to`] says.
#[derive(Clone, Copy, Debug)]
pub struct Vxlan<'a> {
    /// Where it is.
    pub here: &'a Namespace,
    /// Its name.
    pub name: &'a str,
    /// Its hardware address, by which other ends know it.
    pub mac: Mac,
    /// The network's number, the same at all ends.
    pub id: u32,
    /// The UDP port that the tunnel uses.
    pub port: u16,
    /// The interface that the tunnel goes through.
    pub over: &'a str,
    /// The address that the tunnel begins at; it decides the outer family.
    pub local: IpAddr,
}

impl Vxlan<'_> {
    /// Makes the device and sets it up.
    pub fn make(&self) -> Result<(), Error> {
        let over = self.here.index(self.over)?;
        let device = LinkVxlan::new(self.name, self.id).dev(over).port(self.port).learning(false);
        let device = match self.local {
            IpAddr::V4(local) => device.local(local),
            IpAddr::V6(local) => device.local6(local),
        };
        let device = device.address(self.mac.to_vec()).up().build();
        let what = format!("add {}", self.name);
        self.here.network(&what, |handle| async move { handle.link().add(device).execute().await })
    }
}

impl Namespace {
    /// Says which hardware address a neighbour has, for good.
    pub fn neighbour(&self, interface: &str, address: IpAddr, mac: Mac) -> Result<(), Error> {
        let index = self.index(interface)?;
        let what = format!("say that {address} on {interface} is {mac:02x?}");
        self.network(&what, |handle| async move {
            handle.neighbours().add(index, address).link_layer_address(&mac).execute().await
        })
    }

    /// Says to which host a tunnel device sends what is for a hardware address: an entry of its forwarding table.
    pub fn tunnel_to(&self, interface: &str, mac: Mac, host: IpAddr) -> Result<(), Error> {
        let index = self.index(interface)?;
        let what = format!("send what is for {mac:02x?} on {interface} to {host}");
        self.network(&what, |handle| async move {
            let entry = handle.neighbours().add_bridge(index, &mac);
            entry.destination(host).flags(NeighbourFlags::Own).execute().await
        })
    }

    /// Routes a prefix through a gateway that is taken to be behind this interface, whatever its address.
    pub fn route_on_link(&self, prefix: IpNet, gateway: IpAddr, interface: &str) -> Result<(), Error> {
        let index = self.index(interface)?;
        let what = format!("route {prefix} through {gateway} on {interface}");
        self.network(&what, |handle| async move {
            let route = RouteMessageBuilder::<IpAddr>::new()
                .destination_prefix(prefix.addr(), prefix.prefix_len())
                .and_then(|route| route.gateway(gateway))
                .map_err(|_| rtnetlink::Error::RequestFailed)?
                .output_interface(index)
                .onlink();
            handle.route().add(route.build()).execute().await
        })
    }
}
