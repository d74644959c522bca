use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::sctp::Raw;
use crate::{Error, Namespace, dial};

/// How a probe travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// One connection.
    Tcp,
    /// One datagram there and back, from a port of its own.
    Udp,
    /// INIT and INIT-ACK.
    Sctp,
}

/// One question to a [`Server`](crate::Server).
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// TCP or UDP.
    pub transport: Transport,
    /// Where to.
    pub to: SocketAddr,
    /// How long silence is waited for.
    pub patience: Duration,
}

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// A server answered.
    Reached {
        /// The server's name.
        server: String,
        /// The client's address as the server saw it.
        seen_as: IpAddr,
    },
    /// Refused: a reset, or ICMP port unreachable.
    Refused,
    /// Silence.
    Silence,
    /// Any other error, by its name.
    Failed(String),
}

/// Sends one probe from inside the namespace.
pub fn probe(client: &Namespace, probe: &Probe) -> Result<Answer, Error> {
    client.run(|| probe.send())
}

impl Probe {
    /// Sends the probe from the namespace of the calling thread.
    pub fn send(&self) -> Answer {
        let answered = match self.transport {
            Transport::Tcp => self.over_tcp(),
            Transport::Udp => self.over_udp(),
            Transport::Sctp => self.over_sctp(),
        };
        answer(answered)
    }

    fn over_tcp(&self) -> io::Result<String> {
        let mut stream = dial::connect(self.to, self.patience)?;
        stream.set_read_timeout(Some(self.patience))?;
        let mut text = String::new();
        match stream.read_to_string(&mut text) {
            // Somebody accepted and then fell silent, which is not what a packet that nobody answers looks like.
            Err(error) if silent(&error) => Err(io::Error::other("connected, and then silence")),
            read => read.map(|_| text),
        }
    }

    fn over_udp(&self) -> io::Result<String> {
        let socket = UdpSocket::bind((any(self.to.ip()), 0))?;
        socket.set_read_timeout(Some(self.patience))?;
        socket.connect(self.to)?;
        // A sender on the node itself is told at once that its packet was not let out; whether it was refused or discarded
        // shows in whether an ICMP error follows.
        match socket.send(b"?") {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }
}

impl Probe {
    fn over_sctp(&self) -> io::Result<String> {
        let (here, _guide) = source_address(self.to)?;
        let raw = Raw::bind(here.ip())?;
        raw.set_patience(self.patience)?;
        raw.send(here.port(), self.to, None)?;
        raw.answer_to(here.port())
    }
}

/// The source address that the kernel would choose, with a port that is free while the socket is open.
pub(crate) fn source_address(to: SocketAddr) -> io::Result<(SocketAddr, UdpSocket)> {
    let guide = UdpSocket::bind((any(to.ip()), 0))?;
    guide.connect(to)?;
    Ok((guide.local_addr()?, guide))
}

/// What a server's words or an error mean.
pub(crate) fn answer(answered: io::Result<String>) -> Answer {
    answered.and_then(|text| parse(&text)).unwrap_or_else(|error| Answer::from_error(&error))
}

impl Answer {
    fn from_error(error: &io::Error) -> Answer {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Answer::Refused,
            _ if silent(error) => Answer::Silence,
            _ => Answer::Failed(error.to_string()),
        }
    }
}

fn silent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Reached { server, seen_as } => write!(f, "{server} (saw {seen_as})"),
            Answer::Refused => write!(f, "refused"),
            Answer::Silence => write!(f, "silence"),
            Answer::Failed(error) => write!(f, "{error}"),
        }
    }
}

pub(crate) fn any(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() }
}

fn parse(text: &str) -> io::Result<Answer> {
    let mut words = text.split_whitespace();
    let (server, address) = (words.next(), words.next().and_then(|word| word.parse().ok()));
    match (server, address) {
        (Some(server), Some(seen_as)) => Ok(Answer::Reached { server: server.to_owned(), seen_as }),
        _ => Err(io::Error::other(format!("not a server's answer: {text:?}"))),
    }
}
