//! The Node comes, changes and goes, so does the configuration, and the API server is away for a while: traffic goes on. Real packets: connections that are held
//! open, and clients that make new ones without a pause.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::proxy::{Ours, PATIENCE, Proxy, mode};
use kubeweir_e2e::settle::wait_until_programmed;
use kubeweir_e2e::topology::{Network, POD_PREFIXES, Topology};
use kubeweir_e2e::volume::Volume;
use kubeweir_playground::{Answer, Namespace, Probe, Transport, probe};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A port on which nothing else listens.
const PORT: u16 = 7000;
/// The node's address as its Node has it at first. Nothing is routed through it.
const FIRST: [&str; 2] = ["192.0.2.41", "2001:db8::41"];
const SECOND: [&str; 2] = ["192.0.2.42", "2001:db8::42"];
/// Clients and frontends whose address stays.
const STEADY: [(&str, &str); 6] = [
    ("outside", "203.0.113.90:80"),
    ("outside", "[2001:db8:113::90]:80"),
    ("node-1", "10.96.0.90:80"),
    ("node-1", "[fd00:96::90]:80"),
    ("n1-b", "10.96.0.90:80"),
    ("n1-b", "[fd00:96::90]:80"),
];
/// Those of the Node's first address.
const NODE_PORTS: [(&str, &str); 2] = [("outside", "192.0.2.41:30090"), ("outside", "[2001:db8::41]:30090")];
/// Connections after which nothing is thought to be left of what was before.
const ENOUGH: usize = 8;
/// A client makes a new connection so often: what is over is tracked for two minutes, and room for that has its limits.
const PACE: Duration = Duration::from_millis(5);
/// The last line of a connection. The server closes it, so that the client has its port back.
const LAST: &str = "that is all";

/// A cluster with a Service.
struct World {
    topology: Topology,
    api: StandIn,
    kubeconfig: PathBuf,
    proxy: Proxy,
}

impl World {
    fn new(flags: &[&str], objects: &[Value]) -> World {
        World::with(objects, |node, kubeconfig| start(node, kubeconfig, flags))
    }

    /// With a proxy that is started like this.
    fn with(objects: &[Value], start: impl FnOnce(&Namespace, &Path) -> Proxy) -> World {
        let (topology, api) = (Topology::build(Network::Routed), StandIn::start());
        let node = topology.member("node-1").namespace.clone();
        add_addresses(&node, FIRST);
        for name in ["n1-a", "n2-a"] {
            let member = topology.member(name);
            for address in member.addresses {
                serve(&member.namespace, SocketAddr::new(address, PORT));
            }
        }
        api.replace_all(&text(objects));
        let kubeconfig = api.listen_in(&node);
        let proxy = start(&node, &kubeconfig);
        World { topology, api, kubeconfig, proxy }
    }

    fn node(&self) -> Namespace {
        self.topology.member("node-1").namespace.clone()
    }

    /// Has the API server serve these, and waits until they are programmed.
    fn program(&self, objects: &[Value]) {
        self.api.replace_all(&text(objects));
        wait_until_programmed(self.topology.member("node-1"), &self.proxy, &[], &text(objects));
    }

    fn restart(&mut self) {
        let proxy = start(&self.node(), &self.kubeconfig, &[]);
        drop(std::mem::replace(&mut self.proxy, proxy));
    }

    fn nft(&self, arguments: &[&str]) {
        let mut command = Command::new("nft");
        let status = self.node().run(|| command.args(arguments).status()).unwrap().unwrap();
        assert!(status.success(), "{arguments:?}");
    }

    /// Whatever is sent to the API server from now on is answered by resets.
    fn cut_off(&self) {
        let name = self.kubeconfig.file_stem().unwrap().to_str().unwrap();
        let (_, port) = name.rsplit_once('-').unwrap();
        self.nft(&["add", "table", "inet", "away"]);
        self.nft(&["add", "chain", "inet", "away", "input", "{ type filter hook input priority 0; }"]);
        let refusal = ["tcp", "dport", port, "reject", "with", "tcp", "reset"];
        self.nft(&[&["add", "rule", "inet", "away", "input"], &refusal[..]].concat());
    }

