//! What can be asked of IPVS, and its bytes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::attribute::{self as a, command, destination, service};
use super::{Identity, Netmask, RealServer, Scheduling, Timeouts};
use crate::wire::Writer;
use crate::{Family, generic};

/// One change. The kernel carries out each on its own; there are no transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Makes a virtual server. `EEXIST` if there is one, `ENOENT` if the scheduler is unknown and cannot be loaded.
    NewServer(Identity, Scheduling),
    /// Changes how a virtual server schedules; its real servers and connections stay. `ESRCH` if there is no such server,
    /// `ENOENT` as above.
    SetServer(Identity, Scheduling),
    /// Deletes a virtual server and its real servers. `ESRCH` if there is none.
    DeleteServer(Identity),
    /// Adds a real server. `EEXIST` if there is one at this address and port, `ESRCH` if there is no such virtual server, `EINVAL`
    /// if it is of another family and not a tunnel, if its address is no unicast one, or if it is of IPv4 and the
    /// network namespace has no IPv4 address at all.
    NewReal(Identity, RealServer),
    /// Changes a real server; its connections stay. `ENOENT` if there is none, `ESRCH` as above.
    SetReal(Identity, RealServer),
    /// Deletes a real server. `ENOENT` if there is none, `ESRCH` as above.
    DeleteReal(Identity, SocketAddr),
}

impl Request {
    /// The virtual server that it is about.
    pub fn server(&self) -> &Identity {
        match self {
            Request::NewServer(identity, _)
            | Request::SetServer(identity, _)
            | Request::DeleteServer(identity)
            | Request::NewReal(identity, _)
            | Request::SetReal(identity, _)
            | Request::DeleteReal(identity, _) => identity,
        }
    }

    /// Appends what follows the netlink header.
    pub fn write(&self, w: &mut Writer) {
        w.raw(&generic::header(self.command(), a::VERSION));
        match self {
            Request::NewServer(identity, how) | Request::SetServer(identity, how) => {
                w.nest(a::SERVICE, |w| {
                    write_identity(identity, w);
                    write_scheduling(how, w);
                });
            }
            Request::DeleteServer(identity) => w.nest(a::SERVICE, |w| write_identity(identity, w)),
            Request::NewReal(identity, real) | Request::SetReal(identity, real) => {
                w.nest(a::SERVICE, |w| write_identity(identity, w));
                w.nest(a::DESTINATION, |w| write_real(real, w));
            }
            Request::DeleteReal(identity, at) => {
                w.nest(a::SERVICE, |w| write_identity(identity, w));
                w.nest(a::DESTINATION, |w| write_endpoint(*at, w));
            }
        }
    }

    fn command(&self) -> u8 {
        match self {
            Request::NewServer(..) => command::NEW_SERVICE,
            Request::SetServer(..) => command::SET_SERVICE,
            Request::DeleteServer(..) => command::DELETE_SERVICE,
            Request::NewReal(..) => command::NEW_DESTINATION,
            Request::SetReal(..) => command::SET_DESTINATION,
            Request::DeleteReal(..) => command::DELETE_DESTINATION,
        }
    }
}

/// All virtual servers.
pub(super) fn list_servers(w: &mut Writer) {
    w.raw(&generic::header(command::GET_SERVICE, a::VERSION));
}

/// One virtual server. `ESRCH` if there is none.
pub(super) fn get_server(identity: &Identity, w: &mut Writer) {
    w.raw(&generic::header(command::GET_SERVICE, a::VERSION));
    w.nest(a::SERVICE, |w| write_identity(identity, w));
}

/// The real servers of one virtual server.
pub(super) fn list_reals(identity: &Identity, w: &mut Writer) {
    w.raw(&generic::header(command::GET_DESTINATION, a::VERSION));
    w.nest(a::SERVICE, |w| write_identity(identity, w));
}

pub(super) fn get_info(w: &mut Writer) {
    w.raw(&generic::header(command::GET_INFO, a::VERSION));
}

