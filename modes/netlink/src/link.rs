//! Links (network interfaces) and their addresses.
//!
//! Spoken over the routing family (`rtnetlink(7)`, `net/core/rtnetlink.c`, `net/ipv4/devinet.c`, `net/ipv6/addrconf.c`). Addresses come and
//! go many at a time, in one send. A link need not be up for its addresses to be local ones of the host, but taking
//! it down takes its IPv6 addresses away.

mod attribute;
mod message;

use std::fmt;
use std::net::IpAddr;

use attribute as a;

use crate::bulk::{self, Outcome};
use crate::dump::{self, Request};
use crate::socket::Socket;
use crate::wire::{CREATE, EXCLUSIVE, Writer};
use crate::{Errno, Error, Family};

pub use message::{address, link};

/// Netlink protocol of links, addresses and routes.
pub const PROTOCOL: i32 = libc::NETLINK_ROUTE;

const DUMMY: &str = "dummy";

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number within the network namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is made of: `dummy`, `veth`, `bridge`; `None` for hardware and loopback.
    pub kind: Option<String>,
    /// Whether it is administratively up.
    pub is_up: bool,
}

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// The length of its network's prefix; 32 or 128 for itself alone.
    pub prefix: u8,
}

/// The links of the network namespace of the thread that opened it.
pub struct Client {
    socket: Socket,
}

impl Link {
    /// Whether it is a dummy device, which does nothing but have addresses.
    pub fn is_dummy(&self) -> bool {
        self.kind.as_deref() == Some(DUMMY)
    }
}

impl Address {
    /// The address without a network: /32 or /128.
    pub fn host(address: IpAddr) -> Address {
        Address { address, prefix: Family::of(address).bits() }
    }
}

impl Client {
    /// Opens a socket.
    pub fn open() -> Result<Client, Error> {
        let socket = Socket::open(PROTOCOL)?;
        socket.check_strictly()?;
        Ok(Client { socket })
    }

    /// The link of this name, if there is one.
    pub fn find(&mut self, name: &str) -> Result<Option<Link>, Error> {
        let mut found = None;
        let request = Request { kind: a::GET_LINK, body: &|w| message::by_name(name, w) };
        let asked = dump::ask(&mut self.socket, &request, &mut |message| {
            found = Some(message::link(message)?);
            Ok(())
        });
        match asked {
            Err(Error::Refused { errno: Errno::ENODEV, .. }) => Ok(None),
            other => other.map(|()| found),
        }
    }

    /// Makes a dummy device, which stays down. `EEXIST` if there is a link of this name, `EOPNOTSUPP` if the kernel has no dummy
    /// devices and could not load their module.
    pub fn create_dummy(&mut self, name: &str) -> Result<Link, Error> {
        let body = |(): &(), w: &mut Writer| message::of_kind(name, DUMMY, w);
        self.one(a::NEW_LINK, CREATE | EXCLUSIVE, body)?;
        self.find(name)?.ok_or(Error::Malformed("a link that was made is not there"))
    }

    /// Deletes a link with its addresses. `ENODEV` if there is none.
    pub fn delete(&mut self, index: u32) -> Result<(), Error> {
        self.one(a::DELETE_LINK, 0, |(), w| message::by_index(index, w))
    }

    /// The addresses of a link, of both families. `ENODEV` if there is no such link.
    pub fn addresses(&mut self, index: u32) -> Result<Vec<Address>, Error> {
        let mut addresses = self.addresses_of(index, Family::V4)?;
        addresses.append(&mut self.addresses_of(index, Family::V6)?);
        Ok(addresses)
    }

    /// Adds addresses to a link and returns what became of each. `EEXIST` for those that it has. IPv6 addresses can be
    /// used at once: nobody is asked whether they are taken. They are valid but never preferred: the host would take one for
    /// the source of its packets to elsewhere, whatever link it is on.
    pub fn add_addresses(&mut self, index: u32, addresses: &[Address]) -> Result<Vec<Outcome>, Error> {
        let head = |_: &Address| (a::NEW_ADDRESS, CREATE | EXCLUSIVE);
        let body = |address: &Address, w: &mut Writer| message::write_address(index, address, w);
        bulk::execute(&mut self.socket, addresses, head, body)
    }

    /// Deletes addresses of a link and returns what became of each. `EADDRNOTAVAIL` for those that it has not. IPv4 addresses
    /// that are the first of a network take the others of that network with them; a /32 is always the only one.
    pub fn delete_addresses(&mut self, index: u32, addresses: &[Address]) -> Result<Vec<Outcome>, Error> {
        let body = |address: &Address, w: &mut Writer| message::write_address(index, address, w);
        bulk::execute(&mut self.socket, addresses, |_| (a::DELETE_ADDRESS, 0), body)
    }

    /// How many messages were sent so far, of any kind.
    pub fn sent(&self) -> u64 {
        self.socket.messages()
    }

    fn addresses_of(&mut self, index: u32, family: Family) -> Result<Vec<Address>, Error> {
        let request = Request { kind: a::GET_ADDRESS, body: &|w| message::list_addresses(index, family, w) };
        dump::dump(&mut self.socket, &request, Vec::new, |listed, message| {
            // A kernel without IPv6 answers for all families.
            let found = message::address(message)?;
            listed.extend(
                found.filter(|(of, a)| *of == index && Family::of(a.address) == family).map(|(_, a)| a),
            );
            Ok(())
        })
    }

    fn one(&mut self, kind: u16, flags: u16, body: impl Fn(&(), &mut Writer)) -> Result<(), Error> {
        let outcomes = bulk::execute(&mut self.socket, &[()], |()| (kind, flags), body)?;
        let refused = |bulk::Refusal { errno, message }| Error::Refused { errno, message };
        outcomes.into_iter().collect::<Outcome>().map_err(refused)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests;
