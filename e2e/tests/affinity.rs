//! Session affinity with real packets, a real kernel and the real daemon: what a table of single packets cannot say.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::Duration;

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::proxy::Proxy;
use kubeweir_e2e::settle::wait_until_programmed;
use kubeweir_e2e::topology::{Member, Network, Topology};
use kubeweir_playground::{Answer, Probe, Transport, probe};

const PODS: [&str; 4] = ["n1-a", "n1-b", "n2-a", "n2-b"];
const AGAIN: usize = 8;

struct Cluster {
    topology: Topology,
    api: StandIn,
    proxy: Option<Proxy>,
    objects: String,
}

impl Cluster {
    fn start(seconds: u32) -> Cluster {
        let topology = Topology::build(Network::Routed);
        let objects = objects(&topology, seconds, &PODS);
        let mut cluster = Cluster { topology, api: StandIn::start(), proxy: None, objects };
        cluster.api.replace_all(&cluster.objects);
        cluster.restart();
        cluster
    }

    fn node(&self) -> &Member {
        self.topology.member("node-1")
    }

    /// Starts the daemon, after killing the one that runs.
    fn restart(&mut self) {
        drop(self.proxy.take());
        let kubeconfig = self.api.listen_in(&self.node().namespace);
        self.proxy = Some(Proxy::under_test(&self.node().namespace, "node-1", &kubeconfig, &[]));
        self.settle();
    }

    fn endpoints(&mut self, seconds: u32, pods: &[&str]) {
        self.objects = objects(&self.topology, seconds, pods);
        self.api.replace_all(&self.objects);
        self.settle();
    }

    fn settle(&self) {
        wait_until_programmed(self.node(), self.proxy.as_ref().unwrap(), &[], &self.objects);
    }

    /// Who answers the client.
    fn reach(&self, client: &str, transport: Transport, to: SocketAddr) -> String {
        let question = Probe { transport, to, patience: Duration::from_secs(5) };
        match probe(&self.topology.member(client).namespace, &question).unwrap() {
            Answer::Reached { server, .. } => server,
            other => panic!("{client} to {to}: {other}"),
        }
    }

    fn assert_keeps(&self, client: &str, to: SocketAddr, server: &str) {
        for _ in 0..AGAIN {
            assert_eq!(self.reach(client, Transport::Tcp, to), server, "{client} to {to}");
        }
    }

    /// What `nft` lists of the memory for the Service's own addresses.
    fn memory(&self) -> String {
        let families = ["ip", "ip6"].map(|family| {
            let mut nft = Command::new("nft");
            nft.args(["list", "map", family, "kubeweir", "service-affinity"]).stdout(Stdio::piped());
            let output = self.node().namespace.start(&mut nft).unwrap().wait_with_output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        });
        families.concat()
    }

    /// Seconds until the client is forgotten, as `nft` lists them: `… timeout 3h expires 2h59m58s996ms : …`.
    fn remaining(&self, client: IpAddr) -> Option<Duration> {
        let memory = self.memory();
        let entry = memory.split([',', '{']).find(|entry| entry.trim().starts_with(&format!("{client} ")))?;
        let text = entry.split("expires ").nth(1)?.split_whitespace().next()?;
        Some(duration(text))
    }
}

fn duration(text: &str) -> Duration {
    let (mut total, mut number) = (Duration::ZERO, 0);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(digit) = first.to_digit(10) {
            (number, rest) = (number * 10 + digit, &rest[1..]);
            continue;
        }
        let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let (unit, millis) = units.into_iter().find(|(unit, _)| rest.starts_with(unit)).unwrap();
        total += Duration::from_millis(millis) * number;
        (number, rest) = (0, &rest[unit.len()..]);
    }
    total
}

fn objects(topology: &Topology, seconds: u32, pods: &[&str]) -> String {
    let slice = |family: usize, kind: &str| {
        let mut text = format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: sticky-{kind}, namespace: e2e, labels: {{kubernetes.io/service-name: sticky}}}}\n\
             addressType: {kind}\nports: [{{name: http, port: 8080}}, {{name: dns, port: 8053, protocol: UDP}}]\nendpoints:\n"
        );
        for pod in pods {
            let (address, node) = (topology.member(pod).addresses[family], &pod[1..2]);
            writeln!(text, "- {{addresses: ['{address}'], nodeName: node-{node}}}").unwrap();
        }
        text
    };
    format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: node-1}}\nstatus: {{addresses: [{{type: InternalIP, address: 192.0.2.1}}, \
         {{type: InternalIP, address: '2001:db8::1'}}]}}\n---\napiVersion: v1\nkind: Service\nmetadata: {{name: sticky, namespace: e2e}}\n\
         spec: {{type: NodePort, clusterIP: 10.96.5.1, clusterIPs: [10.96.5.1, 'fd00:96::5:1'], sessionAffinity: ClientIP,\n\
         sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {seconds}}}}},\n\
         ports: [{{name: http, port: 80, nodePort: 30500}}, {{name: dns, port: 53, protocol: UDP, nodePort: 30553}}]}}\n{}{}",
        slice(0, "IPv4"),
        slice(1, "IPv6")
    )
}

