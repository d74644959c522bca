//! One mode takes over from the other, and `--cleanup`, with IPVS. Run by `tests/guest.rs` in each guest.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use kubeweir_e2e::proxy::{Ours, PATIENCE, Proxy, program};
use kubeweir_e2e::topology::{Member, Network, Topology};
use kubeweir_playground::Namespace;
use serde_json::{Value, json};
use tempfile::TempDir;

/// By an address of its own, by one of the node's, by marks.
const FOREIGN: &str = "-A -t 192.0.2.1:8443 -s rr
-a -t 192.0.2.1:8443 -r 172.31.0.3:8443 -g -w 1
-A -t 203.0.113.99:80 -s wlc
-a -t 203.0.113.99:80 -r 172.31.0.2:80 -m -w 5
-A -f 7 -s rr
-A -f 8 -6 -s sh
";
/// A port on which nothing but an echo listens.
const ECHO: u16 = 7000;
/// New connections that must have gone well after each switch, by each client.
const ENOUGH: usize = 20;
/// Each client has so many ports, from this one on.
const PORTS: u16 = 8000;
const FIRST_PORT: u16 = 10_000;
/// Between a client's connections, which the ports are to last for.
const BETWEEN: Duration = Duration::from_millis(20);
/// Clients and frontends of `all`, a Service with an endpoint on each node, and of `local`, which has one here.
const CONNECTIONS: [(&str, &str); 6] = [
    ("outside", "192.0.2.1:30090"),
    ("outside", "[2001:db8:113::90]:80"),
    ("n1-a", "10.96.0.90:80"),
    ("n1-b", "[fd00:96::90]:80"),
    ("outside", "192.0.2.1:30091"),
    ("outside", "203.0.113.91:80"),
];

struct World {
    topology: Topology,
    manifests: TempDir,
}

impl World {
    /// A cluster whose Services have endpoints at this port.
    fn new(port: u16) -> World {
        let world = World { topology: Topology::build(Network::Routed), manifests: TempDir::new().unwrap() };
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"},
                {"type": "InternalIP", "address": "2001:db8::1"}]}});
        let mut objects = vec![node];
        for (name, last, policy) in [("all", 90, "Cluster"), ("local", 91, "Local")] {
            objects.push(service(name, last, policy));
            objects.extend(
                [(0, "IPv4"), (1, "IPv6")].map(|(family, kind)| world.slice(name, family, kind, port)),
            );
        }
        let text: Vec<String> = objects.iter().map(Value::to_string).collect();
        std::fs::write(world.manifests.path().join("all.yaml"), text.join("\n---\n")).unwrap();
        world
    }

    fn slice(&self, service: &str, family: usize, kind: &str, port: u16) -> Value {
        let endpoints = ["n1-a", "n2-a"].map(|name| {
            let member = self.topology.member(name);
            json!({"addresses": [member.addresses[family]], "nodeName": format!("node-{}", member.node.unwrap())})
        });
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("{service}-{family}"), "namespace": "e2e",
                "labels": {"kubernetes.io/service-name": service}},
            "addressType": kind, "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
            "endpoints": endpoints})
    }

    fn node(&self) -> &Member {
        self.topology.member("node-1")
    }

    /// The daemon in this mode, once nothing of the other one is left.
    fn start(&self, mode: &str) -> Proxy {
        let flags =
            [format!("--manifests={}", self.manifests.path().display()), format!("--proxy-mode={mode}")];
        let proxy = Proxy::ours(&self.node().namespace, &Ours { flags: flags.into(), name: "node-1" });
        proxy.wait_for_log("synced everything");
        proxy
    }

    /// The daemon in this mode, once it has removed the table of the other one.
    fn take_over(&self, mode: &str) -> Proxy {
        let proxy = self.start(mode);
        has_taken_over(&proxy, mode);
        proxy
    }

    #[track_caller]
    fn run(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = run(&self.node().namespace, Command::new(words[0]).args(&words[1..]));
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn put_foreign(&self) {
        for line in FOREIGN.lines() {
            self.run(&format!("ipvsadm {line}"));
        }
        for family in ["ip", "ip6"] {
            self.run(&format!("nft add table {family} somebody-else"));
            self.run(&format!("nft add chain {family} somebody-else kept"));
        }
    }

    /// Virtual servers as `ipvsadm` saves them, in some order.
    fn servers(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.run("ipvsadm -S -n").lines().map(|line| line.trim().to_owned()).collect();
        lines.sort();
        lines
    }

    /// Nothing but what others made, and this table.
    #[track_caller]
    fn is_all_there_is(&self, table: Option<&str>) {
        assert_eq!(self.servers(), foreign());
        let device = run(&self.node().namespace, Command::new("ip").args(["link", "show", "kube-ipvs0"]));
        assert!(!device.status.success(), "{}", text(&device.stdout));
        let names = ["somebody-else"].into_iter().chain(table);
        let mut expected: Vec<String> =
            names.flat_map(|name| ["ip", "ip6"].map(|family| format!("table {family} {name}"))).collect();
        expected.sort();
        assert_eq!(self.tables(), expected);
    }

    /// Whether the table beside virtual servers has no rules any more that keep others from translating.
    fn has_released(&self) -> bool {
        let chains =
            ["ip", "ip6"].map(|family| self.run(&format!("nft list chain {family} kubeweir-ipvs services")));
        let is_rule =
            |line: &str| !["table ", "chain ", "type ", "}"].iter().any(|word| line.starts_with(word));
        chains.iter().all(|chain| !chain.lines().any(|line| is_rule(line.trim())))
    }

    fn tables(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.run("nft list tables").lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

fn has_taken_over(proxy: &Proxy, mode: &str) {
    let table = if mode == "ipvs" { "kubeweir" } else { "kubeweir-ipvs" };
    // The end of the line too.
    proxy.wait(table, |proxy| {
        let line = format!("removed what another mode has left: table ip6 {table}");
        proxy.log().lines().any(|text| text.ends_with(&line)).then_some(())
    });
}

fn foreign() -> Vec<String> {
    let mut lines: Vec<String> = FOREIGN.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn service(name: &str, last: u16, policy: &str) -> Value {
    let ips = [format!("10.96.0.{last}"), format!("fd00:96::{last}")];
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "e2e"},
        "spec": {"type": "NodePort", "clusterIP": ips[0], "clusterIPs": ips,
            "externalIPs": [format!("203.0.113.{last}"), format!("2001:db8:113::{last}")],
            "externalTrafficPolicy": policy,
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30_000 + last}]}})
}

