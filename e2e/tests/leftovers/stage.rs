//! A cluster whose first node has what kube-proxy left, and the programs that tell.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use kubeweir_e2e::generate;
use kubeweir_e2e::proxy::{Ours, PATIENCE, Proxy, program};
use kubeweir_e2e::topology::{Member, Network, Topology};
use kubeweir_playground::{Answer, Namespace, Probe, Transport};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::rules::{KINDS, Kind, PORTS, others};

/// A port on which nothing but an echo listens.
const ECHO: u16 = 7000;
/// By the Service's address and by its NodePort, from outside, from a pod and from the node itself.
pub(crate) const CONNECTIONS: [(&str, &str, &str); 8] = [
    ("outside", "10.96.0.90:80", "10.96.0.90:81"),
    ("outside", "[fd00:96::90]:80", "[fd00:96::90]:81"),
    ("outside", "192.0.2.1:30090", "192.0.2.1:30091"),
    ("outside", "[2001:db8::1]:30090", "[2001:db8::1]:30091"),
    ("n1-b", "10.96.0.90:80", "10.96.0.90:81"),
    ("n1-b", "[fd00:96::90]:80", "[fd00:96::90]:81"),
    ("node-1", "10.96.0.90:80", "10.96.0.90:81"),
    ("node-1", "[fd00:96::90]:80", "[fd00:96::90]:81"),
];

/// A node, with nothing around it.
pub(crate) struct Node(pub(crate) Namespace);

impl Node {
    pub(crate) fn new() -> Node {
        Node(Namespace::new("node").unwrap())
    }

    pub(crate) fn run(&self, command: &mut Command) -> Output {
        let child = self.0.start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
        child.unwrap().wait_with_output().unwrap()
    }

    #[track_caller]
    pub(crate) fn told(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = self.run(Command::new(words[0]).args(&words[1..]));
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Has a program read this.
    #[track_caller]
    pub(crate) fn feed(&self, line: &str, input: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.0.start(&mut command).unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{line}: {}\n{input}", text(&output.stderr));
    }

    /// Puts what others make in place, then what kube-proxy does, and returns all rules as they were in between.
    pub(crate) fn put(&self, of_kube_proxy: impl Fn(&Kind) -> String) -> String {
        for kind in &KINDS {
            self.feed(&format!("{}-restore --noflush", kind.program), &others(kind));
        }
        let before = self.saved();
        for kind in &KINDS {
            self.feed(&format!("{}-restore --noflush", kind.program), &of_kube_proxy(kind));
        }
        // Tables that kube-proxy was the first to use stay, empty.
        assert_ne!(self.saved(), before);
        before
    }

    /// All rules of both families, without counters and dates.
    pub(crate) fn saved(&self) -> String {
        let saved = KINDS.iter().map(|kind| self.told(&format!("{}-save", kind.program))).collect::<String>();
        let lines = saved.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split(" [").next().unwrap().to_owned() + "\n").collect()
    }

    /// Exit code, output and complaints.
    pub(crate) fn cleanup(&self) -> (Option<i32>, String, String) {
        let output = self.run(Command::new(program()).arg("--cleanup"));
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) struct Stage {
    pub(crate) topology: Topology,
    pub(crate) node: Node,
    manifests: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        let topology = Topology::build(Network::Routed);
        for name in ["n1-a", "n2-a"] {
            echo(topology.member(name));
        }
        let node = Node(topology.member("node-1").namespace.clone());
        let stage = Stage { topology, node, manifests: TempDir::new().unwrap() };
        generate::put(stage.manifests.path(), "all.json", &objects().to_string());
        stage
    }

    /// The daemon on the node, once everything is programmed.
    pub(crate) fn start(&self, flags: &[&str]) -> Proxy {
        let mut flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        flags.push(format!("--manifests={}", self.manifests.path().display()));
        let proxy = Proxy::ours(&self.node.0, &Ours { flags, name: "node-1" });
        proxy.wait_for_log("synced everything");
        proxy
    }

    #[track_caller]
    pub(crate) fn is_reached(&self, client: &str, to: &str) {
        let client = &self.topology.member(client).namespace;
        let probe = Probe { transport: Transport::Tcp, to: to.parse().unwrap(), patience: PATIENCE };
        let answer = client.run(|| probe.send()).unwrap();
        assert!(matches!(answer, Answer::Reached { .. }), "{} to {to}: {answer}", client.name());
    }
}

fn objects() -> Value {
    let ips: Vec<&str> = KINDS.iter().map(|kind| kind.service).collect();
    let ports = PORTS.map(|(name, port, _, node_port)| {
        json!({"name": name, "port": port, "protocol": "TCP", "nodePort": node_port})
    });
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"},
            {"type": "InternalIP", "address": "2001:db8::1"}]}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "all", "namespace": "e2e"},
        "spec": {"type": "NodePort", "clusterIP": ips[0], "clusterIPs": ips, "ports": ports}});
    let slices = KINDS.iter().zip(["IPv4", "IPv6"]).map(|(kind, family)| {
        let endpoints: Vec<Value> = kind
            .endpoints
            .iter()
            .zip(1..)
            .map(|(address, node)| json!({"addresses": [address], "nodeName": format!("node-{node}")}))
            .collect();
        let ports =
            PORTS.map(|(name, _, target, _)| json!({"name": name, "port": target, "protocol": "TCP"}));
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("all-{family}").to_lowercase(), "namespace": "e2e",
                "labels": {"kubernetes.io/service-name": "all"}},
            "addressType": family, "ports": ports, "endpoints": endpoints})
    });
    let items: Vec<Value> = [node, service].into_iter().chain(slices).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items})
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
pub(crate) struct Talk {
    name: String,
    stream: TcpStream,
}

impl Talk {
    pub(crate) fn begin(client: &Member, to: &str) -> Talk {
        let name = format!("{} to {to}", client.name);
        let to: SocketAddr = to.parse().unwrap();
        let connect = || kubeweir_playground::connect(to, Duration::from_secs(20));
        let stream = client.namespace.run(connect).unwrap();
        let mut talk = Talk { stream: stream.unwrap_or_else(|error| panic!("{name}: {error}")), name };
        talk.goes_on();
        talk
    }

    #[track_caller]
    pub(crate) fn goes_on(&mut self) {
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = [0];
        let next = self.stream.write_all(b"?").and_then(|()| self.stream.read_exact(&mut answer));
        next.unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }
}