    fn reconnect(&self) {
        self.nft(&["delete", "table", "inet", "away"]);
    }

    fn wait_for_health(&self, code: u16) {
        self.proxy.wait("health", |proxy| (proxy.health("/healthz")?.0 == code).then_some(()));
        assert_eq!(self.proxy.health("/livez").unwrap().0, 200, "that is no reason to be started anew");
    }
}

/// As further addresses, that nobody is masqueraded behind: such connections end with the address, the kernel sees to that.
fn add_addresses(node: &Namespace, addresses: [&str; 2]) {
    for (address, length) in addresses.into_iter().zip([24, 64]) {
        node.address("eth0", ipnet::IpNet::new(address.parse().unwrap(), length).unwrap()).unwrap();
    }
    let address = format!("{}/64", addresses[1]);
    let mut command = Command::new("ip");
    command.args(["-6", "address", "change", &address, "dev", "eth0", "preferred_lft", "0"]);
    assert!(node.run(|| command.status()).unwrap().unwrap().success());
}

fn start(node: &Namespace, kubeconfig: &Path, flags: &[&str]) -> Proxy {
    let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
    let flags = flags.iter().map(|&flag| flag.to_owned()).chain([kubeconfig]).collect();
    Proxy::ours(node, &Ours { flags, name: "node-1" })
}

fn text(objects: &[Value]) -> String {
    objects.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

/// The Node with these addresses.
fn node(addresses: [&str; 2]) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"},
        "status": {"addresses": addresses.map(|address| json!({"type": "InternalIP", "address": address}))}})
}

/// A Service with an endpoint on each node.
fn service(name: &str, last: u16) -> Vec<Value> {
    let ips = [format!("10.96.0.{last}"), format!("fd00:96::{last}")];
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "e2e"},
        "spec": {"type": "NodePort", "clusterIP": ips[0], "clusterIPs": ips,
            "externalIPs": [format!("203.0.113.{last}"), format!("2001:db8:113::{last}")],
            "ports": [{"name": "echo", "port": 80, "protocol": "TCP", "nodePort": 30_000 + last}]}});
    let slice = |kind: &str, addresses: [&str; 2]| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("{name}-{}", kind.to_lowercase()), "namespace": "e2e",
                "labels": {"kubernetes.io/service-name": name}},
            "addressType": kind, "ports": [{"name": "echo", "port": PORT, "protocol": "TCP"}],
            "endpoints": addresses.map(|address| json!({"addresses": [address]}))})
    };
    vec![
        service,
        slice("IPv4", ["10.244.1.2", "10.244.2.2"]),
        slice("IPv6", ["fd00:244:1::2", "fd00:244:2::2"]),
    ]
}

/// A Node with these addresses, and the Service.
fn with_node(addresses: [&str; 2]) -> Vec<Value> {
    [vec![node(addresses)], service("echo", 90)].concat()
}

/// Gives back every line of every connection, for as long as the test runs.
fn serve(namespace: &Namespace, address: SocketAddr) {
    let listener = namespace.run(|| TcpListener::bind(address).unwrap()).unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || give_back(&connection));
        }
    });
}

fn give_back(connection: &TcpStream) {
    for line in BufReader::new(connection).lines().map_while(Result::ok) {
        let mut writer = connection;
        if writeln!(writer, "{line}").is_err() || line == LAST {
            return;
        }
    }
}

/// An open connection.
struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Opened in the thread's network namespace.
    fn open(to: SocketAddr) -> std::io::Result<Connection> {
        let stream = kubeweir_playground::connect(to, Duration::from_secs(10))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Connection(BufReader::new(stream)))
    }

    /// One line there and back.
    fn ask(&mut self, line: &str) -> std::io::Result<()> {
        let mut answer = String::new();
        writeln!(self.0.get_mut(), "{line}")?;
        self.0.read_line(&mut answer)?;
        assert_eq!(answer.trim_end(), line);
        Ok(())
    }

    /// Waits until the other side has closed it.
    fn end(mut self) -> std::io::Result<()> {
        self.ask(LAST)?;
        let rest = self.0.read_line(&mut String::new())?;
        assert_eq!(rest, 0);
        Ok(())
    }
}