pub(super) fn get_timeouts(w: &mut Writer) {
    w.raw(&generic::header(command::GET_CONFIG, a::VERSION));
}

pub(super) fn set_timeouts(timeouts: &Timeouts, w: &mut Writer) {
    w.raw(&generic::header(command::SET_CONFIG, a::VERSION));
    w.u32(a::TIMEOUT_TCP, timeouts.tcp);
    w.u32(a::TIMEOUT_TCP_FIN, timeouts.tcp_fin);
    w.u32(a::TIMEOUT_UDP, timeouts.udp);
}

fn write_identity(identity: &Identity, w: &mut Writer) {
    w.u16(service::FAMILY, identity.family() as u16);
    match identity {
        Identity::Mark { mark, .. } => w.u32(service::MARK, mark.get()),
        Identity::Address { protocol, address, port } => {
            w.u16(service::PROTOCOL, u16::from(*protocol));
            w.bytes(service::ADDRESS, &sixteen(*address));
            w.bytes(service::PORT, &port.to_be_bytes());
        }
    }
}

fn write_scheduling(how: &Scheduling, w: &mut Writer) {
    w.string(service::SCHEDULER, &how.scheduler);
    // The mask lets all flags be set or cleared; the kernel looks after its own.
    w.bytes(service::FLAGS, &[how.flags.bits().to_ne_bytes(), u32::MAX.to_ne_bytes()].concat());
    w.u32(service::TIMEOUT, how.timeout);
    match how.netmask {
        Netmask::V4(mask) => w.bytes(service::NETMASK, &mask.octets()),
        Netmask::V6(length) => w.u32(service::NETMASK, length),
    }
}

fn write_endpoint(at: SocketAddr, w: &mut Writer) {
    w.u16(destination::FAMILY, Family::of(at.ip()) as u16);
    w.bytes(destination::ADDRESS, &sixteen(at.ip()));
    w.bytes(destination::PORT, &at.port().to_be_bytes());
}

fn write_real(real: &RealServer, w: &mut Writer) {
    write_endpoint(real.at(), w);
    w.u32(destination::FORWARDING, real.forwarding as u32);
    w.u32(destination::WEIGHT, real.weight);
    w.u32(destination::UPPER_THRESHOLD, real.upper_threshold);
    w.u32(destination::LOWER_THRESHOLD, real.lower_threshold);
}

/// `union nf_inet_addr`.
fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
    }
}

/// As a line of `ipvsadm -R`.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::NewServer(identity, how) => write!(f, "-A {} {how}", Argument(identity)),
            Request::SetServer(identity, how) => write!(f, "-E {} {how}", Argument(identity)),
            Request::DeleteServer(identity) => write!(f, "-D {}", Argument(identity)),
            Request::NewReal(identity, real) => write!(f, "-a {} {real}", Argument(identity)),
            Request::SetReal(identity, real) => write!(f, "-e {} {real}", Argument(identity)),
            Request::DeleteReal(identity, at) => write!(f, "-d {} -r {at}", Argument(identity)),
        }
    }
}

/// An identity as `ipvsadm` wants it.
struct Argument<'a>(&'a Identity);

impl fmt::Display for Argument<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.0 {
            Identity::Address { protocol, address, port } => {
                let at = SocketAddr::new(address, port);
                match i32::from(protocol) {
                    libc::IPPROTO_TCP => write!(f, "-t {at}"),
                    libc::IPPROTO_UDP => write!(f, "-u {at}"),
                    libc::IPPROTO_SCTP => write!(f, "--sctp-service {at}"),
                    _ => write!(f, "(protocol {protocol}) {at}"),
                }
            }
            Identity::Mark { family: Family::V4, mark } => write!(f, "-f {mark}"),
            Identity::Mark { family: Family::V6, mark } => write!(f, "-f {mark} -6"),
        }
    }
}