fn run(node: &Namespace, command: &mut Command) -> Output {
    let child = node.start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    child.unwrap().wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
#[ignore = "runs in a guest kernel"]
fn what_others_made_survives_every_switch_and_cleanup_and_nothing_of_ours_does() {
    let world = World::new(8080);
    world.put_foreign();
    drop(world.start("ipvs"));
    let mine = |world: &World| {
        let all = world.servers();
        assert!(foreign().iter().all(|line| all.contains(line)), "{all:#?}");
        all.len() - foreign().len()
    };
    let servers = mine(&world);
    assert!(servers > 0 && world.run("ip address show kube-ipvs0").contains("10.96.0.90/32"));
    drop(world.take_over("nftables"));
    world.is_all_there_is(Some("kubeweir"));
    drop(world.take_over("ipvs"));
    assert_eq!(mine(&world), servers);
    assert!(!world.tables().contains(&"table ip kubeweir".to_owned()));
    let output = run(&world.node().namespace, Command::new(program()).arg("--cleanup"));
    let said = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{said}");
    assert!(
        said.contains("removed device kube-ipvs0") && said.contains("removed table ip6 kubeweir-ipvs"),
        "{said}"
    );
    assert!(said.contains("left, not ours: virtual server TCP 192.0.2.1:8443"), "{said}");
    world.is_all_there_is(None);
}

#[test]
#[ignore = "runs in a guest kernel"]
fn cleanup_removes_what_kube_proxy_left_but_not_what_is_excluded() {
    let world = World::new(8080);
    world.put_foreign();
    world.run("ip link add kube-ipvs0 type dummy");
    for (address, port) in [("10.96.0.1", 443), ("10.97.0.1", 80)] {
        world.run(&format!("ip address add {address}/32 dev kube-ipvs0"));
        world.run(&format!("ipvsadm -A -t {address}:{port} -s rr"));
    }
    world.run("nft add table ip kube-proxy");
    let excluding = ["--cleanup", "--ipvs-exclude-cidrs=10.97.0.0/16"];
    let output = run(&world.node().namespace, Command::new(program()).args(excluding));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("left, not ours: virtual server TCP 10.97.0.1:80"));
    let mut left = foreign();
    left.push("-A -t 10.97.0.1:80 -s rr".to_owned());
    left.sort();
    assert_eq!(world.servers(), left);
    world.run("ipvsadm -D -t 10.97.0.1:80");
    world.is_all_there_is(None);
}

/// Clients that make one connection after the other and tell of each, until they are told to stop.
struct Clients<'a> {
    go_on: &'a AtomicBool,
    reached: Vec<Receiver<String>>,
}

impl Clients<'_> {
    /// Waits for connections that began after this call.
    fn go_on_well(&self) {
        for (reached, (client, to)) in self.reached.iter().zip(CONNECTIONS) {
            while reached.try_recv().is_ok() {}
            for _ in 0..ENOUGH {
                reached.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{client} to {to} has failed"));
            }
        }
    }
}

impl Drop for Clients<'_> {
    fn drop(&mut self) {
        self.go_on.store(false, Ordering::Relaxed);
    }
}