/// Clients of some frontends, each with a connection that it holds and others that it makes one after the other.
struct Clients {
    stop: Vec<Sender<()>>,
    told: Vec<(String, Receiver<()>)>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    fn of(world: &World, frontends: &[(&str, &str)]) -> Clients {
        let mut clients = Clients { stop: Vec::new(), told: Vec::new(), threads: Vec::new() };
        for (client, to) in frontends {
            let namespace = world.topology.member(client).namespace.clone();
            let to: SocketAddr = to.parse().unwrap();
            let ((tell, told), (stop, stopped)) = (channel(), channel());
            let work = move || namespace.run(move || talk(to, &stopped, &tell)).unwrap();
            clients.threads.push(std::thread::spawn(work));
            clients.told.push((format!("{client} to {to}"), told));
            clients.stop.push(stop);
        }
        clients
    }

    /// Makes sure that all that was held goes on and that new connections are made, begun after this call.
    fn prove(&self, when: &str) {
        for (name, told) in &self.told {
            while told.try_recv().is_ok() {}
            for _ in 0..ENOUGH {
                told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{when}: {name} has failed"));
            }
        }
    }

    /// Ends them, and whatever failed fails the test.
    fn end(mut self) {
        self.stop.clear();
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// Tells of each time that the held connection and a new one have answered, until told to stop.
fn talk(to: SocketAddr, stopped: &Receiver<()>, tell: &Sender<()>) {
    let mut held = Connection::open(to).unwrap_or_else(|error| panic!("{to}: {error}"));
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(PACE) {
        held.ask("still there").unwrap_or_else(|error| panic!("held open to {to}: {error}"));
        let new = Connection::open(to).and_then(Connection::end);
        new.unwrap_or_else(|error| panic!("new to {to}: {error}"));
        let _ = tell.send(());
    }
}

#[test]
fn traffic_goes_on_while_the_api_server_is_away() {
    let mut objects = with_node(FIRST);
    let mut world = World::new(&[], &objects);
    world.program(&objects);
    let clients = Clients::of(&world, &[&STEADY[..], &NODE_PORTS].concat());
    clients.prove("at first");
    // It answers, but is not ready, and then has forgotten what was.
    world.api.set_unavailable(true);
    world.api.cut();
    world.proxy.wait_for_log("503 Service Unavailable");
    clients.prove("while the API server is unavailable");
    world.api.compact();
    world.api.set_unavailable(false);
    objects.extend(service("more", 91));
    world.program(&objects);
    clients.prove("when it is back");
    // Nobody is there, and the proxy starts without.
    world.cut_off();
    world.api.cut();
    clients.prove("while the API server is gone");
    world.restart();
    world.proxy.wait_for_log("running");
    clients.prove("while a proxy waits for it");
    assert!(!world.proxy.log().contains("synced"), "{}", world.proxy.log());
    world.reconnect();
    world.program(&objects);
    clients.prove("when it is there again");
    clients.end();
}

#[test]
fn traffic_goes_on_when_the_node_is_deleted_comes_back_and_changes_its_address() {
    let objects = with_node(FIRST);
    let world = World::new(&[], &objects);
    world.program(&objects);
    world.wait_for_health(200);
    let clients = Clients::of(&world, &STEADY);
    let node_ports = Clients::of(&world, &NODE_PORTS);
    world.api.delete("nodes", "", "node-1");
    world.wait_for_health(503);
    clients.prove("without a Node");
    node_ports.prove("without a Node");
    // It is registered anew, and its addresses come later.
    world.api.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}));
    world.wait_for_health(200);
    node_ports.prove("with a Node that has no address yet");
    world.program(&objects);
    clients.prove("with the Node again");
    node_ports.prove("with the Node again");
    node_ports.end();
    change_address(&world, &clients);
    clients.end();
}

