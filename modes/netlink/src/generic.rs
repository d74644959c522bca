//! Generic netlink: families of messages that have a name, and a number only once their module is loaded.
//!
//! Source: `include/uapi/linux/genetlink.h`, `net/netlink/genetlink.c`.

use crate::dump::{self, Request};
use crate::socket::Socket;
use crate::wire::{self, Attributes, Message, Writer};
use crate::{Errno, Error};

/// Netlink protocol of all generic families.
pub const PROTOCOL: i32 = libc::NETLINK_GENERIC;
/// Length of `struct genlmsghdr`.
pub const GENERIC_HEADER: usize = 4;

/// `GENL_ID_CTRL`: the family that knows the others.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const VERSION: u8 = 2;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// The number of a family, which is the type of its messages. The kernel tries to load the module that has it; if it cannot,
/// the answer is [`Error::NoFamily`].
pub fn resolve(socket: &mut Socket, family: &str) -> Result<u16, Error> {
    let body = |w: &mut Writer| {
        w.raw(&header(GET_FAMILY, VERSION));
        w.string(FAMILY_NAME, family);
    };
    let mut id = None;
    let asked = dump::ask(socket, &Request { kind: CONTROL, body: &body }, &mut |message| {
        id = Some(family_id(message)?);
        Ok(())
    });
    match asked {
        Err(Error::Refused { errno: Errno::ENOENT, .. }) => Err(Error::NoFamily(family.to_owned())),
        Err(error) => Err(error),
        Ok(()) => id.ok_or(Error::Malformed("no answer about a family")),
    }
}

/// `struct genlmsghdr`: command, version, two reserved bytes.
pub const fn header(command: u8, version: u8) -> [u8; GENERIC_HEADER] {
    [command, version, 0, 0]
}

/// The attributes of a generic message.
pub fn attributes<'a>(message: &Message<'a>) -> Attributes<'a> {
    wire::attributes(message.payload.get(GENERIC_HEADER..).unwrap_or_default())
}

/// The number in the control family's answer.
pub fn family_id(message: &Message<'_>) -> Result<u16, Error> {
    for attribute in attributes(message) {
        let attribute = attribute?;
        if attribute.kind == FAMILY_ID {
            return attribute.u16();
        }
    }
    Err(Error::Malformed("family without a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The control family is always there and needs no privilege.
    #[test]
    fn the_family_of_families_knows_its_own_number() {
        assert_eq!(resolve(&mut Socket::open(PROTOCOL).unwrap(), "nlctrl").unwrap(), CONTROL);
    }

    #[test]
    fn a_missing_family_has_an_error_of_its_own() {
        let error = resolve(&mut Socket::open(PROTOCOL).unwrap(), "kubeweir-none").unwrap_err();
        assert!(matches!(&error, Error::NoFamily(name) if name == "kubeweir-none"));
        assert!(error.to_string().contains("not loaded"), "{error}");
    }
}
