//! What the host says: addresses of interfaces, followed through rtnetlink, and how it is wired.

pub mod wiring;

use std::net::IpAddr;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use kubeweir_plan::Facts;
use nix::errno::Errno;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::{Error, Handle, MulticastGroup, new_multicast_connection};
use tokio::sync::mpsc::Sender;
use tracing::warn;

use crate::Event;

/// How long to wait after the connection to the kernel broke.
const RETRY: Duration = Duration::from_secs(1);

/// Reports the addresses now and whenever they change, until the receiver is gone.
pub async fn watch(events: Sender<Event>) {
    while !events.is_closed() {
        if let Err(error) = follow(&events).await {
            warn!(%error, "cannot follow the host's addresses, will be retried");
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The addresses now.
pub async fn read() -> Result<Facts, Error> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(no_socket)?;
    tokio::spawn(connection);
    Ok(list(&handle).await?.facts())
}

async fn follow(events: &Sender<Event>) -> Result<(), Error> {
    let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, handle, mut changes) = new_multicast_connection(&groups).map_err(no_socket)?;
    tokio::spawn(connection);
    loop {
        let listed = list(&handle).await?;
        if events.send(Event::Host(listed.facts())).await.is_err() {
            return Ok(());
        }
        // What changed is of no interest: reading everything again cannot miss anything.
        if own_change(&mut changes, listed.services).await.is_none() {
            return Ok(());
        }
        while let Ok(more) = changes.try_recv() {
            drop(more);
        }
    }
}

/// The addresses of all interfaces.
#[derive(Debug, Default)]
struct Listed {
    /// Each with the index of its interface.
    addresses: Vec<(u32, IpAddr)>,
    /// The index of the interface that has addresses of Services.
    services: Option<u32>,
}

impl Listed {
    /// What is the host's own. An address of a Service may be the host's too, on another interface.
    fn facts(&self) -> Facts {
        let own = self.addresses.iter().filter(|(index, _)| Some(*index) != self.services);
        Facts { addresses: own.map(|(_, address)| *address).filter(is_reachable).collect() }
    }
}

/// Waits for a change that is not one of Services' addresses: these can be many, and must not all be read again because one comes.
/// `None` if there will be none. `services` is the index of their interface.
async fn own_change<A>(
    changes: &mut (impl Stream<Item = (NetlinkMessage<RouteNetlinkMessage>, A)> + Unpin),
    services: Option<u32>,
) -> Option<()> {
    while let Some((message, _)) = changes.next().await {
        if is_own_change(&message, services) {
            return Some(());
        }
    }
    None
}

/// Whether the message says that something of the host's own has changed, or that messages were lost.
fn is_own_change(message: &NetlinkMessage<RouteNetlinkMessage>, services: Option<u32>) -> bool {
    match &message.payload {
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address),
        ) => Some(address.header.index) != services,
        _ => true,
    }
}

/// First the addresses, then the interface of Services: it is there if any of them is on it.
async fn list(handle: &Handle) -> Result<Listed, Error> {
    let mut listed = Listed::default();
    let mut messages = handle.address().get().execute();
    while let Some(message) = messages.try_next().await? {
        listed.addresses.extend(address(&message).map(|address| (message.header.index, address)));
    }
    listed.services = index_of(handle, kubeweir_ipvs::DEVICE).await?;
    Ok(listed)
}

/// The interface's own address; on a point-to-point link the other attribute is the peer's.
fn address(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let any = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    local.or(any)
}

/// The index of an interface, if there is one of this name.
async fn index_of(handle: &Handle, name: &str) -> Result<Option<u32>, Error> {
    match handle.link().get().match_name(name).execute().try_next().await {
        Ok(link) => Ok(link.map(|link| link.header.index)),
        Err(Error::NetlinkError(error)) if error.raw_code() == -(Errno::ENODEV as i32) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Loopback addresses answer nobody else, and link-local IPv6 ones are not unique.
fn is_reachable(address: &IpAddr) -> bool {
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    !address.is_loopback() && !link_local
}

fn no_socket(_: std::io::Error) -> Error {
    Error::RequestFailed
}

#[cfg(test)]
mod tests;
