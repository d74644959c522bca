//! Links and addresses of the real kernel, in namespaces of our own.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use kubeweir_netlink::bulk::{CHUNK, Outcome};
use kubeweir_netlink::link::{Address, Client, Link};
use kubeweir_netlink::{Errno, Error};
use kubeweir_playground::Namespace;

fn inside<T: Send>(work: impl FnOnce(&mut Client, Link) -> T + Send) -> T {
    let namespace = Namespace::new("link-test").unwrap();
    let found = || {
        let mut client = Client::open().unwrap();
        let loopback = client.find("lo").unwrap().unwrap();
        work(&mut client, loopback)
    };
    namespace.run(found).unwrap()
}

/// As many addresses of both families as are wanted, taking turns.
fn many(count: u16) -> Vec<Address> {
    let address = |number: u16| -> IpAddr {
        let [high, low] = number.to_be_bytes();
        match number % 2 {
            0 => Ipv4Addr::new(10, 96, high, low).into(),
            _ => Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, number).into(),
        }
    };
    (0..count).map(|number| Address::host(address(number))).collect()
}

fn set(addresses: Vec<Address>) -> BTreeSet<Address> {
    addresses.into_iter().collect()
}

fn errno(outcome: &Outcome) -> Option<Errno> {
    outcome.as_ref().err().map(|refusal| refusal.errno)
}

#[test]
fn a_link_is_found_by_name_or_is_not_there() {
    inside(|client, loopback| {
        assert_eq!(loopback, Link { index: 1, name: "lo".into(), kind: None, is_up: true });
        assert_eq!(client.find("nowhere").unwrap(), None);
    });
}

#[test]
fn addresses_come_and_go_many_at_a_time() {
    inside(|client, loopback| {
        let before = set(client.addresses(loopback.index).unwrap());
        let wanted = many(1000);
        let outcomes = client.add_addresses(loopback.index, &wanted).unwrap();
        assert!(outcomes.len() == 1000 && outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let all: BTreeSet<_> = before.iter().chain(&wanted).copied().collect();
        assert_eq!(set(client.addresses(loopback.index).unwrap()), all);
        let outcomes = client.delete_addresses(loopback.index, &wanted).unwrap();
        assert!(outcomes.len() == 1000 && outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(set(client.addresses(loopback.index).unwrap()), before);
    });
}

#[test]
fn each_address_has_an_outcome_of_its_own() {
    inside(|client, loopback| {
        let wanted = many(6);
        client.add_addresses(loopback.index, &wanted[..2]).unwrap();
        let outcomes = client.add_addresses(loopback.index, &wanted).unwrap();
        let exists = Some(Errno::EEXIST);
        let errnos: Vec<_> = outcomes.iter().map(errno).collect();
        assert_eq!(errnos, [exists, exists, None, None, None, None]);
        client.delete_addresses(loopback.index, &wanted[2..4]).unwrap();
        let outcomes = client.delete_addresses(loopback.index, &wanted).unwrap();
        let gone = Some(Errno::EADDRNOTAVAIL);
        assert_eq!(outcomes.iter().map(errno).collect::<Vec<_>>(), [None, None, gone, gone, None, None]);
    });
}

#[test]
fn every_answer_is_read_even_if_all_are_refusals_of_a_full_send() {
    inside(|client, loopback| {
        let wanted = many(u16::try_from(3 * CHUNK).unwrap());
        let outcomes = client.delete_addresses(loopback.index, &wanted).unwrap();
        assert_eq!(outcomes.len(), wanted.len());
        assert!(outcomes.iter().all(|outcome| errno(outcome) == Some(Errno::EADDRNOTAVAIL)));
    });
}

#[test]
fn addresses_without_a_network_do_not_fall_together() {
    inside(|client, loopback| {
        let addresses: Vec<_> = ["10.96.0.1", "10.96.0.2", "10.96.0.3", "fd00:96::1", "fd00:96::2"]
            .map(|text| Address::host(text.parse().unwrap()))
            .to_vec();
        client.add_addresses(loopback.index, &addresses).unwrap();
        client.delete_addresses(loopback.index, &[addresses[0], addresses[3]]).unwrap();
        let left = client.addresses(loopback.index).unwrap();
        let expected = [false, true, true, false, true];
        assert_eq!(addresses.iter().map(|address| left.contains(address)).collect::<Vec<_>>(), expected);
    });
}

#[test]
fn an_address_can_be_used_at_once() {
    inside(|client, loopback| {
        let addresses = many(2);
        client.add_addresses(loopback.index, &addresses).unwrap();
        for address in addresses {
            UdpSocket::bind((address.address, 53)).unwrap();
        }
    });
}

#[test]
fn a_link_that_is_not_there_is_an_error_and_has_no_addresses() {
    inside(|client, _| {
        let refused = |error: Error| match error {
            Error::Refused { errno, .. } => errno,
            other => panic!("{other}"),
        };
        assert_eq!(refused(client.addresses(77).unwrap_err()), Errno::ENODEV);
        assert_eq!(refused(client.delete(77).unwrap_err()), Errno::ENODEV);
        let outcomes = client.add_addresses(77, &many(2)).unwrap();
        assert_eq!(outcomes.iter().map(errno).collect::<Vec<_>>(), [Some(Errno::ENODEV); 2]);
    });
}

#[test]
fn addresses_of_other_links_are_not_listed() {
    inside(|client, loopback| {
        let ours = set(client.addresses(loopback.index).unwrap());
        assert!(ours.contains(&Address { address: Ipv4Addr::LOCALHOST.into(), prefix: 8 }), "{ours:?}");
        assert!(ours.contains(&Address::host(Ipv6Addr::LOCALHOST.into())), "{ours:?}");
        assert_eq!(ours.len(), 2, "{ours:?}");
    });
}

/// `ip` is a witness: the kernel calls an address that is never preferred deprecated.
#[test]
fn an_ipv6_address_is_never_preferred_as_a_source() {
    inside(|client, loopback| {
        let address = Address::host("fd00:96::1".parse().unwrap());
        assert_eq!(client.add_addresses(loopback.index, &[address]).unwrap(), [Ok(())]);
        let output = std::process::Command::new("ip").args(["-6", "-o", "addr", "show", "lo"]).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        let line = text.lines().find(|line| line.contains("fd00:96::1/128")).unwrap();
        assert!(line.contains("deprecated") && line.contains("valid_lft forever"), "{line}");
    });
}
