use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::probe::{self, Answer, Transport, any, source_address};
use crate::sctp::Raw;
use crate::{Error, Namespace};

/// A client that goes on talking to one address from one port, so that all it sends is one flow.
pub struct Talker {
    line: Line,
    to: SocketAddr,
}

enum Line {
    Udp(UdpSocket),
    Sctp { raw: Raw, port: u16, _guide: UdpSocket },
}

impl Talker {
    /// Takes a port inside the namespace. TCP has no such client: a connection is one question.
    pub fn new(client: &Namespace, transport: Transport, to: SocketAddr) -> Result<Talker, Error> {
        let line = client.run(|| match transport {
            Transport::Udp => udp(to).map(Line::Udp),
            Transport::Sctp => sctp(to),
            Transport::Tcp => Err(io::ErrorKind::Unsupported.into()),
        })?;
        Ok(Talker { line: line.map_err(|source| client.fail("start talking", source))?, to })
    }

    /// Asks once more.
    pub fn ask(&self, patience: Duration) -> Answer {
        let answered = match &self.line {
            Line::Udp(socket) => over_udp(socket, patience),
            Line::Sctp { raw, port, .. } => over_sctp(raw, *port, self.to, patience),
        };
        probe::answer(answered)
    }
}

fn udp(to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((any(to.ip()), 0))?;
    socket.connect(to)?;
    Ok(socket)
}

/// The UDP socket keeps the port number from other talkers.
fn sctp(to: SocketAddr) -> io::Result<Line> {
    let (here, guide) = source_address(to)?;
    Ok(Line::Sctp { raw: Raw::bind(here.ip())?, port: here.port(), _guide: guide })
}

fn over_udp(socket: &UdpSocket, patience: Duration) -> io::Result<String> {
    let mut buffer = [0; 256];
    // An answer to an earlier question may have come late.
    socket.set_nonblocking(true)?;
    while !matches!(socket.recv(&mut buffer), Err(error) if error.kind() == io::ErrorKind::WouldBlock) {}
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(patience))?;
    // On the node itself: see `Probe`.
    match socket.send(b"?") {
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
        _ => {}
    }
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn over_sctp(raw: &Raw, port: u16, to: SocketAddr, patience: Duration) -> io::Result<String> {
    raw.set_patience(patience)?;
    raw.send(port, to, None)?;
    raw.answer_to(port)
}
