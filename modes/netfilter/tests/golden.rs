//! Our objects against the bytes that real `nft` sent for the same text.

mod common;

use std::collections::BTreeMap;

use common::{affinity, counted, golden};
use kubeweir_netfilter::{Family, Table, diff};
use kubeweir_netlink::wire::{self, Attribute};

const NEW_CHAIN: u16 = 0xa03;
const NEW_RULE: u16 = 0xa06;
const NEW_SET: u16 = 0xa09;
const NEW_ELEMENTS: u16 = 0xa0c;

/// Message kind, then name of chain or set, then the attributes that both sides must write alike.
type Facts = BTreeMap<(u16, String), Vec<Vec<(u16, Vec<u8>)>>>;

fn recorded(file: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(format!("tests/golden/{file}.hex")).unwrap();
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn facts(bytes: &[u8]) -> Facts {
    let mut facts = Facts::new();
    for message in wire::messages(bytes).map(Result::unwrap) {
        if ![NEW_CHAIN, NEW_RULE, NEW_SET, NEW_ELEMENTS].contains(&message.header.kind) {
            continue;
        }
        let attributes: Vec<Attribute<'_>> =
            wire::attributes(&message.payload[4..]).map(Result::unwrap).collect();
        let name_kind = if message.header.kind == NEW_CHAIN { 3 } else { 2 };
        let name = attributes.iter().find(|a| a.kind == name_kind).unwrap().string().unwrap().to_owned();
        let told = attributes.iter().filter(|a| told_alike(message.header.kind, a.kind));
        let mut told: Vec<_> = told.map(|a| (a.kind, canonical(message.header.kind, a))).collect();
        told.sort(); // nft 1.1 orders those of a chain otherwise
        facts.entry((message.header.kind, name)).or_default().push(told);
    }
    facts
}

/// The set's number inside a batch is free to choose, and so is whether an empty flags field is written.
fn told_alike(message: u16, attribute: u16) -> bool {
    match message {
        NEW_SET => attribute != 10,
        NEW_ELEMENTS => attribute == 3,
        _ => true,
    }
}

/// `nft` writes the (default) operation of some bitwise expressions and leaves it out of others, and adds a
/// number to the name of a set made in the same batch. Everything else must agree to the bit.
fn canonical(message: u16, attribute: &Attribute<'_>) -> Vec<u8> {
    if message == NEW_ELEMENTS {
        // nft numbers the items where the kernel only wants them nested.
        return attribute.nested().flat_map(|item| item.unwrap().payload.to_vec()).collect();
    }
    if (message, attribute.kind) != (NEW_RULE, 4) {
        return attribute.payload.to_vec();
    }
    let mut out = Vec::new();
    for expression in attribute.nested().map(Result::unwrap) {
        let parts: Vec<_> = expression.nested().map(Result::unwrap).collect();
        let name = parts[0].string().unwrap();
        if name == "byteorder" {
            continue; // of a one-byte value: does nothing
        }
        out.extend_from_slice(name.as_bytes());
        for field in parts[1].nested().map(Result::unwrap) {
            let unimportant = matches!((name, field.kind), ("bitwise", 6) | ("lookup", 4) | ("dynset", 2));
            if !unimportant {
                out.extend_from_slice(&field.kind.to_be_bytes());
                out.extend_from_slice(field.payload);
            }
        }
    }
    out
}

fn check(file: &str, table: Table) {
    let ours = kubeweir_netfilter::batch_bytes(&[diff::diff(None, table)]);
    let (nft, ours) = (facts(&recorded(file)), facts(&ours));
    assert_eq!(nft.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
    for (name, told) in &nft {
        assert_eq!(told.len(), ours[name].len(), "{name:?}");
        for (position, (theirs, mine)) in told.iter().zip(&ours[name]).enumerate() {
            assert_eq!(theirs, mine, "{name:?} number {position}");
        }
    }
}

#[test]
fn ipv4_messages_are_those_of_nft() {
    check("ip", golden(Family::Ip));
    check("affinity-ip", affinity(Family::Ip));
    check("counted-ip", counted(Family::Ip));
}

#[test]
fn ipv6_messages_are_those_of_nft() {
    check("ip6", golden(Family::Ip6));
    check("affinity-ip6", affinity(Family::Ip6));
    check("counted-ip6", counted(Family::Ip6));
}

mod robustness {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The kernel is trusted; the lengths in its messages are not.
        #[test]
        fn no_damage_to_a_message_makes_the_decoders_panic(
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..20),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut bytes = [recorded("ip"), recorded("affinity-ip6")].concat();
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let end = cut.index(bytes.len());
            kubeweir_netfilter::decode_anything(&bytes);
            kubeweir_netfilter::decode_anything(&bytes[..end]);
            kubeweir_netfilter::decode_anything(&bytes[end..]);
        }
    }
}
