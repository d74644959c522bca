use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::BitOr;

use crate::Family;

/// What names a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// It takes packets to an address and a port.
    Address {
        /// The protocol number of the IP header: 6 TCP, 17 UDP, 132 SCTP.
        protocol: u8,
        /// The address.
        address: IpAddr,
        /// The port; 0 for all ports, which the kernel wants to be persistent.
        port: u16,
    },
    /// It takes packets that carry exactly this mark, whatever their address. 0 is no mark: the kernel would take it
    /// for the address 0.0.0.0, port 0.
    Mark {
        /// The address family.
        family: Family,
        /// The firewall mark, compared as a whole.
        mark: NonZeroU32,
    },
}

/// How a virtual server chooses among its real servers: all of it that can be set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scheduling {
    /// The scheduler's name, at most 15 bytes: `rr`, `wlc`, `mh`. The kernel loads the module that has it, `ip_vs_NAME`, and
    /// holds the lock of all of IPVS while it does. Those of `lblc` and `lblcr` wait for network namespaces that are being
    /// deleted, and these for that lock: **load them before naming them here**, or both may wait for ever
    /// (`ip_vs_scheduler_get`, `ip_vs_lblc_init`, `__ip_vs_cleanup_batch`; seen on 6.1).
    pub scheduler: String,
    /// Flags of the server and of its scheduler.
    pub flags: Flags,
    /// How long a client stays with its real server after its last connection, in seconds, if [`Flags::PERSISTENT`] is set. Kept by
    /// the kernel in ticks of 32 bits: a year and more may wrap.
    pub timeout: u32,
    /// Which clients are one client to a persistent server.
    pub netmask: Netmask,
}

/// Flags of a virtual server (`IP_VS_SVC_F_*`). The kernel's own `HASHED` (0x2) is never among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flags(u32);

/// Which clients a persistent virtual server takes for one. IPv4 has a mask of any shape, IPv6 a prefix length of 1 to 128 (else
/// `EINVAL`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Netmask {
    /// Of an IPv4 server.
    V4(Ipv4Addr),
    /// Of an IPv6 server.
    V6(u32),
}

impl Identity {
    /// The server of a protocol at an address and a port.
    pub fn at(protocol: u8, at: SocketAddr) -> Identity {
        Identity::Address { protocol, address: at.ip(), port: at.port() }
    }

    /// The address family of the packets that it takes.
    pub fn family(&self) -> Family {
        match self {
            Identity::Address { address, .. } => Family::of(*address),
            Identity::Mark { family, .. } => *family,
        }
    }
}

impl Scheduling {
    /// This scheduler, without flags and persistence, as `ipvsadm -A ... -s SCHEDULER` sets it.
    pub fn new(scheduler: impl Into<String>, family: Family) -> Scheduling {
        let netmask = Netmask::host(family);
        Scheduling { scheduler: scheduler.into(), flags: Flags::default(), timeout: 0, netmask }
    }

    /// The scheduler's flags by the names that `ipvsadm` has for them.
    fn scheduler_flags(&self) -> impl Iterator<Item = &'static str> {
        let names = match self.scheduler.as_str() {
            "sh" => ["sh-fallback", "sh-port", "flag-3"],
            "mh" => ["mh-fallback", "mh-port", "flag-3"],
            _ => ["flag-1", "flag-2", "flag-3"],
        };
        let flags = [Flags::SCHEDULER_1, Flags::SCHEDULER_2, Flags::SCHEDULER_3];
        flags.into_iter().zip(names).filter(|(flag, _)| self.flags.contains(*flag)).map(|(_, name)| name)
    }
}

impl Flags {
    /// A client stays with its real server.
    pub const PERSISTENT: Flags = Flags(0x1);
    /// Each datagram is scheduled on its own.
    pub const ONE_PACKET: Flags = Flags(0x4);
    /// The scheduler's first flag.
    pub const SCHEDULER_1: Flags = Flags(0x8);
    /// The scheduler's second flag.
    pub const SCHEDULER_2: Flags = Flags(0x10);
    /// The scheduler's third flag.
    pub const SCHEDULER_3: Flags = Flags(0x20);
    /// `mh`: takes another real server where the chosen one is unavailable.
    pub const MH_FALLBACK: Flags = Flags::SCHEDULER_1;
    /// `mh`: the client's port is part of what is hashed.
    pub const MH_PORT: Flags = Flags::SCHEDULER_2;
    /// `IP_VS_SVC_F_HASHED`: a server made with it could be listed but would never be found.
    const HASHED: u32 = 0x2;

    /// The flags with these bits, without the kernel's own.
    pub fn from_bits(bits: u32) -> Flags {
        Flags(bits & !Flags::HASHED)
    }

    /// As the kernel numbers them.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of these are set.
    pub fn contains(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl Netmask {
    /// Each address is a client of its own.
    pub fn host(family: Family) -> Netmask {
        match family {
            Family::V4 => Netmask::V4(Ipv4Addr::BROADCAST),
            Family::V6 => Netmask::V6(128),
        }
    }
}

/// As `ipvsadm` lists it: `TCP 10.96.0.1:443`, `FWM 5`, `FWM 5 IPv6`.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Identity::Address { protocol, address, port } => {
                let at = SocketAddr::new(address, port);
                match protocol_name(protocol) {
                    Some(name) => write!(f, "{name} {at}"),
                    None => write!(f, "protocol {protocol} {at}"),
                }
            }
            Identity::Mark { family: Family::V4, mark } => write!(f, "FWM {mark}"),
            Identity::Mark { family: Family::V6, mark } => write!(f, "FWM {mark} IPv6"),
        }
    }
}

fn protocol_name(protocol: u8) -> Option<&'static str> {
    match i32::from(protocol) {
        libc::IPPROTO_TCP => Some("TCP"),
        libc::IPPROTO_UDP => Some("UDP"),
        libc::IPPROTO_SCTP => Some("SCTP"),
        _ => None,
    }
}

/// As arguments of `ipvsadm -A`.
impl fmt::Display for Scheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-s {}", self.scheduler)?;
        if self.flags.contains(Flags::PERSISTENT) {
            write!(f, " -p {}", self.timeout)?;
        }
        match self.netmask {
            Netmask::V4(Ipv4Addr::BROADCAST) | Netmask::V6(128) => {}
            Netmask::V4(mask) => write!(f, " -M {mask}")?,
            Netmask::V6(length) => write!(f, " -M {length}")?,
        }
        if self.flags.contains(Flags::ONE_PACKET) {
            f.write_str(" -o")?;
        }
        let set: Vec<_> = self.scheduler_flags().collect();
        if set.is_empty() { Ok(()) } else { write!(f, " -b {}", set.join(",")) }
    }
}
