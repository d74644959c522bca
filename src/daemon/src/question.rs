//! A question about one packet: what `kubeweir explain` and `/explain` ask.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use kubeweir_plan::oracle::Packet;
use kubeweir_plan::{Facts, Plan, Protocol, explain};
use tokio::sync::oneshot;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Source address.
    pub from: IpAddr,
    /// Where to.
    pub to: Destination,
    /// The interface that the packet comes in through.
    pub interface: Option<String>,
}

/// A question for the loop, and where the answer goes.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub question: Question,
    /// Takes the answer; `None` as long as there is no plan.
    pub answer: oneshot::Sender<Option<String>>,
}

/// Address, port and protocol: `10.96.0.10:80/TCP`, `[fd00::10]:53/UDP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Address and port.
    pub socket: SocketAddr,
    /// The protocol.
    pub protocol: Protocol,
}

/// The text is no destination.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not ADDRESS:PORT/PROTOCOL, for example 10.96.0.10:80/TCP or [fd00::10]:53/UDP")]
pub struct NoDestination(String);

impl FromStr for Destination {
    type Err = NoDestination;

    fn from_str(text: &str) -> Result<Destination, NoDestination> {
        let (socket, protocol) = text.split_once('/').unwrap_or((text, "TCP"));
        let known = |known: &Protocol| known.to_string().eq_ignore_ascii_case(protocol);
        let parsed = socket.parse().ok().zip(Protocol::ALL.into_iter().find(known));
        let (socket, protocol) = parsed.ok_or_else(|| NoDestination(text.to_owned()))?;
        Ok(Destination { socket, protocol })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.socket, self.protocol)
    }
}

impl Question {
    /// From its parts: both addresses must be of one family.
    pub fn new(from: IpAddr, to: Destination, interface: Option<String>) -> Result<Question, String> {
        if from.is_ipv4() != to.socket.is_ipv4() {
            return Err(format!("{from} cannot send to {to}: one is IPv4 and one IPv6"));
        }
        Ok(Question { from, to, interface })
    }

    /// From the query of a URL.
    pub fn from_query(query: &str) -> Result<Question, String> {
        let (mut from, mut to, mut interface) = (None, None, None);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "from" => {
                    from = Some(value.parse().map_err(|_| format!("from: {value:?} is not an address"))?);
                }
                "to" => to = Some(value.parse().map_err(|error: NoDestination| format!("to: {error}"))?),
                "interface" => interface = Some(value.into_owned()),
                other => return Err(format!("{other:?} is not one of from, to and interface")),
            }
        }
        let missing = |name: &str| format!("{name} is missing");
        Question::new(from.ok_or_else(|| missing("from"))?, to.ok_or_else(|| missing("to"))?, interface)
    }

    /// As the query of a URL.
    pub fn to_query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("from", &self.from.to_string()).append_pair("to", &self.to.to_string());
        if let Some(interface) = &self.interface {
            query.append_pair("interface", interface);
        }
        query.finish()
    }

    /// The answer. Pure.
    pub fn answer(&self, plan: &Plan, facts: &Facts) -> String {
        let packet = Packet {
            source: self.from,
            destination: self.to.socket,
            protocol: self.to.protocol,
            interface: self.interface.clone(),
            from_node: facts.addresses.contains(&self.from),
            to_node: facts.addresses.contains(&self.to.socket.ip()),
        };
        explain::explain(plan, &packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_and_written() {
        for text in ["10.96.0.10:80/TCP", "[fd00::10]:53/UDP", "10.96.0.10:5/SCTP"] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
        assert_eq!("10.96.0.10:80".parse::<Destination>().unwrap().protocol, Protocol::Tcp);
        assert_eq!("10.96.0.10:80/udp".parse::<Destination>().unwrap().protocol, Protocol::Udp);
        for text in ["10.96.0.10", "10.96.0.10:80/icmp", "web:80", "10.96.0.10:80/"] {
            assert!(text.parse::<Destination>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_question_survives_its_way_through_a_url() {
        let to = "[fd00::10]:53/UDP".parse().unwrap();
        for interface in [None, Some("veth+0".to_owned())] {
            let question = Question { from: "fd00:244::1".parse().unwrap(), to, interface };
            assert_eq!(Question::from_query(&question.to_query()), Ok(question));
        }
        for query in [
            "",
            "from=1.2.3.4",
            "from=x&to=1.2.3.4:5",
            "from=1.2.3.4&to=5",
            "from=1.2.3.4&to=[::1]:5",
            "where=here",
        ] {
            assert!(Question::from_query(query).is_err(), "{query}");
        }
    }
}