/// Makes one connection after the other, each from a port that none had before: a connection may end with its port's last one through a
/// virtual server (README, limits).
fn connect(number: u16, client: &Namespace, go_on: &AtomicBool, reached: &Sender<String>) {
    let (name, to) = CONNECTIONS[usize::from(number)];
    let to: SocketAddr = to.parse().unwrap();
    let first = FIRST_PORT + number * PORTS;
    let work = || {
        let mut ports = first..first + PORTS;
        while go_on.load(Ordering::Relaxed) {
            let port = ports.next().unwrap_or_else(|| panic!("{name} has used all ports"));
            let server = ask(port, to).unwrap_or_else(|error| panic!("{name}:{port} to {to}: {error}"));
            drop(reached.send(server));
            std::thread::park_timeout(BETWEEN);
        }
    };
    client.run(work).unwrap();
}

/// What the server says before it closes.
fn ask(port: u16, to: SocketAddr) -> std::io::Result<String> {
    let mut stream = kubeweir_playground::connect_from(port, to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    std::io::read_to_string(&mut stream)
}

#[test]
#[ignore = "runs in a guest kernel"]
fn no_new_connection_fails_while_modes_take_over_from_each_other() {
    let world = World::new(8080);
    let mut proxy = world.start("ipvs");
    let go_on = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let mut clients = Clients { go_on: &go_on, reached: Vec::new() };
        for (number, (client, _)) in (0..).zip(CONNECTIONS) {
            let (sender, receiver) = channel();
            let (client, go_on) = (world.topology.member(client).namespace.clone(), &go_on);
            scope.spawn(move || connect(number, &client, go_on, &sender));
            clients.reached.push(receiver);
        }
        clients.go_on_well();
        for mode in ["nftables", "ipvs", "nftables"] {
            drop(proxy);
            proxy = world.take_over(mode);
            clients.go_on_well();
        }
    });
}

/// Sends back what it gets, for as long as the test lasts.
fn echo(member: &Member) {
    for address in member.addresses {
        let listen = move || TcpListener::bind((address, ECHO)).unwrap();
        let listener = member.namespace.run(listen).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
            }
        });
    }
}

/// An established connection.
struct Talk {
    name: String,
    stream: TcpStream,
}

impl Talk {
    fn begin(client: &Member, to: &str) -> Talk {
        let name = format!("{} to {to}", client.name);
        let to: SocketAddr = to.parse().unwrap();
        let stream = client.namespace.run(|| kubeweir_playground::connect(to, PATIENCE)).unwrap();
        let mut talk = Talk { name, stream: stream.unwrap() };
        assert!(talk.goes_on(PATIENCE), "{} never began", talk.name);
        talk
    }

    fn goes_on(&mut self, patience: Duration) -> bool {
        self.next(patience).is_ok()
    }

    fn next(&mut self, patience: Duration) -> Result<(), ErrorKind> {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        let mut answer = [0];
        let next = self.stream.write_all(b"?").and_then(|()| self.stream.read_exact(&mut answer));
        next.map_err(|error| error.kind())
    }
}

#[test]
#[ignore = "runs in a guest kernel"]
fn what_tables_translated_goes_on_and_what_virtual_servers_carried_does_not_hang() {
    let world = World::new(ECHO);
    for name in ["n1-a", "n2-a"] {
        echo(world.topology.member(name));
    }
    let begin = |(client, to): (&str, &str)| Talk::begin(world.topology.member(client), to);
    drop(world.start("nftables"));
    let mut talks: Vec<Talk> =
        CONNECTIONS.into_iter().chain([("node-1", "10.96.0.90:80")]).map(begin).collect();
    let ipvs = world.take_over("ipvs");
    for talk in &mut talks {
        assert!(talk.goes_on(PATIENCE), "{} has ended", talk.name);
    }
    drop(ipvs);
    // Under policy Local outsiders are translated by the table in either mode.
    let mut local = CONNECTIONS[4..].iter().copied().map(begin).collect::<Vec<_>>();
    let mut carried = CONNECTIONS[..4].iter().copied().map(begin).collect::<Vec<_>>();
    let tables = world.start("nftables");
    tables.wait("virtual servers translate nothing new", |_| world.has_released().then_some(()));
    talks.extend(CONNECTIONS.into_iter().map(begin));
    assert!(!world.servers().is_empty(), "these were made when virtual servers had gone");
    has_taken_over(&tables, "nftables");
    for talk in local.iter_mut().chain(&mut talks) {
        assert!(talk.goes_on(PATIENCE), "{} has ended", talk.name);
    }
    // What no table knows is taken for new: another endpoint resets it, and the same one, if chance has it, goes on.
    for talk in &mut carried {
        let next = talk.next(PATIENCE);
        assert!(matches!(next, Ok(()) | Err(ErrorKind::ConnectionReset)), "{}: {next:?}", talk.name);
    }
    // Whoever makes a new connection is served, the node itself too.
    for connection in CONNECTIONS.into_iter().chain([("node-1", "10.96.0.90:80")]) {
        begin(connection);
    }
}
