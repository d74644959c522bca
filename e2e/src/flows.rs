//! Tracked flows made by hand, as many as wanted, and the kernel's list of them.

use std::net::{IpAddr, SocketAddr};

use kubeweir_netlink::conntrack::{Client, Filter, Flow};
use kubeweir_netlink::nfnl::{self, PROTOCOL, SUBSYSTEM_CONNTRACK};
use kubeweir_netlink::socket::Socket;
use kubeweir_netlink::wire::{self, ACK, CREATE, EXCLUSIVE, Header, REQUEST, Writer};
use kubeweir_netlink::{Errno, ack};
use kubeweir_playground::Namespace;

/// `IPCTNL_MSG_CT_NEW`
const NEW: u16 = nfnl::kind(SUBSYSTEM_CONNTRACK, 0);
/// Attributes of `linux/netfilter/nfnetlink_conntrack.h`.
const STATUS: u16 = 3;
const TIMEOUT: u16 = 7;
/// `IPS_SEEN_REPLY`, `IPS_ASSURED` and `IPS_CONFIRMED`
const ESTABLISHED: u32 = 0b1110;
const SECONDS: u32 = 3600;
/// Flows made with one system call.
const AT_ONCE: usize = 500;

/// A flow to be made.
#[derive(Clone, Copy, Debug)]
pub struct New {
    /// Protocol number of the IP header.
    pub protocol: u8,
    /// Who began it.
    pub source: SocketAddr,
    /// Where it was sent.
    pub destination: SocketAddr,
    /// Who answers.
    pub answered_by: SocketAddr,
}

/// Makes flows in the namespace.
pub fn make(namespace: &Namespace, flows: impl Iterator<Item = New> + Send) {
    let mut flows = flows.peekable();
    let work = || {
        let mut socket = Socket::open(PROTOCOL).unwrap();
        while flows.peek().is_some() {
            let some: Vec<New> = flows.by_ref().take(AT_ONCE).collect();
            send(&mut socket, &some);
        }
    };
    namespace.run(work).unwrap();
}

/// Flows that the kernel lists in the namespace for the filter.
pub fn list(namespace: &Namespace, filter: &Filter) -> Vec<Flow> {
    let mut found = Vec::new();
    let mut look = |flow: &Flow| {
        found.push(*flow);
        false
    };
    let ended = namespace.run(|| Client::open().unwrap().end_flows(filter, &mut look).unwrap()).unwrap();
    assert_eq!(ended, 0);
    found
}

/// The last one asks for an acknowledgement; errors come without being asked for.
fn send(socket: &mut Socket, flows: &[New]) {
    let count = u32::try_from(flows.len()).unwrap();
    let first = socket.sequences(count);
    let mut writer = Writer::default();
    for (sequence, flow) in (first..).zip(flows) {
        let wanted = if sequence == first + count - 1 { ACK } else { 0 };
        let header = Header { kind: NEW, flags: REQUEST | CREATE | EXCLUSIVE | wanted, sequence };
        writer.message(header, |w| describe(flow, w));
    }
    socket.send(writer.finish().unwrap()).unwrap();
    loop {
        for message in wire::messages(socket.receive().unwrap()) {
            let answer = ack::answer(&message.unwrap()).unwrap().unwrap();
            assert_eq!(
                answer.errno.map(|Errno(number)| number),
                None,
                "{:?}",
                flows[(answer.sequence - first) as usize]
            );
            if answer.sequence == first + count - 1 {
                return;
            }
        }
    }
}

fn describe(flow: &New, w: &mut Writer) {
    w.raw(&nfnl::header(if flow.source.is_ipv4() { 2 } else { 10 }, 0));
    tuple(1, flow.protocol, flow.source, flow.destination, w);
    tuple(2, flow.protocol, flow.answered_by, flow.source, w);
    w.be32(STATUS, ESTABLISHED);
    w.be32(TIMEOUT, SECONDS);
}

fn tuple(kind: u16, protocol: u8, source: SocketAddr, destination: SocketAddr, w: &mut Writer) {
    w.nest(kind, |w| {
        w.nest(1, |w| {
            for (position, address) in [source.ip(), destination.ip()].into_iter().enumerate() {
                let position = u16::try_from(position).unwrap();
                match address {
                    IpAddr::V4(v4) => w.bytes(1 + position, &v4.octets()),
                    IpAddr::V6(v6) => w.bytes(3 + position, &v6.octets()),
                }
            }
        });
        w.nest(2, |w| {
            w.bytes(1, &[protocol]);
            w.bytes(2, &source.port().to_be_bytes());
            w.bytes(3, &destination.port().to_be_bytes());
        });
    });
}
