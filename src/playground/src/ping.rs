use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{Error, Namespace};

/// An ICMP header, and how far the identifier is into it.
const HEADER: usize = 8;
const IDENTIFIER: usize = 4;
const IPV6_HEADER: usize = 40;
/// So that questions that are asked at the same time are told apart.
static NEXT: AtomicU16 = AtomicU16::new(1);

/// What came of an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// It was answered.
    Answered,
    /// ICMP port unreachable, although there are no ports.
    Refused,
    /// Another ICMP destination unreachable, by its code.
    Unreachable(u8),
    /// Silence.
    Silence,
}

/// Sends one ICMP echo request from inside the namespace.
pub fn ping(client: &Namespace, to: IpAddr, patience: Duration) -> Result<Echo, Error> {
    client.run(|| Request::new(to).send(patience))?.map_err(|source| client.fail("ping", source))
}

struct Request {
    to: IpAddr,
    identifier: [u8; 2],
}

/// What ICMP of a family calls things (RFC 792, RFC 4443).
struct Words {
    request: u8,
    reply: u8,
    unreachable: u8,
    port: u8,
}

const V4: Words = Words { request: 8, reply: 0, unreachable: 3, port: 3 };
const V6: Words = Words { request: 128, reply: 129, unreachable: 1, port: 4 };

impl Request {
    fn new(to: IpAddr) -> Request {
        Request { to, identifier: NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes() }
    }

    const fn words(&self) -> &'static Words {
        if self.to.is_ipv4() { &V4 } else { &V6 }
    }

    fn send(&self, patience: Duration) -> io::Result<Echo> {
        let (domain, protocol) = match self.to {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        let sent = socket.send_to(&self.encode(), &SockAddr::from(SocketAddr::new(self.to, 0)));
        // As with UDP: what became of a packet that was not let out shows in what follows.
        if let Err(error) = sent
            && error.kind() != io::ErrorKind::PermissionDenied
        {
            return Err(error);
        }
        self.wait(&socket, patience)
    }

    fn wait(&self, mut socket: &Socket, patience: Duration) -> io::Result<Echo> {
        let deadline = Instant::now() + patience;
        let mut buffer = [0; 2048];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Echo::Silence);
            }
            socket.set_read_timeout(Some(left))?;
            match socket.read(&mut buffer) {
                Ok(length) => {
                    if let Some(echo) = self.understand(&buffer[..length]) {
                        return Ok(echo);
                    }
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The checksum of ICMPv6 is the kernel's business.
    fn encode(&self) -> [u8; HEADER] {
        let [high, low] = self.identifier;
        let mut packet = [self.words().request, 0, 0, 0, high, low, 0, 1];
        if self.to.is_ipv4() {
            let words = packet.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
            let sum: u32 = words.sum();
            let folded = (sum & 0xffff) + (sum >> 16);
            let [.., high, low] = (!folded).to_be_bytes();
            (packet[2], packet[3]) = (high, low);
        }
        packet
    }

    /// What a packet says about this request, if anything. IPv4 raw sockets deliver the IP header too.
    fn understand(&self, packet: &[u8]) -> Option<Echo> {
        let icmp = if self.to.is_ipv4() { packet.get(ipv4_header(packet)?..)? } else { packet };
        let (kind, code) = (*icmp.first()?, *icmp.get(1)?);
        let words = self.words();
        if kind == words.reply && self.is_mine(icmp) {
            return Some(Echo::Answered);
        }
        if kind != words.unreachable || !self.is_about(icmp.get(HEADER..)?) {
            return None;
        }
        Some(if code == words.port { Echo::Refused } else { Echo::Unreachable(code) })
    }

    fn is_mine(&self, icmp: &[u8]) -> bool {
        icmp.get(IDENTIFIER..IDENTIFIER + 2) == Some(&self.identifier)
    }

    /// Whether the packet that an error quotes is this request.
    fn is_about(&self, quoted: &[u8]) -> bool {
        let (header, destination) = match self.to {
            IpAddr::V4(to) => (ipv4_header(quoted), quoted.get(16..20) == Some(&to.octets())),
            IpAddr::V6(to) => (Some(IPV6_HEADER), quoted.get(24..40) == Some(&to.octets())),
        };
        let icmp = header.and_then(|header| quoted.get(header..));
        destination && icmp.is_some_and(|icmp| self.is_mine(icmp))
    }
}

fn ipv4_header(packet: &[u8]) -> Option<usize> {
    Some(usize::from(packet.first()? & 0x0f) * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_counts_if_it_quotes_the_request_and_a_reply_if_it_has_its_number() {
        let request = Request { to: [10, 96, 0, 1].into(), identifier: [0x12, 0x34] };
        assert_eq!(request.encode(), [8, 0, 0xe5, 0xca, 0x12, 0x34, 0, 1]);
        let mut ip = [0; 20];
        (ip[0], ip[16], ip[17], ip[19]) = (0x45, 10, 96, 1);
        let error = |code| [&ip[..], &[3, code, 0, 0, 0, 0, 0, 0], &ip[..], &request.encode()[..]].concat();
        assert_eq!(request.understand(&error(3)), Some(Echo::Refused));
        assert_eq!(request.understand(&error(1)), Some(Echo::Unreachable(1)));
        let reply = [&ip[..], &[0, 0, 0, 0, 0x12, 0x34, 0, 1]].concat();
        assert_eq!(request.understand(&reply), Some(Echo::Answered));
        for other in [
            Request { identifier: [0x12, 0x35], ..request },
            Request { to: [10, 96, 0, 2].into(), identifier: [0x12, 0x34] },
        ] {
            assert_eq!(other.understand(&error(3)), None);
        }
        assert_eq!(request.understand(&ip), None);
        assert_eq!(request.understand(&[]), None);
    }
}