/// The interface gets another address, then the Node, then the interface loses the first one.
fn change_address(world: &World, clients: &Clients) {
    let node = world.node();
    add_addresses(&node, SECOND);
    clients.prove("with another address of the host");
    world.program(&with_node(SECOND));
    clients.prove("with another address of the Node");
    let moved = Clients::of(world, &[("outside", "192.0.2.42:30090"), ("outside", "[2001:db8::42]:30090")]);
    moved.prove("on the new address");
    for address in FIRST {
        node.delete_address("eth0", address.parse().unwrap()).unwrap();
    }
    clients.prove("without the first address");
    moved.prove("without the first address");
    moved.end();
}

/// As the flags of all the others have it, but for where NodePorts answer.
fn configuration(kubeconfig: &Path, node_ports: &str) -> String {
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: {}\nclusterCIDR: {}\n\
         clientConnection: {{kubeconfig: {}}}\nnodePortAddresses: {node_ports}\nlogging: {{verbosity: 4}}\n",
        mode(),
        POD_PREFIXES.join(","),
        kubeconfig.display()
    )
}

#[test]
fn traffic_goes_on_when_the_configuration_is_removed_wrong_and_another_one() {
    let (objects, volume) = (with_node(FIRST), Volume::empty("config.conf"));
    let world = World::with(&objects, |node, kubeconfig| {
        volume.put(&configuration(kubeconfig, "[primary]"));
        let config = format!("--config={}", volume.file().display());
        Proxy::exactly(node, &[config, "--hostname-override=node-1".to_owned()])
    });
    world.program(&objects);
    let clients = Clients::of(&world, &[&STEADY[..], &NODE_PORTS].concat());
    clients.prove("at first");
    volume.remove();
    world.proxy.wait_for_log("the configuration file cannot be read");
    clients.prove("without a configuration");
    volume.put("mode: [");
    world.proxy.wait_for_log("was not taken over");
    clients.prove("with one that is wrong");
    volume.put(&configuration(&world.kubeconfig, "[192.0.2.41/32, '2001:db8::41/128']"));
    world.proxy.wait_for_log("in force fields=\"nodePortAddresses\"");
    clients.prove("with another one");
    clients.end();
}

/// The Node in a zone, or in none, and the Service with an endpoint for zone `a` on this node and one for `b` on the other.
/// A second port tells which of them answers.
fn in_zone(zone: &str) -> Vec<Value> {
    let mut objects = with_node(FIRST);
    if !zone.is_empty() {
        objects[0]["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": zone});
    }
    objects[1]["spec"]["trafficDistribution"] = "PreferSameZone".into();
    let who = json!({"name": "who", "port": 81, "protocol": "TCP", "nodePort": 30_190});
    objects[1]["spec"]["ports"].as_array_mut().unwrap().push(who);
    for slice in &mut objects[2..] {
        slice["ports"].as_array_mut().unwrap().push(json!({"name": "who", "port": 8080, "protocol": "TCP"}));
        for (endpoint, zone) in slice["endpoints"].as_array_mut().unwrap().iter_mut().zip(["a", "b"]) {
            endpoint["hints"] = json!({"forZones": [{"name": zone}]});
        }
    }
    objects
}

/// Whoever answers a client at a frontend, asked so often that nobody is missed.
fn servers(world: &World, client: &str, to: &str) -> BTreeSet<String> {
    let client = &world.topology.member(client).namespace;
    let question = Probe { transport: Transport::Tcp, to: to.parse().unwrap(), patience: PATIENCE };
    let ask = |_| match probe(client, &question).unwrap() {
        Answer::Reached { server, .. } => server,
        other => panic!("{to}: {other}"),
    };
    (0..4 * ENOUGH).map(ask).collect()
}

#[test]
fn traffic_follows_the_zone_of_the_node_and_what_is_open_goes_on() {
    let world = World::new(&[], &in_zone("a"));
    world.program(&in_zone("a"));
    let clients = Clients::of(&world, &STEADY);
    for (zone, expected) in [
        ("a", &["n1-a"][..]),
        ("b", &["n2-a"]),
        // No endpoint is for that one.
        ("c", &["n1-a", "n2-a"]),
        ("a", &["n1-a"]),
        ("", &["n1-a", "n2-a"]),
        ("b", &["n2-a"]),
    ] {
        world.program(&in_zone(zone));
        for (client, to) in STEADY {
            let to = to.strip_suffix('0').unwrap().to_owned() + "1";
            assert!(servers(&world, client, &to).iter().eq(expected), "{client} to {to}, zone {zone:?}");
        }
        clients.prove(zone);
    }
    clients.end();
}

