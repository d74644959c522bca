//! What the host says: addresses of interfaces, followed through rtnetlink, and how it is wired.

pub mod wiring;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kubeweir_plan::Facts;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
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
pub async fn read() -> Result<Facts, rtnetlink::Error> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(no_socket)?;
    tokio::spawn(connection);
    list(&handle).await
}

async fn follow(events: &Sender<Event>) -> Result<(), rtnetlink::Error> {
    let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, handle, mut changes) = new_multicast_connection(&groups).map_err(no_socket)?;
    tokio::spawn(connection);
    loop {
        let facts = list(&handle).await?;
        if events.send(Event::Host(facts)).await.is_err() {
            return Ok(());
        }
        // What changed is of no interest: the whole list is short, and reading it again cannot miss anything.
        if changes.next().await.is_none() {
            return Ok(());
        }
        while let Ok(more) = changes.try_recv() {
            drop(more);
        }
    }
}

async fn list(handle: &Handle) -> Result<Facts, rtnetlink::Error> {
    let mut addresses = BTreeSet::new();
    let mut listed = handle.address().get().execute();
    while let Some(message) = listed.try_next().await? {
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let any = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
        addresses.extend(local.or(any).filter(is_reachable));
    }
    Ok(Facts { addresses })
}

/// Loopback addresses answer nobody else, and link-local IPv6 ones are not unique.
fn is_reachable(address: &IpAddr) -> bool {
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    !address.is_loopback() && !link_local
}

fn no_socket(_: std::io::Error) -> rtnetlink::Error {
    rtnetlink::Error::RequestFailed
}