fn frontends() -> Vec<SocketAddr> {
    ["10.96.5.1:80", "[fd00:96::5:1]:80", "192.0.2.1:30500", "[2001:db8::1]:30500"]
        .map(|text| text.parse().unwrap())
        .to_vec()
}

#[test]
fn a_client_keeps_its_endpoint_until_that_goes() {
    let mut cluster = Cluster::start(10_800);
    let clients = ["n1-a", "n1-b", "node-1", "outside"];
    let pairs: Vec<(&str, SocketAddr)> =
        clients.iter().flat_map(|client| frontends().into_iter().map(move |to| (*client, to))).collect();
    let kept: Vec<String> =
        pairs.iter().map(|(client, to)| cluster.reach(client, Transport::Tcp, *to)).collect();
    assert!(kept.iter().any(|server| *server != kept[0]), "16 clients and frontends all have {}", kept[0]);
    for ((client, to), server) in pairs.iter().zip(&kept) {
        cluster.assert_keeps(client, *to, server);
    }
    // A restart changes nothing; neither does another endpoint.
    cluster.restart();
    cluster.endpoints(10_800, &PODS[..3]);
    cluster.endpoints(10_800, &PODS);
    for ((client, to), server) in pairs.iter().zip(&kept).filter(|(_, server)| *server != PODS[3]) {
        cluster.assert_keeps(client, *to, server);
    }
    // The first client's endpoint goes: it moves at once and stays there.
    let staying: Vec<&str> = PODS.into_iter().filter(|pod| *pod != kept[0]).collect();
    cluster.endpoints(10_800, &staying);
    for ((client, to), server) in pairs.iter().zip(&kept).filter(|(_, server)| **server == kept[0]) {
        let now = cluster.reach(client, Transport::Tcp, *to);
        assert!(now != *server && staying.contains(&now.as_str()));
        cluster.assert_keeps(client, *to, &now);
    }
    // It comes back, and gets none of them back.
    let now = cluster.reach(pairs[0].0, Transport::Tcp, pairs[0].1);
    cluster.endpoints(10_800, &PODS);
    cluster.assert_keeps(pairs[0].0, pairs[0].1, &now);
}

#[test]
fn udp_clients_keep_their_endpoint_too() {
    let cluster = Cluster::start(10_800);
    for to in ["10.96.5.1:53", "[2001:db8::1]:30553"].map(|text| text.parse().unwrap()) {
        let first = cluster.reach("outside", Transport::Udp, to);
        for _ in 0..AGAIN {
            assert_eq!(cluster.reach("outside", Transport::Udp, to), first);
        }
    }
}

#[test]
fn remaining_times_survive_a_restart_and_connections_start_them_anew() {
    let mut cluster = Cluster::start(600);
    for (family, to) in frontends().into_iter().take(2).enumerate() {
        let client = cluster.topology.member("outside").addresses[family];
        cluster.reach("outside", Transport::Tcp, to);
        let before = cluster.remaining(client).unwrap();
        assert!(before <= Duration::from_secs(600) && before > Duration::from_secs(500), "{before:?}");
        cluster.restart();
        let after = cluster.remaining(client).unwrap();
        assert!(after < before, "{after:?} after {before:?}");
        cluster.reach("outside", Transport::Tcp, to);
        assert!(cluster.remaining(client).unwrap() > after);
    }
}

#[test]
fn a_client_that_stays_away_is_forgotten() {
    let cluster = Cluster::start(1);
    let to = frontends()[0];
    let client = cluster.topology.member("outside").addresses[0];
    let first = cluster.reach("outside", Transport::Tcp, to);
    let proxy = cluster.proxy.as_ref().unwrap();
    // Of 24 draws among four endpoints all are the same but once in 10^14 times.
    let moved = (0..24).any(|_| {
        proxy.wait("the client is forgotten", |_| cluster.remaining(client).is_none().then_some(()));
        cluster.reach("outside", Transport::Tcp, to) != first
    });
    assert!(moved);
}

/// Asks over UDP from this address and returns who answers.
fn ask_from(source: SocketAddr, to: SocketAddr, together: &Barrier) -> String {
    let socket = UdpSocket::bind(source).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.connect(to).unwrap();
    together.wait();
    socket.send(b"?").unwrap();
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).split_whitespace().next().unwrap().to_owned()
}

#[test]
fn two_first_connections_at_once_get_the_same_endpoint() {
    let cluster = Cluster::start(10_800);
    let outside = &cluster.topology.member("outside").namespace;
    let to: SocketAddr = "10.96.5.1:53".parse().unwrap();
    for last in 120..248 {
        let client = IpAddr::from([192, 0, 2, last]);
        outside.address("eth0", ipnet::IpNet::new(client, 24).unwrap()).unwrap();
        let together = Barrier::new(2);
        let ask = |port| {
            let together = &together;
            move || outside.run(move || ask_from(SocketAddr::new(client, port), to, together)).unwrap()
        };
        let (one, other) = std::thread::scope(|scope| {
            let (one, other) = (scope.spawn(ask(40_001)), scope.spawn(ask(40_002)));
            (one.join().unwrap(), other.join().unwrap())
        });
        assert_eq!(one, other, "{client}");
    }
}
