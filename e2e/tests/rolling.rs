//! Endpoints are replaced one by one, and all at once, while clients connect without a pause: no connection may fail.
//!
//! The server of an endpoint begins before the endpoint is ready and ends once nobody is sent there, as that of a pod that is
//! given the time. A connection to one that is not there yet, or not any more, is refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::proxy::{PATIENCE, Proxy};
use kubeweir_e2e::settle::wait_until_programmed;
use kubeweir_e2e::topology::{Network, Topology};
use kubeweir_playground::{Answer, Namespace, Probe, Server, Transport};
use serde_json::{Value, json};

/// A port on which nothing else listens.
const PORT: u16 = 7000;
/// Clients and frontends: the second half is under policy Local.
const CONNECTIONS: [(&str, &str); 8] = [
    ("outside", "192.0.2.1:30090"),
    ("outside", "[2001:db8::1]:30090"),
    ("node-1", "10.96.0.90:80"),
    ("n1-a", "[fd00:96::90]:80"),
    ("outside", "192.0.2.1:30091"),
    ("outside", "[2001:db8:113::91]:80"),
    ("outside", "203.0.113.91:80"),
    ("n1-b", "10.96.0.91:80"),
];
/// Connections after which nobody can be thought to be still in the list: one of two is missed by eight once in 256 times, by
/// all eight clients hardly ever.
const ENOUGH: usize = 8;
/// Replacements one by one, so that both nodes always have an endpoint: who goes, who comes.
const ROLLING: [(&str, &str); 6] = [
    ("n1-a", "n1-b"),
    ("n2-a", "n2-b"),
    ("n1-b", "n1-a"),
    ("n2-b", "n2-a"),
    ("n1-a", "n1-b"),
    ("n2-a", "n2-b"),
];

/// Conditions of an endpoint.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Starting,
    Ready,
    Leaving,
}

/// A cluster whose endpoints come and go.
struct World {
    topology: Topology,
    api: StandIn,
    proxy: Proxy,
    endpoints: BTreeMap<&'static str, State>,
    servers: BTreeMap<&'static str, Server>,
}

impl World {
    fn new(endpoints: &[&'static str]) -> World {
        let (topology, api) = (Topology::build(Network::Routed), StandIn::start());
        let node = topology.member("node-1").namespace.clone();
        let proxy = Proxy::under_test(&node, "node-1", &api.listen_in(&node), &[]);
        let mut world = World { topology, api, proxy, endpoints: BTreeMap::new(), servers: BTreeMap::new() };
        for endpoint in endpoints {
            world.serve(endpoint);
            world.endpoints.insert(endpoint, State::Ready);
        }
        world.program();
        world
    }

    fn serve(&mut self, name: &'static str) {
        let member = self.topology.member(name);
        let server = Server::start(&member.namespace, name, &member.addresses, &[PORT]).unwrap();
        self.servers.insert(name, server);
    }

    fn set(&mut self, states: impl IntoIterator<Item = (&'static str, State)>) {
        self.endpoints.extend(states);
        self.program();
    }

    fn remove(&mut self, names: &[&'static str]) {
        self.endpoints.retain(|name, _| !names.contains(name));
        self.program();
    }

    /// Puts the objects in place and waits until they are programmed.
    fn program(&self) {
        let objects = self.objects();
        self.api.replace_all(&objects);
        wait_until_programmed(self.topology.member("node-1"), &self.proxy, &[], &objects);
    }

    fn objects(&self) -> String {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"},
                {"type": "InternalIP", "address": "2001:db8::1"}]}});
        let services = [("cluster", 90, "Cluster"), ("local", 91, "Local")];
        let services = services.into_iter().flat_map(|(name, last, policy)| {
            let slices = [(0, "IPv4"), (1, "IPv6")].map(|(family, kind)| self.slice(name, family, kind));
            std::iter::once(service(name, last, policy)).chain(slices)
        });
        let objects: Vec<String> =
            std::iter::once(node).chain(services).map(|object| object.to_string()).collect();
        objects.join("\n---\n")
    }

    fn slice(&self, service: &str, family: usize, kind: &str) -> Value {
        let endpoints = self.endpoints.iter().map(|(name, state)| {
            let member = self.topology.member(name);
            let (ready, serving) = (*state == State::Ready, *state != State::Starting);
            json!({"addresses": [member.addresses[family]], "nodeName": format!("node-{}", member.node.unwrap()),
                "conditions": {"ready": ready, "serving": serving, "terminating": *state == State::Leaving}})
        });
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("{service}-{family}"), "namespace": "e2e",
                "labels": {"kubernetes.io/service-name": service}},
            "addressType": kind, "ports": [{"name": "http", "port": PORT, "protocol": "TCP"}],
            "endpoints": endpoints.collect::<Vec<_>>()})
    }
}