#[test]
fn a_node_that_comes_late_is_not_waited_for() {
    let world = World::new(&[], &service("echo", 90));
    world.proxy.wait_for_log("synced everything");
    world.wait_for_health(503);
    // Where the node's own addresses are is not known, so NodePorts answer everywhere.
    let clients = Clients::of(&world, &[&STEADY[..], &NODE_PORTS].concat());
    clients.prove("without a Node");
    world.program(&with_node(FIRST));
    world.wait_for_health(200);
    clients.prove("with the Node");
    clients.end();
}

#[test]
fn pod_prefixes_are_waited_for_and_nobody_is_masqueraded_by_mistake() {
    let mut objects = with_node(["192.0.2.1", "2001:db8::1"]);
    for (slice, address) in objects[2..].iter_mut().zip(["10.244.1.2", "fd00:244:1::2"]) {
        slice["ports"][0]["port"] = 8080.into();
        slice["endpoints"] = json!([{"addresses": [address]}]);
    }
    let world = World::new(&["--detect-local-mode=NodeCIDR"], &objects);
    world.proxy.wait_for_log("the Node has no podCIDRs yet");
    world.proxy.wait_for_log("synced everything");
    world.wait_for_health(503);
    let outside = world.topology.member("outside");
    let seen_as = |to: &str| {
        let question =
            Probe { transport: Transport::Tcp, to: to.parse().unwrap(), patience: Duration::from_secs(5) };
        match probe(&outside.namespace, &question).unwrap() {
            Answer::Reached { seen_as, .. } => seen_as,
            other => panic!("{to}: {other}"),
        }
    };
    let frontends = ["10.96.0.90:80", "[fd00:96::90]:80"];
    for (to, client) in frontends.into_iter().zip(outside.addresses) {
        // Whoever is not known to be no pod keeps its address, in case it is one.
        assert_eq!(seen_as(to), client);
    }
    let before = world.proxy.id();
    objects[0]["spec"]["podCIDRs"] = json!(["10.244.1.0/24", "fd00:244:1::/64"]);
    objects[0]["spec"]["podCIDR"] = json!("10.244.1.0/24");
    world.api.replace_all(&text(&objects));
    world.wait_for_health(200);
    let changed =
        |to: &str, client| world.proxy.wait("masquerading", |_| (seen_as(to) != client).then_some(()));
    for (to, client) in frontends.into_iter().zip(outside.addresses) {
        changed(to, client);
    }
    assert_eq!(world.proxy.id(), before, "and all that by one process");
}

#[test]
fn a_host_without_ipv6_is_served_over_ipv4() {
    let (node, manifests) = (Namespace::new("node").unwrap(), TempDir::new().unwrap());
    node.sysctl("ipv6/conf/all/disable_ipv6", "1").unwrap();
    std::fs::write(manifests.path().join("all.yaml"), text(&with_node(FIRST))).unwrap();
    let flags = vec![format!("--manifests={}", manifests.path().display())];
    let proxy = Proxy::ours(&node, &Ours { flags, name: "node-1" });
    proxy.wait_for_log("synced everything");
    proxy.wait("health", |proxy| (proxy.health("/healthz")?.0 == 200).then_some(()));
    assert_eq!(proxy.count("kubeproxy_sync_proxy_rules_nftables_sync_failures_total"), 0);
    let output = node.run(|| Command::new("nft").args(["list", "tables"]).output()).unwrap().unwrap();
    let tables = String::from_utf8(output.stdout).unwrap();
    // Both: what is in the one of IPv6 is in force should IPv6 be switched on.
    let name = if mode() == "ipvs" { "kubeweir-ipvs" } else { "kubeweir" };
    for family in ["ip", "ip6"] {
        assert!(tables.contains(&format!("table {family} {name}\n")), "{tables}");
    }
    let log = proxy.log();
    assert!(!log.contains("ERROR") && !log.contains("will be retried"), "{log}");
}
