//! Just enough SCTP to ask and to answer: INIT and INIT-ACK over raw sockets (RFC 9260, section 3.3).
//!
//! Not every kernel has SCTP sockets, and a proxy must not be what loads them. Connection tracking and translation need
//! well-formed packets only. The answer's text travels in the state cookie.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

const SCTP: i32 = 132;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const STATE_COOKIE: u16 = 7;
/// Common header, then the fixed part of INIT.
const HEADER: usize = 12;
const FIXED: usize = 20;
const TAG: [u8; 4] = [0xca, 0xfe, 0xba, 0xbe];

/// A raw socket bound to an address, for a server or a client there.
pub(crate) struct Raw {
    socket: Socket,
    is_v6: bool,
}

/// What a packet says.
pub(crate) struct Packet {
    pub(crate) source_port: u16,
    pub(crate) port: u16,
    pub(crate) is_question: bool,
    pub(crate) text: String,
}

impl Raw {
    pub(crate) fn bind(address: IpAddr) -> io::Result<Raw> {
        let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(SCTP)))?;
        socket.bind(&SockAddr::from(SocketAddr::new(address, 0)))?;
        Ok(Raw { socket, is_v6: address.is_ipv6() })
    }

    pub(crate) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(patience))
    }

    /// Sends a question, or an answer with a text.
    pub(crate) fn send(&self, from: u16, to: SocketAddr, answer: Option<&str>) -> io::Result<()> {
        let target = SocketAddr::new(to.ip(), 0);
        self.socket.send_to(&encode(from, to.port(), answer), &SockAddr::from(target)).map(|_| ())
    }

    /// Waits for the next packet and tells who sent it.
    pub(crate) fn receive(&self) -> io::Result<(IpAddr, Packet)> {
        let deadline = self.socket.read_timeout()?.map(|patience| Instant::now() + patience);
        loop {
            let (from, bytes) = self.receive_bytes()?;
            if let Some(packet) = decode(&bytes) {
                return Ok((from, packet));
            }
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// Waits for the answer to a question from this port.
    pub(crate) fn answer_to(&self, port: u16) -> io::Result<String> {
        loop {
            let (_, packet) = self.receive()?;
            if packet.port == port && !packet.is_question {
                return Ok(packet.text);
            }
        }
    }

    /// IPv4 raw sockets deliver the IP header too, IPv6 ones do not and need to be asked for the sender.
    fn receive_bytes(&self) -> io::Result<(IpAddr, Vec<u8>)> {
        let mut buffer = vec![0; 2048];
        if !self.is_v6 {
            let length = (&self.socket).read(&mut buffer)?;
            let header = usize::from(buffer[0] & 0x0f) * 4;
            let source = IpAddr::from([buffer[12], buffer[13], buffer[14], buffer[15]]);
            return Ok((source, buffer[header.min(length)..length].to_vec()));
        }
        let socket: std::net::UdpSocket = self.socket.try_clone()?.into();
        let (length, from) = socket.recv_from(&mut buffer)?;
        Ok((from.ip(), buffer[..length].to_vec()))
    }
}

fn encode(from: u16, to: u16, answer: Option<&str>) -> Vec<u8> {
    let text = answer.unwrap_or_default().as_bytes();
    let mut packet = Vec::new();
    packet.extend(from.to_be_bytes());
    packet.extend(to.to_be_bytes());
    packet.extend(if answer.is_some() { TAG } else { [0; 4] });
    packet.extend([0; 4]);
    let cookie = if answer.is_some() { 4 + text.len() } else { 0 };
    packet.extend([if answer.is_some() { INIT_ACK } else { INIT }, 0]);
    packet.extend(length(FIXED + cookie));
    packet.extend(TAG);
    packet.extend(65_536_u32.to_be_bytes());
    packet.extend([0, 1, 0, 1, 0, 0, 0, 1]);
    if answer.is_some() {
        packet.extend(STATE_COOKIE.to_be_bytes());
        packet.extend(length(cookie));
        packet.extend(text);
        packet.resize(packet.len().next_multiple_of(4), 0);
    }
    let sum = crc32c(&packet);
    packet[8..HEADER].copy_from_slice(&sum.to_le_bytes());
    packet
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

fn decode(bytes: &[u8]) -> Option<Packet> {
    let short = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let kind = *bytes.get(HEADER)?;
    if kind != INIT && kind != INIT_ACK {
        return None;
    }
    let cookie = HEADER + FIXED;
    let end = cookie + usize::from(short(cookie + 2).unwrap_or(4));
    let text = bytes.get(cookie + 4..end).unwrap_or_default();
    Some(Packet {
        source_port: short(0)?,
        port: short(2)?,
        is_question: kind == INIT,
        text: String::from_utf8_lossy(text).into_owned(),
    })
}

/// CRC-32C (Castagnoli), as SCTP wants it.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_read_back_and_the_checksum_is_the_known_one() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let packet = decode(&encode(1, 2, Some("pod-a 10.0.0.1 5"))).unwrap();
        assert_eq!((packet.source_port, packet.port, packet.is_question), (1, 2, false));
        assert_eq!(packet.text, "pod-a 10.0.0.1 5");
        assert!(decode(&encode(1, 2, None)).unwrap().is_question);
        assert!(decode(&[0; 10]).is_none());
    }
}