/// A Service under this traffic policy, for clients inside and outside.
fn service(name: &str, last: u16, policy: &str) -> Value {
    let ips = [format!("10.96.0.{last}"), format!("fd00:96::{last}")];
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "e2e"},
        "spec": {"type": "NodePort", "clusterIP": ips[0], "clusterIPs": ips,
            "externalIPs": [format!("203.0.113.{last}"), format!("2001:db8:113::{last}")],
            "externalTrafficPolicy": policy, "internalTrafficPolicy": policy,
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30_000 + last}]}})
}

/// Clients that make one connection after the other and tell of each, until they are told to stop.
struct Clients<'a> {
    go_on: &'a AtomicBool,
    reached: Vec<Receiver<String>>,
}

impl Clients<'_> {
    /// Waits for connections that began after this call, and makes sure that none reached one of these.
    fn leave(&self, gone: &[&str]) {
        for (reached, (client, to)) in self.reached.iter().zip(CONNECTIONS) {
            let next =
                || reached.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{client} to {to} has failed"));
            // All that are over, and the one that is under way.
            while reached.try_recv().is_ok() {}
            next();
            for server in (0..ENOUGH).map(|_| next()) {
                assert!(!gone.contains(&server.as_str()), "{client} to {to} still reaches {server}");
            }
        }
    }
}

impl Drop for Clients<'_> {
    fn drop(&mut self) {
        self.go_on.store(false, Ordering::Relaxed);
    }
}

fn connect(client: &Namespace, to: &str, go_on: &AtomicBool, reached: &Sender<String>) {
    let to: SocketAddr = to.parse().unwrap();
    let question = Probe { transport: Transport::Tcp, to, patience: Duration::from_secs(5) };
    let work = || {
        while go_on.load(Ordering::Relaxed) {
            match question.send() {
                Answer::Reached { server, .. } => drop(reached.send(server)),
                other => panic!("{} to {to}: {other}", client.name()),
            }
        }
    };
    client.run(work).unwrap();
}

/// Those who come are there before those who go begin to leave, and these serve until nobody is sent to them.
fn replace(world: &mut World, clients: &Clients<'_>, old: &[&'static str], new: &[&'static str]) {
    world.set(new.iter().map(|name| (*name, State::Starting)));
    for name in new {
        world.serve(name);
    }
    let leaving = old.iter().map(|name| (*name, State::Leaving));
    world.set(leaving.chain(new.iter().map(|name| (*name, State::Ready))));
    clients.leave(old);
    world.remove(old);
    for name in old {
        world.servers.remove(name);
    }
    clients.leave(old);
}

#[test]
fn no_connection_fails_while_endpoints_are_replaced() {
    let mut world = World::new(&["n1-a", "n2-a"]);
    let go_on = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let mut clients = Clients { go_on: &go_on, reached: Vec::new() };
        for (client, to) in CONNECTIONS {
            let (sender, receiver) = channel();
            let (client, go_on) = (world.topology.member(client).namespace.clone(), &go_on);
            scope.spawn(move || connect(&client, to, go_on, &sender));
            clients.reached.push(receiver);
        }
        for (old, new) in ROLLING {
            replace(&mut world, &clients, &[old], &[new]);
        }
        // Blue and green: all others at once.
        replace(&mut world, &clients, &["n1-b", "n2-b"], &["n1-a", "n2-a"]);
    });
}
