//! Checksums in software.
//!
//! A veth pair hands packets on with their checksums still to be made, and nobody ever looks at them. Without that
//! offload each sender makes them, each translation must correct them, and each receiver verifies them, as between real
//! machines.
//!
//! Source: `Documentation/networking/ethtool-netlink.rst`, `ETHTOOL_MSG_FEATURES_SET`.

use kubeweir_netlink::Error;
use kubeweir_netlink::dump::{Request, ask};
use kubeweir_netlink::socket::Socket;
use kubeweir_netlink::wire::{Writer, attributes};
use kubeweir_playground::Namespace;

const NETLINK_GENERIC: i32 = 16;
/// The generic family that knows all others.
const CONTROL: u16 = 16;
const CONTROL_GET_FAMILY: u8 = 3;
const CONTROL_FAMILY_ID: u16 = 1;
const CONTROL_FAMILY_NAME: u16 = 2;
const FEATURES_SET: u8 = 12;
const FEATURES_HEADER: u16 = 1;
const FEATURES_WANTED: u16 = 3;
const HEADER_DEVICE_NAME: u16 = 2;
const BITSET_BITS: u16 = 3;
const BIT: u16 = 1;
const BIT_NAME: u16 = 2;
/// The feature of devices that make any checksum.
const FEATURE: &str = "tx-checksum-ip-generic";

/// Lets the kernel make the checksums of what leaves through this interface.
pub fn checksums_in_software(namespace: &Namespace, interface: &str) {
    let done = namespace.run(|| {
        let mut socket = Socket::open(NETLINK_GENERIC)?;
        let family = family(&mut socket, "ethtool")?;
        set(&mut socket, family, interface)
    });
    done.unwrap().unwrap_or_else(|error| panic!("{}: {interface}: {error}", namespace.name()));
}

fn family(socket: &mut Socket, name: &str) -> Result<u16, Error> {
    let mut found = None;
    let body = |writer: &mut Writer| {
        writer.raw(&[CONTROL_GET_FAMILY, 1, 0, 0]);
        writer.string(CONTROL_FAMILY_NAME, name);
    };
    ask(socket, &Request { kind: CONTROL, body: &body }, &mut |message| {
        for attribute in attributes(&message.payload[4..]) {
            let attribute = attribute?;
            if attribute.kind == CONTROL_FAMILY_ID {
                found = Some(u16::from_ne_bytes(attribute.payload[..2].try_into().unwrap()));
            }
        }
        Ok(())
    })?;
    Ok(found.unwrap_or_else(|| panic!("the kernel does not know {name}")))
}

/// A bit that is listed without a value is cleared.
fn set(socket: &mut Socket, family: u16, interface: &str) -> Result<(), Error> {
    let body = |writer: &mut Writer| {
        writer.raw(&[FEATURES_SET, 1, 0, 0]);
        writer.nest(FEATURES_HEADER, |header| header.string(HEADER_DEVICE_NAME, interface));
        writer.nest(FEATURES_WANTED, |set| {
            set.nest(BITSET_BITS, |bits| bits.nest(BIT, |bit| bit.string(BIT_NAME, FEATURE)));
        });
    };
    ask(socket, &Request { kind: family, body: &body }, &mut |_| Ok(()))
}
