//! Sets of `ip_set`: their names, and their removal (`linux/netfilter/ipset/ip_set.h`).
//!
//! To speak to a subsystem of nfnetlink that is not there makes the kernel load its module (`nfnetlink_rcv_msg` asks for
//! `nfnetlink-subsys-6`). So nothing is sent where `ip_set` is not loaded: then there are no sets.

use std::path::Path;

use crate::bulk;
use crate::dump::{self, Request};
use crate::nfnl::{self, GENERIC_HEADER, SUBSYSTEM_IPSET};
use crate::socket::Socket;
use crate::wire::{self, Message, Writer};
use crate::{Errno, Error};

/// Shown whether `ip_set` is a module or built in, since it has parameters.
const LOADED: &str = "/sys/module/ip_set";
/// Bytes of a name, its NUL not counted (`IPSET_MAXNAMELEN` counts it).
pub const LONGEST_NAME: usize = 31;
/// A rule or another set refers to the set: `IPSET_ERR_BUSY`, one of `ip_set`'s own error numbers.
pub const IN_USE: Errno = Errno(4100);

const COMMAND_DESTROY: u8 = 3;
const COMMAND_LIST: u8 = 7;
const PROTOCOL: u16 = 1;
const NAME: u16 = 2;
const FLAGS: u16 = 6;
/// Since Linux 4.20; the kernel still speaks 6.
const PROTOCOL_VERSION: u8 = 7;
/// `IPSET_FLAG_LIST_SETNAME`: no members, no parameters.
const NAMES_ONLY: u32 = 1 << 1;
/// `NFPROTO_IPV4`: neither a list nor a removal looks at it.
const FAMILY: u8 = 2;

/// The sets of the network namespace of the thread that opened it.
pub struct Client {
    socket: Socket,
}

impl Client {
    /// Opens a socket; `None` where `ip_set` is not loaded.
    pub fn open() -> Result<Option<Client>, Error> {
        if !Path::new(LOADED).exists() {
            return Ok(None);
        }
        Ok(Some(Client { socket: Socket::open(nfnl::PROTOCOL)? }))
    }

    /// Names of all sets, whoever made them.
    pub fn names(&mut self) -> Result<Vec<String>, Error> {
        let body = |w: &mut Writer| {
            head(w);
            w.be32(FLAGS, NAMES_ONLY);
        };
        let request = Request { kind: kind(COMMAND_LIST), body: &body };
        dump::dump(&mut self.socket, &request, Vec::new, |names, message| {
            names.extend(name(message)?);
            Ok(())
        })
    }

    /// Destroys sets with all their members, and says what became of each. One that is [`IN_USE`] stays; for
    /// one that is not there some kernels say `ENOENT`, others that all is well.
    pub fn destroy(&mut self, names: &[&str]) -> Result<Vec<bulk::Outcome>, Error> {
        bulk::execute(
            &mut self.socket,
            names,
            |_| (kind(COMMAND_DESTROY), 0),
            |set, w| {
                head(w);
                w.string(NAME, set);
            },
        )
    }
}

/// The name in an answer to a request for a list. Names are bytes to the kernel; what is no text in them is replaced.
pub fn name(message: &Message<'_>) -> Result<Option<String>, Error> {
    for attribute in wire::attributes(message.payload.get(GENERIC_HEADER..).unwrap_or_default()) {
        let attribute = attribute?;
        if attribute.kind == NAME {
            let bytes = attribute.payload.split(|&byte| byte == 0).next().unwrap_or_default();
            return Ok(Some(String::from_utf8_lossy(bytes).into_owned()));
        }
    }
    Ok(None)
}

const fn kind(command: u8) -> u16 {
    nfnl::kind(SUBSYSTEM_IPSET, command)
}

fn head(w: &mut Writer) {
    w.raw(&nfnl::header(FAMILY, 0));
    w.bytes(PROTOCOL, &[PROTOCOL_VERSION]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Header;

    #[test]
    fn a_name_is_read_from_what_the_kernel_answers() {
        let mut writer = Writer::default();
        writer.message(Header { kind: kind(COMMAND_LIST), flags: 0, sequence: 1 }, |w| {
            head(w);
            w.string(NAME, "KUBE-CLUSTER-IP");
        });
        let message = wire::messages(writer.as_bytes()).next().unwrap().unwrap();
        assert_eq!(name(&message).unwrap().as_deref(), Some("KUBE-CLUSTER-IP"));
        assert_eq!(message.header.kind, 0x607);
        assert_eq!(message.payload[..12], [2, 0, 0, 0, 5, 0, 1, 0, 7, 0, 0, 0]);
    }
}
