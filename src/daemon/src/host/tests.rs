use std::collections::BTreeSet;

use kubeweir_ipvs::DEVICE;
use kubeweir_playground::{Bridge, Namespace};
use rtnetlink::packet_core::{NetlinkHeader, NetlinkMessage};
use tokio::sync::mpsc;

use super::*;

const ETH: u32 = 2;
const SERVICES: u32 = 7;

fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn addresses_of_services_are_not_the_hosts_own_unless_it_has_them_elsewhere_too() {
    let listed = |services, entries: &[(u32, &str)]| {
        let addresses = entries.iter().map(|(index, text)| (*index, text.parse().unwrap())).collect();
        Listed { addresses, services }.facts().addresses
    };
    let entries = [
        (1, "127.0.0.1"),
        (ETH, "192.0.2.1"),
        (ETH, "203.0.113.1"),
        (ETH, "fe80::1"),
        (ETH, "2001:db8::1"),
        (SERVICES, "10.96.0.1"),
        (SERVICES, "203.0.113.1"),
        (SERVICES, "fd00:96::1"),
    ];
    let own = addresses(&["192.0.2.1", "203.0.113.1", "2001:db8::1"]);
    assert_eq!(listed(Some(SERVICES), &entries), own);
    let services = addresses(&["10.96.0.1", "fd00:96::1"]);
    assert_eq!(listed(None, &entries), &own | &services, "no such interface");
    assert_eq!(listed(Some(SERVICES), &[]), addresses(&[]));
}

#[test]
fn what_happens_to_addresses_of_services_is_no_change_of_the_hosts_own() {
    let on = |index: u32| {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message
    };
    let inner = |message| NetlinkPayload::InnerMessage(message);
    let cases = [
        (inner(RouteNetlinkMessage::NewAddress(on(ETH))), [true, true]),
        (inner(RouteNetlinkMessage::DelAddress(on(ETH))), [true, true]),
        (inner(RouteNetlinkMessage::NewAddress(on(SERVICES))), [false, true]),
        (inner(RouteNetlinkMessage::DelAddress(on(SERVICES))), [false, true]),
        (NetlinkPayload::Overrun(Vec::new()), [true, true]),
    ];
    for (payload, is_own) in cases {
        let message = NetlinkMessage::new(NetlinkHeader::default(), payload);
        let own = |services| is_own_change(&message, services);
        assert_eq!([own(Some(SERVICES)), own(None)], is_own, "{message:?}");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A namespace with an interface that has an address.
fn host() -> Namespace {
    let host = Namespace::new("host").unwrap();
    Bridge { here: &host, name: "br0" }.make().unwrap();
    host.address("br0", "192.0.2.1/24".parse().unwrap()).unwrap();
    host
}

#[test]
fn the_kernel_is_read_with_and_without_the_interface_of_services() {
    let host = host();
    let read = || host.run(|| runtime().block_on(read()).unwrap().addresses).unwrap();
    assert_eq!(read(), addresses(&["192.0.2.1"]));
    // What kind of interface it is does not matter.
    Bridge { here: &host, name: DEVICE }.make().unwrap();
    host.address(DEVICE, "10.96.0.1/32".parse().unwrap()).unwrap();
    host.address(DEVICE, "fd00:96::1/128".parse().unwrap()).unwrap();
    host.address(DEVICE, "203.0.113.1/32".parse().unwrap()).unwrap();
    assert_eq!(read(), addresses(&["192.0.2.1"]));
    host.address("br0", "203.0.113.1/32".parse().unwrap()).unwrap();
    assert_eq!(read(), addresses(&["192.0.2.1", "203.0.113.1"]));
    host.delete_link(DEVICE).unwrap();
    assert_eq!(read(), addresses(&["192.0.2.1", "203.0.113.1"]));
}

#[test]
fn an_address_of_a_service_is_no_news_and_one_of_the_host_is() {
    let host = host();
    Bridge { here: &host, name: DEVICE }.make().unwrap();
    let (sender, mut events) = mpsc::channel(16);
    // Its thread ends with the process.
    let _ = host.spawn(move || runtime().block_on(watch(sender)));
    let mut next = || match events.blocking_recv().unwrap() {
        Event::Host(facts) => facts.addresses,
        other => panic!("{other:?}"),
    };
    assert_eq!(next(), addresses(&["192.0.2.1"]));
    for last in 1..20 {
        host.address(DEVICE, format!("10.96.0.{last}/32").parse().unwrap()).unwrap();
    }
    host.address("br0", "192.0.2.2/24".parse().unwrap()).unwrap();
    assert_eq!(next(), addresses(&["192.0.2.1", "192.0.2.2"]), "the next news");
    host.delete_address("br0", "192.0.2.2".parse().unwrap()).unwrap();
    assert_eq!(next(), addresses(&["192.0.2.1"]));
}
