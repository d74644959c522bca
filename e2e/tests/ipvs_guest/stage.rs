//! What most tests here play on: a client, a node and a network of pods, and the manifests that the node's daemon follows.
//!
//! ```text
//!   client 192.0.2.100 ── 192.0.2.1 node 10.244.0.1 ── pods 10.244.0.2 and one address for each endpoint
//! ```
//!
//! All pods share a namespace: an endpoint is an address there, with servers that tell it. No client is there: a pod does not take
//! packets from an address of its own.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use kubeweir_e2e::generate;
use kubeweir_e2e::proxy::{Ours, Proxy};
use kubeweir_playground::{Answer, Namespace, Probe, Server, Transport, Veth, probe};
use tempfile::TempDir;

use crate::lines::LineServer;
use crate::objects::NODE;
use crate::witness::listed;

/// Where an endpoint answers each connection, datagram or INIT with its address.
pub(crate) const ANSWERS: u16 = 8080;
/// Where an endpoint holds conversations.
pub(crate) const TALKS: u16 = 7777;
/// What clients outside reach through the node.
const THROUGH_NODE: [&str; 5] =
    ["10.244.0.0/16", "10.96.0.0/16", "10.102.0.0/16", "203.0.113.0/24", "198.51.100.0/24"];
/// A guest is slow, and silence is never expected of a server that is there.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long silence is waited for where it is expected.
pub(crate) const SILENCE: Duration = Duration::from_secs(3);

pub(crate) struct Stage {
    pub(crate) client: Namespace,
    pub(crate) node: Namespace,
    pub(crate) pods: Namespace,
    manifests: TempDir,
    servers: Vec<(Server, LineServer)>,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        let [client, node, pods] = ["client", "node", "pods"].map(|name| Namespace::new(name).unwrap());
        for (there, peer) in [(&client, "lan0"), (&pods, "pods0")] {
            Veth { here: &node, name: peer, there, peer: "eth0" }.make().unwrap();
        }
        node.sysctl("ipv4/ip_forward", "1").unwrap();
        for (place, interface, address) in [
            (&client, "eth0", "192.0.2.100/24"),
            (&node, "lan0", "192.0.2.1/24"),
            (&node, "pods0", "10.244.0.1/16"),
            (&pods, "eth0", "10.244.0.2/16"),
        ] {
            place.address(interface, address.parse().unwrap()).unwrap();
        }
        for prefix in THROUGH_NODE {
            client.route(prefix.parse().unwrap(), ip("192.0.2.1")).unwrap();
        }
        pods.route("0.0.0.0/0".parse().unwrap(), ip("10.244.0.1")).unwrap();
        let stage = Stage { client, node, pods, manifests: TempDir::new().unwrap(), servers: Vec::new() };
        stage.put("node", NODE);
        stage
    }

    /// With servers at these addresses.
    pub(crate) fn with_endpoints<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Stage {
        let mut stage = Stage::new();
        for address in addresses {
            stage.pods.address("eth0", IpNet::new(ip(address), 16).unwrap()).unwrap();
            let answers = Server::start(&stage.pods, address, &[ip(address)], &[ANSWERS]).unwrap();
            let talks = LineServer::start(&stage.pods, address, SocketAddr::new(ip(address), TALKS));
            stage.servers.push((answers, talks));
        }
        stage
    }

    /// Puts an object, or several, in place in one step.
    pub(crate) fn put(&self, name: &str, text: &str) {
        generate::put(self.manifests.path(), &format!("{name}.yaml"), text);
    }

    pub(crate) fn manifests(&self) -> String {
        format!("--manifests={}", self.manifests.path().display())
    }

    /// Starts the daemon on the node, and waits until it has programmed what there is.
    pub(crate) fn start(&self, flags: &[&str]) -> Proxy {
        let flags = flags.iter().map(|&flag| flag.to_owned()).chain([self.manifests()]).collect();
        let proxy = Proxy::ours(&self.node, &Ours { flags, name: "node-1" });
        proxy.wait_for_log("synced everything");
        proxy
    }

    /// What the node's kernel has; see [`listed`].
    pub(crate) fn listed(&self) -> Vec<String> {
        listed(&self.node)
    }

    /// The weights of a virtual server's real servers, by their addresses.
    pub(crate) fn weights(&self) -> Vec<(String, u32)> {
        self.listed().iter().filter_map(|line| weight(line)).collect()
    }

    /// Waits until the real servers, all of them, have these weights.
    #[track_caller]
    pub(crate) fn wait_for_weights(&self, proxy: &Proxy, expected: &[(&str, u32)]) {
        let expected: Vec<(String, u32)> =
            expected.iter().map(|&(address, weight)| (address.to_owned(), weight)).collect();
        proxy.wait(&format!("{expected:?}"), |_| (self.weights() == expected).then_some(()));
    }

    /// Who answers a client, outside unless said otherwise.
    pub(crate) fn ask(&self, transport: Transport, to: &str) -> Answer {
        ask(&self.client, transport, to, PATIENCE)
    }

    /// The endpoint that answers the client over TCP.
    #[track_caller]
    pub(crate) fn reached(&self, to: &str) -> String {
        let answer = self.ask(Transport::Tcp, to);
        let Answer::Reached { server, .. } = answer else { panic!("{to}: {answer}\n{:#?}", self.listed()) };
        server
    }
}

/// What comes of a question.
pub(crate) fn ask(client: &Namespace, transport: Transport, to: &str, patience: Duration) -> Answer {
    probe(client, &Probe { transport, to: to.parse().unwrap(), patience }).unwrap()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Address and weight in a line such as `-> 10.244.1.2:8080 Masq 1 0 0`.
fn weight(line: &str) -> Option<(String, u32)> {
    let words: Vec<&str> = line.strip_prefix("-> ")?.split(' ').collect();
    let (address, _port) = words[0].rsplit_once(':')?;
    Some((address.to_owned(), words[2].parse().unwrap()))
}
