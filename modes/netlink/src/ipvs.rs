//! IPVS: virtual servers, their real servers, and what the kernel counts of them.
//!
//! Spoken over the generic netlink family `IPVS` (`include/uapi/linux/ip_vs.h`, `net/netfilter/ipvs/ip_vs_ctl.c`). All of it belongs
//! to a network namespace, timeouts too. There is no transaction, no multicast group and no sign that a listing was
//! interrupted: the kernel goes on listing at the same position, so that a server which others add or delete meanwhile
//! can hide another one or show it twice.
//!
//! Reading order: [`Identity`] and [`Scheduling`] (`server`), [`RealServer`] (`real`), [`Statistics`], [`Request`] (`request`),
//! what is answered (`decode`), [`Client`].

mod attribute;
mod decode;
mod real;
mod request;
mod server;
mod statistics;

use std::fmt;

use crate::bulk::{self, Outcome};
use crate::socket::Socket;
use crate::wire::{Message, Writer};
use crate::{Errno, Error, dump, generic};

pub use decode::{info, real_server, server, timeouts};
pub use real::{Connections, Forwarding, RealServer};
pub use request::Request;
pub use server::{Flags, Identity, Netmask, Scheduling};
pub use statistics::Statistics;

/// A virtual server as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What names it.
    pub identity: Identity,
    /// How it chooses; comparable with what was set.
    pub scheduling: Scheduling,
    /// What passed through it.
    pub statistics: Statistics,
}

/// A real server as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedReal {
    /// The server; comparable with what was set.
    pub server: RealServer,
    /// What it has at the moment.
    pub connections: Connections,
    /// What passed through it.
    pub statistics: Statistics,
}

/// How long IPVS keeps idle connections, in seconds, in a whole network namespace. When set, 0 keeps what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Established TCP.
    pub tcp: u32,
    /// TCP after a FIN.
    pub tcp_fin: u32,
    /// UDP.
    pub udp: u32,
}

/// What IPVS says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Three bytes: major, minor, patch level.
    pub version: u32,
    /// Buckets of the connection table.
    pub table_size: u32,
}

/// The kernel's IPVS in the network namespace of the thread that opened it.
pub struct Client {
    socket: Socket,
    family: u16,
}

impl Client {
    /// Opens a socket and asks for the family's number. The kernel tries to load the module; [`Error::NoFamily`] if it cannot.
    pub fn open() -> Result<Client, Error> {
        let mut socket = Socket::open(generic::PROTOCOL)?;
        let family = generic::resolve(&mut socket, attribute::FAMILY)?;
        Ok(Client { socket, family })
    }

    /// Version and table size.
    pub fn info(&mut self) -> Result<Info, Error> {
        self.ask(&request::get_info, decode::info)?.ok_or(Error::Malformed("no answer about IPVS"))
    }

    /// The timeouts in force.
    pub fn timeouts(&mut self) -> Result<Timeouts, Error> {
        self.ask(&request::get_timeouts, decode::timeouts)?
            .ok_or(Error::Malformed("no answer about timeouts"))
    }

    /// Sets those timeouts that are not 0.
    pub fn set_timeouts(&mut self, timeouts: &Timeouts) -> Result<(), Error> {
        self.ask(&|w| request::set_timeouts(timeouts, w), |_| Ok(())).map(|_| ())
    }

    /// All virtual servers of both families, in the kernel's order.
    pub fn servers(&mut self) -> Result<Vec<Listed>, Error> {
        self.list(&request::list_servers, decode::server)
    }

    /// Whether there is this virtual server.
    pub fn has(&mut self, identity: &Identity) -> Result<bool, Error> {
        match self.ask(&|w| request::get_server(identity, w), |_| Ok(())) {
            Err(Error::Refused { errno: Errno::ESRCH, .. }) => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// The real servers of one virtual server, in the kernel's order. None also if there is no such virtual server: the kernel
    /// does not tell these apart.
    pub fn real_servers(&mut self, identity: &Identity) -> Result<Vec<ListedReal>, Error> {
        self.list(&|w| request::list_reals(identity, w), decode::real_server)
    }

    /// Has the requests carried out in order and returns what became of each. A refused one does not keep the next from being
    /// tried. After an error any of them may have been carried out: list again.
    pub fn execute(&mut self, requests: &[Request]) -> Result<Vec<Outcome>, Error> {
        let family = self.family;
        bulk::execute(&mut self.socket, requests, |_| (family, 0), Request::write)
    }

    /// How many messages were sent so far, of any kind.
    pub fn sent(&self) -> u64 {
        self.socket.messages()
    }

    fn ask<T>(
        &mut self,
        body: &dyn Fn(&mut Writer),
        decode: impl Fn(&Message<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let mut answer = None;
        let request = dump::Request { kind: self.family, body };
        dump::ask(&mut self.socket, &request, &mut |message| {
            answer = Some(decode(message)?);
            Ok(())
        })?;
        Ok(answer)
    }

    fn list<T>(
        &mut self,
        body: &dyn Fn(&mut Writer),
        decode: impl Fn(&Message<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let request = dump::Request { kind: self.family, body };
        dump::dump(&mut self.socket, &request, Vec::new, |listed, message| {
            listed.push(decode(message)?);
            Ok(())
        })
    }
}

/// As `ipvsadm` prints the version: `1.2.1`.
impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, major, minor, patch] = self.version.to_be_bytes();
        write!(f, "IPVS {major}.{minor}.{patch}, {} buckets", self.table_size)
    }
}

#[cfg(test)]
mod tests;
