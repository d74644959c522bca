//! How the host is wired: interfaces and sysctls, read for the judgement in [`prerequisites`](crate::prerequisites).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoVxlan, LinkAttribute, LinkInfo,
    LinkMessage,
};
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use tokio::sync::mpsc::Sender;
use tracing::warn;

use super::{RETRY, is_reachable, no_socket, own_change};
use crate::Event;
use crate::prerequisites::{Host, Kind, Link, Port};
use crate::sysctl::{self, Unset};

/// How long a change may take to settle: a new pod's port gets its hairpin mode after it is on the bridge.
const SETTLE: Duration = Duration::from_secs(1);
/// Changes of sysctls are told by nobody.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Reports how the host is wired now, and again after interfaces changed, until the receiver is gone. These parameters could not
/// be set: whoever can may do so at any time.
pub async fn watch(events: Sender<Event>, unset: Vec<Unset>) {
    while !events.is_closed() {
        if let Err(error) = follow(&events, &unset).await {
            warn!(%error, "cannot follow the host's interfaces, will be retried");
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn follow(events: &Sender<Event>, unset: &[Unset]) -> Result<(), rtnetlink::Error> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, handle, mut changes) = new_multicast_connection(&groups).map_err(no_socket)?;
    tokio::spawn(connection);
    let mut told = None;
    loop {
        let (mut host, services) = read(&handle).await?;
        host.unset = unset.iter().map(|unset| (unset.clone(), value(unset.write.path))).collect();
        if told.as_ref() != Some(&host) {
            told = Some(host.clone());
            if events.send(Event::Wiring(host)).await.is_err() {
                return Ok(());
            }
        }
        match tokio::time::timeout(LOOK_AGAIN, own_change(&mut changes, services)).await {
            Ok(None) => return Ok(()),
            Ok(Some(())) => tokio::time::sleep(SETTLE).await,
            Err(_) => {}
        }
        while let Ok(more) = changes.try_recv() {
            drop(more);
        }
    }
}

/// The host as far as it is wired by others, and the index of the interface with Services' addresses.
async fn read(handle: &Handle) -> Result<(Host, Option<u32>), rtnetlink::Error> {
    let mut links = BTreeMap::new();
    let mut listed = handle.link().get().execute();
    while let Some(message) = listed.try_next().await? {
        links.insert(message.header.index, link(&message));
    }
    let services = links.iter().find(|(_, link)| link.name == kubeweir_ipvs::DEVICE).map(|(index, _)| *index);
    services.map(|index| links.remove(&index));
    let mut listed = handle.address().get().execute();
    while let Some(message) = listed.try_next().await? {
        if let Some(link) = links.get_mut(&message.header.index) {
            link.addresses.extend(address(&message));
        }
    }
    note_strict_return_paths(&mut links);
    let is = |name: &str| value(&format!("net/{name}")).map(|value| value != 0);
    let host = Host {
        forwards: ["ipv4/ip_forward", "ipv6/conf/all/forwarding"].map(|name| is(name).unwrap_or(false)),
        bridge_filter: ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"].map(is),
        links,
        unset: Vec::new(),
    };
    Ok((host, services))
}

/// A sysctl by its path below `/proc/sys`, which below `net` shows the namespace of the reader.
fn value(path: &str) -> Option<i64> {
    sysctl::number(&Path::new("/proc/sys").join(path))
}

/// Only tunnels and what they go through are asked: there may be hundreds of pods' interfaces.
fn note_strict_return_paths(links: &mut BTreeMap<u32, Link>) {
    let asked = |(index, link): (&u32, &Link)| match link.kind {
        Kind::Tunnel(over) => [Some(*index), over],
        _ => [None, None],
    };
    let asked: Vec<u32> = links.iter().flat_map(asked).flatten().collect();
    for index in asked {
        if let Some(link) = links.get_mut(&index) {
            link.strict_return_path = is_strict(&link.name);
        }
    }
}

/// The greater of two values is in force: 0 is off, 1 strict, 2 loose
/// (`Documentation/networking/ip-sysctl.rst`, `rp_filter`).
fn is_strict(interface: &str) -> bool {
    let of = |interface: &str| value(&format!("net/ipv4/conf/{interface}/rp_filter")).unwrap_or(0);
    of("all").max(of(interface)) == 1
}

fn address(message: &AddressMessage) -> Option<IpNet> {
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => found = Some(*address),
            AddressAttribute::Address(address) => found = found.or(Some(*address)),
            _ => {}
        }
    }
    found.filter(is_reachable).and_then(|a| IpNet::new(a, message.header.prefix_len).ok())
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link::default();
    let (mut controller, mut hairpin) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Controller(index) => controller = Some(*index),
            LinkAttribute::LinkInfo(info) => {
                link.kind = kind(info);
                hairpin = hairpin_mode(info);
            }
            _ => {}
        }
    }
    link.port_of = controller.zip(hairpin).map(|(bridge, hairpin)| Port { bridge, hairpin });
    link
}

fn kind(info: &[LinkInfo]) -> Kind {
    let mut kind = Kind::Other;
    for part in info {
        match part {
            LinkInfo::Kind(InfoKind::Veth) => kind = Kind::Veth,
            LinkInfo::Kind(InfoKind::Bridge) => kind = Kind::Bridge([false; 2]),
            LinkInfo::Kind(InfoKind::Vxlan) => kind = Kind::Tunnel(None),
            LinkInfo::Data(InfoData::Bridge(options)) => {
                kind = Kind::Bridge([
                    options.contains(&InfoBridge::NfCallIpTables(true)),
                    options.contains(&InfoBridge::NfCallIp6Tables(true)),
                ]);
            }
            LinkInfo::Data(InfoData::Vxlan(options)) => {
                let over = options.iter().find_map(|option| match option {
                    InfoVxlan::Link(index) if *index != 0 => Some(*index),
                    _ => None,
                });
                kind = Kind::Tunnel(over);
            }
            _ => {}
        }
    }
    kind
}

/// Of a port of a bridge; `None` for everything else.
fn hairpin_mode(info: &[LinkInfo]) -> Option<bool> {
    info.iter().find_map(|part| match part {
        LinkInfo::PortData(InfoPortData::BridgePort(options)) => {
            Some(options.contains(&InfoBridgePort::HairpinMode(true)))
        }
        _ => None,
    })
}
