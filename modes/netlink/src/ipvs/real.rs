use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A real server of a virtual server: all of it that can be set. Address and port are its name among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RealServer {
    /// Where packets go to. Only a tunnel may be of another family than the virtual server.
    pub address: IpAddr,
    /// The port. Kept but not used unless packets are masqueraded.
    pub port: u16,
    /// Its share, up to 2^31 - 1 (`ERANGE` above); 0 keeps what it has and gives it nothing new.
    pub weight: u32,
    /// How packets get there.
    pub forwarding: Forwarding,
    /// With this many connections it gets no new ones; 0 is no limit.
    pub upper_threshold: u32,
    /// It gets new ones again below this many. Above the upper one the kernel says `ERANGE`.
    pub lower_threshold: u32,
}

/// How packets get to a real server (`IP_VS_CONN_F_FWD_MASK`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Forwarding {
    /// Their destination is rewritten.
    Masquerade = 0,
    /// They are delivered here.
    LocalNode = 1,
    /// They are wrapped into another packet.
    Tunnel = 2,
    /// They are sent on as they are.
    DirectRoute = 3,
    /// They go where they would have gone.
    Bypass = 4,
}

/// How many connections a real server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Established ones.
    pub active: u32,
    /// Those that are being closed; for UDP, all.
    pub inactive: u32,
    /// Memories of clients that stay with it.
    pub persistent: u32,
}

impl RealServer {
    /// A masqueraded real server without thresholds.
    pub fn masqueraded(at: SocketAddr, weight: u32) -> RealServer {
        RealServer {
            address: at.ip(),
            port: at.port(),
            weight,
            forwarding: Forwarding::Masquerade,
            upper_threshold: 0,
            lower_threshold: 0,
        }
    }

    /// What names it within its virtual server.
    pub fn at(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

impl Forwarding {
    /// The method with this number.
    pub fn from_number(number: u32) -> Option<Forwarding> {
        use Forwarding::{Bypass, DirectRoute, LocalNode, Masquerade, Tunnel};
        [Masquerade, LocalNode, Tunnel, DirectRoute, Bypass]
            .into_iter()
            .find(|&method| method as u32 == number)
    }
}

/// As arguments of `ipvsadm -a`, which has none for local delivery and bypass.
impl fmt::Display for RealServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self.forwarding {
            Forwarding::Masquerade => "-m",
            Forwarding::Tunnel => "-i",
            Forwarding::DirectRoute => "-g",
            Forwarding::LocalNode => "(local node)",
            Forwarding::Bypass => "(bypass)",
        };
        write!(f, "-r {} {method} -w {}", self.at(), self.weight)?;
        match (self.upper_threshold, self.lower_threshold) {
            (0, 0) => Ok(()),
            (upper, lower) => write!(f, " -x {upper} -y {lower}"),
        }
    }
}
