//! Tracked flows: clients that keep their port, and what becomes of them when Services and endpoints change.
//!
//! The servers of endpoints that go stay up here. A flow that nobody ended would be answered by the old one for ever.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use kubeweir_e2e::flows::{self, New};
use kubeweir_e2e::generate;
use kubeweir_e2e::proxy::{Ours, Proxy};
use kubeweir_e2e::settle::wait_until_programmed;
use kubeweir_e2e::topology::{Member, Network, Topology};
use kubeweir_netlink::conntrack::{Client, Family, Filter};
use kubeweir_playground::{Answer, Namespace, Server, Talker, Transport};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long an answer may take before the question is repeated.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often a flow that must not move is asked.
const QUESTIONS: usize = 20;
const SCTP: u8 = 132;
const UDP: u8 = 17;

/// A cluster whose node-1 runs the proxy, fed from files.
struct World {
    topology: Topology,
    manifests: TempDir,
    proxy: Proxy,
    flags: Vec<String>,
}

/// An endpoint and its conditions.
#[derive(Clone, Copy)]
struct At {
    member: &'static str,
    ready: bool,
    serving: bool,
    terminating: bool,
}

const fn at(member: &'static str) -> At {
    At { member, ready: true, serving: true, terminating: false }
}

impl World {
    fn new() -> World {
        World::with_flags(&[])
    }

    fn with_flags(flags: &[&str]) -> World {
        let (topology, manifests) = (Topology::build(Network::Routed), TempDir::new().unwrap());
        write(&manifests, &[]);
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let proxy = start(&topology, &manifests, &flags);
        World { topology, manifests, proxy, flags }
    }

    fn member(&self, name: &str) -> &Member {
        self.topology.member(name)
    }

    /// Replaces all objects at once, and waits until they are programmed: a flow that begins then goes the right way.
    fn set(&self, objects: &[Vec<Value>]) {
        let text = write(&self.manifests, objects);
        wait_until_programmed(self.member("node-1"), &self.proxy, &self.flags, &text);
    }

    /// The objects of a Service with a port `dns`: 53 on its addresses, `target` on its endpoints.
    fn service(&self, name: &str, protocol: &str, spec: &Value, target: u16, endpoints: &[At]) -> Vec<Value> {
        let mut spec = spec.clone();
        let port = json!({"name": "dns", "port": 53, "protocol": protocol, "nodePort": spec["nodePort"]});
        spec["ports"] = json!([port]);
        spec.as_object_mut().unwrap().remove("nodePort");
        let service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "e2e"}, "spec": spec});
        let slice = |(family, kind): (usize, &str)| {
            let endpoints = endpoints.iter().map(|at| {
                let member = self.member(at.member);
                json!({"addresses": [member.addresses[family]], "nodeName": format!("node-{}", member.node.unwrap()),
                    "conditions": {"ready": at.ready, "serving": at.serving, "terminating": at.terminating}})
            });
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": format!("{name}-{family}"), "namespace": "e2e",
                    "labels": {"kubernetes.io/service-name": name}},
                "addressType": kind, "ports": [{"name": "dns", "port": target, "protocol": protocol}],
                "endpoints": endpoints.collect::<Vec<_>>()})
        };
        let slices = [(0, "IPv4"), (1, "IPv6")].into_iter().map(slice);
        std::iter::once(service).chain(slices).collect()
    }

    fn talker(&self, client: &str, transport: Transport, to: &str) -> Talker {
        Talker::new(&self.member(client).namespace, transport, to.parse().unwrap()).unwrap()
    }

    /// Asks until this server answers.
    fn wait_for(&self, talker: &Talker, server: &str) {
        self.proxy.wait(server, |_| (server_of(&talker.ask(PATIENCE)) == Some(server)).then_some(()));
    }

    fn wait_for_all(&self, talkers: &[Talker], server: &str) {
        for talker in talkers {
            self.wait_for(talker, server);
        }
    }

    /// Opens flows until each of these servers has one. Returns them with their servers.
    fn flows_to(&self, client: &str, to: &str, servers: [&str; 2]) -> Vec<(String, Talker)> {
        let mut flows: Vec<(String, Talker)> = Vec::new();
        while !servers.iter().all(|server| flows.iter().any(|(found, _)| found == server)) {
            let talker = self.talker(client, Transport::Udp, to);
            let found = self.proxy.wait("an answer", |_| server_of(&talker.ask(PATIENCE)).map(str::to_owned));
            assert!(servers.contains(&found.as_str()), "{found}");
            flows.push((found, talker));
        }
        flows
    }

    /// Flows ended so far, by family.
    fn ended(&self) -> [u64; 2] {
        ["IPv4", "IPv6"].map(|family| {
            let name = "kubeproxy_conntrack_reconciler_deleted_entries_total";
            self.proxy.count(&format!("{name}{{ip_family=\"{family}\"}}"))
        })
    }

    /// Waits until so many flows were ended since, and makes sure that it were not more.
    fn wait_for_ended(&self, since: [u64; 2], more: [u64; 2]) {
        let wanted = [since[0] + more[0], since[1] + more[1]];
        self.proxy.wait("flows ended", |_| {
            let ended = self.ended();
            (ended[0] >= wanted[0] && ended[1] >= wanted[1]).then_some(())
        });
        assert_eq!(self.ended(), wanted);
    }

    /// What node-1's kernel, by the `conntrack` program, calls the UDP flows to an address that an endpoint answers.
    fn ids(&self, to: &str, answered_by: &str) -> BTreeSet<String> {
        let to: SocketAddr = to.parse().unwrap();
        let (family, position) = if to.is_ipv4() { ("ipv4", 0) } else { ("ipv6", 1) };
        let answered_by = self.member(answered_by).addresses[position];
        let mut command = Command::new("conntrack");
        command.args(["-L", "-o", "id", "-p", "udp", "-f", family, "-d", &to.ip().to_string()]);
        command.args(["-r", &answered_by.to_string()]).stdout(Stdio::piped()).stderr(Stdio::null());
        let output = self.member("node-1").namespace.start(&mut command).unwrap().wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let ids = text.lines().map(|line| line.rsplit_once("id=").unwrap().1.to_owned());
        ids.collect()
    }
}

fn write(manifests: &TempDir, objects: &[Vec<Value>]) -> String {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"},
            {"type": "InternalIP", "address": "2001:db8::1"}]}});
    let items: Vec<&Value> = std::iter::once(&node).chain(objects.iter().flatten()).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    generate::put(manifests.path(), "all.json", &list.to_string());
    list.to_string()
}

fn server_of(answer: &Answer) -> Option<&str> {
    match answer {
        Answer::Reached { server, .. } => Some(server),
        _ => None,
    }
}

/// A Service with these ClusterIPs and a NodePort.
fn addresses(last: u16, node_port: u16) -> Value {
    let ips = [format!("10.96.0.{last}"), format!("fd00:96::{last}")];
    json!({"type": "NodePort", "clusterIP": ips[0], "clusterIPs": ips, "nodePort": node_port})
}

#[test]
fn flows_move_when_their_endpoint_goes() {
    let world = World::new();
    let mut local = addresses(11, 30011);
    local["externalIPs"] = json!(["203.0.113.11", "2001:db8:113::11"]);
    local["externalTrafficPolicy"] = json!("Local");
    let objects = |endpoint: At| {
        [
            world.service("dns", "UDP", &addresses(10, 30010), 8053, &[endpoint]),
            world.service("local", "UDP", &local, 8053, &[endpoint]),
        ]
    };
    world.set(&objects(at("n1-a")));
    let talkers = [
        ("outside", "10.96.0.10:53"),
        ("outside", "192.0.2.1:30010"),
        ("outside", "203.0.113.11:53"),
        ("outside", "192.0.2.1:30011"),
        ("n1-b", "10.96.0.10:53"),
        ("node-1", "10.96.0.10:53"),
        ("node-1", "192.0.2.1:30010"),
        ("outside", "[fd00:96::10]:53"),
        ("outside", "[2001:db8::1]:30010"),
        ("outside", "[2001:db8:113::11]:53"),
        ("n1-b", "[fd00:96::10]:53"),
        ("node-1", "[fd00:96::10]:53"),
    ];
    let talkers = talkers.map(|(client, to)| world.talker(client, Transport::Udp, to));
    world.wait_for_all(&talkers, "n1-a");
    let before = world.ended();
    world.set(&objects(at("n1-b")));
    world.wait_for_all(&talkers, "n1-b");
    world.wait_for_ended(before, [7, 5]);
    for family in ["IPv4", "IPv6"] {
        let name = "kubeproxy_conntrack_reconciler_sync_duration_seconds_count";
        assert!(world.proxy.count(&format!("{name}{{ip_family=\"{family}\"}}")) > 0);
    }
}

#[test]
fn flows_to_what_still_serves_and_flows_elsewhere_stay() {
    // NodePorts on all addresses: the kernel cannot tell flows to them from others with the same port.
    let world = World::with_flags(&["--nodeport-addresses=0.0.0.0/0,::/0"]);
    let far = world.member("outside");
    let _server = Server::start(&far.namespace, "far", &far.addresses, &[30021]).unwrap();
    let unready = At { serving: false, ..at("n1-a") };
    let leaving = At { ready: false, terminating: true, ..at("n1-b") };
    let objects = |second: At, last: At| {
        [
            world.service("unready", "UDP", &addresses(20, 30020), 8053, &[unready, second]),
            world.service("leaving", "UDP", &addresses(21, 30021), 8053, &[last, second]),
        ]
    };
    world.set(&objects(at("n2-a"), at("n1-b")));
    let families = [("10.96.0.20:53", "10.96.0.21:53"), ("[fd00:96::20]:53", "[fd00:96::21]:53")];
    let mut flows = Vec::new();
    let mut victims = [0, 0];
    for (family, (unready, leaving)) in families.into_iter().enumerate() {
        for (to, stays) in [(unready, "n1-a"), (leaving, "n1-b")] {
            let both = world.flows_to("outside", to, [stays, "n2-a"]);
            victims[family] += both.iter().filter(|(server, _)| server == "n2-a").count() as u64;
            flows.push((to, stays, both));
        }
    }
    // To a server outside, on a port that is a NodePort here.
    let others =
        ["192.0.2.100:30021", "[2001:db8::100]:30021"].map(|to| world.talker("n1-a", Transport::Udp, to));
    world.wait_for_all(&others, "far");
    let kept = || -> Vec<BTreeSet<String>> {
        let elsewhere = ["192.0.2.100:30021", "[2001:db8::100]:30021"].map(|to| world.ids(to, "outside"));
        flows.iter().map(|(to, stays, _)| world.ids(to, stays)).chain(elsewhere).collect()
    };
    let (before, ids) = (world.ended(), kept());
    assert!(ids.iter().all(|ids| !ids.is_empty()), "{ids:?}");

    world.set(&objects(at("n2-b"), leaving));
    for (_, stays, both) in &flows {
        for (server, talker) in both.iter().filter(|(server, _)| server != stays) {
            assert_eq!(server, "n2-a");
            world.proxy.wait("another server", |_| {
                let answer = talker.ask(PATIENCE);
                server_of(&answer).is_some_and(|server| server != "n2-a").then_some(())
            });
        }
    }
    world.wait_for_ended(before, victims);
    for (_, stays, both) in &flows {
        for (_, talker) in both.iter().filter(|(server, _)| server == stays) {
            for _ in 0..QUESTIONS {
                assert_eq!(server_of(&talker.ask(Duration::from_secs(5))), Some(*stays));
            }
        }
    }
    for (before, after) in ids.iter().zip(kept()) {
        assert!(before.is_subset(&after), "{before:?} {after:?}");
    }
}

#[test]
fn who_asked_before_there_was_a_service_reaches_it_then() {
    let world = World::new();
    let endpoints = [at("n1-b")];
    // One Service from the beginning: without any, the kernel might not track at all.
    let other = || world.service("other", "UDP", &addresses(39, 30039), 8053, &endpoints);
    world.set(&[other()]);
    world.wait_for(&world.talker("outside", Transport::Udp, "10.96.0.39:53"), "n1-b");
    let early = ["10.96.0.30:53", "[fd00:96::30]:53"].map(|to| world.talker("n1-a", Transport::Udp, to));
    for talker in &early {
        assert_eq!(server_of(&talker.ask(PATIENCE)), None);
    }
    let filter = |family| Filter { family, protocol: UDP, port: Some(53), address: None };
    let untranslated = |family| {
        let all = flows::list(&world.member("node-1").namespace, &filter(family)).into_iter();
        all.filter(|flow| flow.reply.source == flow.original.destination).count()
    };
    assert_eq!([untranslated(Family::V4), untranslated(Family::V6)], [1, 1]);
    let before = world.ended();
    let mut spec = addresses(30, 0);
    world.set(&[other(), world.service("late", "UDP", &spec, 8053, &endpoints)]);
    world.wait_for_all(&early, "n1-b");
    world.wait_for_ended(before, [1, 1]);

    // The same for a NodePort that the Service gets later, with no change of endpoints.
    let early =
        ["192.0.2.1:30030", "[2001:db8::1]:30030"].map(|to| world.talker("outside", Transport::Udp, to));
    for talker in &early {
        assert_eq!(server_of(&talker.ask(PATIENCE)), None);
    }
    spec["nodePort"] = json!(30030);
    world.set(&[other(), world.service("late", "UDP", &spec, 8053, &endpoints)]);
    world.wait_for_all(&early, "n1-b");
}

#[test]
fn flows_move_to_another_port_of_the_same_pod_and_end_with_their_service() {
    let world = World::new();
    let objects = |target| [world.service("dns", "UDP", &addresses(40, 30040), target, &[at("n1-b")])];
    world.set(&objects(8053));
    let to = ["10.96.0.40:53", "[fd00:96::40]:53", "192.0.2.1:30040"];
    let talkers = to.map(|to| world.talker("outside", Transport::Udp, to));
    world.wait_for_all(&talkers, "n1-b");
    let before = world.ended();
    world.set(&objects(8080));
    world.wait_for_ended(before, [2, 1]);
    world.wait_for_all(&talkers, "n1-b");
    let answered = |family| -> BTreeSet<u16> {
        let filter = Filter { family, protocol: UDP, port: None, address: None };
        let all = flows::list(&world.member("node-1").namespace, &filter).into_iter();
        all.filter(|flow| flow.reply.source != flow.original.destination)
            .map(|f| f.reply.source.port())
            .collect()
    };
    assert_eq!([answered(Family::V4), answered(Family::V6)], [[8080].into(), [8080].into()]);
    world.set(&[]);
    world.wait_for_ended(before, [4, 2]);
    for talker in &talkers {
        world.proxy.wait("no answer", |_| server_of(&talker.ask(PATIENCE)).is_none().then_some(()));
    }
}

#[test]
fn internal_policy_local_keeps_flows_on_the_node_while_its_endpoints_change() {
    let world = World::new();
    let mut spec = addresses(70, 30070);
    spec["internalTrafficPolicy"] = json!("Local");
    let objects = |endpoints: &[At]| [world.service("dns", "UDP", &spec, 8053, endpoints)];
    world.set(&objects(&[at("n1-a"), at("n2-a")]));
    let pairs = ["10.96.0.70:53", "[fd00:96::70]:53"]
        .into_iter()
        .flat_map(|to| ["outside", "node-1", "n1-b"].map(|client| (client, to)));
    let talkers: Vec<Talker> = pairs.map(|(client, to)| world.talker(client, Transport::Udp, to)).collect();
    world.wait_for_all(&talkers, "n1-a");
    // None is left here: the one elsewhere is no way out.
    let before = world.ended();
    world.set(&objects(&[at("n2-a")]));
    world.wait_for_ended(before, [3, 3]);
    for talker in &talkers {
        assert_eq!(talker.ask(PATIENCE), Answer::Silence);
    }
    world.set(&objects(&[at("n1-b"), at("n2-a")]));
    world.wait_for_all(&talkers, "n1-b");
    world.set(&objects(&[at("n1-a"), at("n2-a")]));
    world.wait_for_all(&talkers, "n1-a");
    world.wait_for_ended(before, [6, 6]);
}

#[test]
fn a_client_reaches_an_endpoint_that_becomes_ready() {
    let world = World::new();
    let unready = |member| At { ready: false, serving: false, ..at(member) };
    let objects = |endpoints: &[At]| [world.service("dns", "UDP", &addresses(71, 30071), 8053, endpoints)];
    world.set(&objects(&[unready("n1-b")]));
    let to = ["10.96.0.71:53", "192.0.2.1:30071", "[fd00:96::71]:53", "[2001:db8::1]:30071"];
    let talkers: Vec<Talker> = to
        .into_iter()
        .flat_map(|to| ["outside", "node-1"].map(|client| world.talker(client, Transport::Udp, to)))
        .collect();
    for talker in &talkers {
        assert_eq!(talker.ask(Duration::from_secs(5)), Answer::Refused);
    }
    world.set(&objects(&[at("n1-b")]));
    world.wait_for_all(&talkers, "n1-b");
    // While nothing is ready a flow stays where it is, until something else becomes ready.
    let before = world.ended();
    world.set(&objects(&[unready("n1-b"), unready("n2-a")]));
    for talker in &talkers {
        assert_eq!(server_of(&talker.ask(Duration::from_secs(5))), Some("n1-b"));
    }
    assert_eq!(world.ended(), before);
    world.set(&objects(&[unready("n1-b"), at("n2-a")]));
    world.wait_for_all(&talkers, "n2-a");
    world.wait_for_ended(before, [4, 4]);
}

#[test]
fn flows_through_a_balancers_address_move() {
    let world = World::new();
    let mut spec = addresses(72, 30072);
    spec["type"] = json!("LoadBalancer");
    let objects = |endpoint: At| {
        let mut objects = world.service("dns", "UDP", &spec, 8053, &[endpoint]);
        let ingress = json!([{"ip": "203.0.113.72"}, {"ip": "2001:db8:113::72"}]);
        objects[0]["status"] = json!({"loadBalancer": {"ingress": ingress}});
        [objects]
    };
    world.set(&objects(at("n1-a")));
    let pairs = ["203.0.113.72:53", "[2001:db8:113::72]:53"]
        .into_iter()
        .flat_map(|to| ["outside", "node-1", "n1-b"].map(|client| (client, to)));
    let talkers: Vec<Talker> = pairs.map(|(client, to)| world.talker(client, Transport::Udp, to)).collect();
    world.wait_for_all(&talkers, "n1-a");
    // To another pod of the same node, and to one of another node.
    let before = world.ended();
    for (round, next) in (1..).zip(["n1-b", "n2-a"]) {
        world.set(&objects(at(next)));
        world.wait_for_all(&talkers, next);
        world.wait_for_ended(before, [3 * round, 3 * round]);
    }
}

#[test]
fn sctp_flows_move_too() {
    let world = World::new();
    // Our talkers never get beyond the beginning of an association, which the kernel forgets within seconds.
    for state in ["cookie_wait", "cookie_echoed"] {
        let sysctl = format!("netfilter/nf_conntrack_sctp_timeout_{state}");
        world.member("node-1").namespace.sysctl(&sysctl, "120").unwrap();
    }
    let objects = |endpoint: At| [world.service("sctp", "SCTP", &addresses(50, 30050), 8053, &[endpoint])];
    world.set(&objects(at("n1-a")));
    let to = ["10.96.0.50:53", "192.0.2.1:30050", "[fd00:96::50]:53"];
    let talkers = to.map(|to| world.talker("outside", Transport::Sctp, to));
    world.wait_for_all(&talkers, "n1-a");
    let before = world.ended();
    world.set(&objects(at("n1-b")));
    world.wait_for_all(&talkers, "n1-b");
    world.wait_for_ended(before, [2, 1]);
}

#[test]
fn a_restarted_proxy_ends_what_went_stale_while_it_was_away() {
    let world = World::new();
    let objects = |endpoint: At| [world.service("dns", "UDP", &addresses(60, 30060), 8053, &[endpoint])];
    world.set(&objects(at("n1-a")));
    let talkers = ["10.96.0.60:53", "[fd00:96::60]:53"].map(|to| world.talker("outside", Transport::Udp, to));
    world.wait_for_all(&talkers, "n1-a");
    let next = objects(at("n1-b"));
    let World { topology, manifests, proxy, flags } = world;
    drop(proxy);
    write(&manifests, &next);
    for talker in &talkers {
        assert_eq!(server_of(&talker.ask(Duration::from_secs(5))), Some("n1-a"));
    }
    let world = World { proxy: start(&topology, &manifests, &flags), topology, manifests, flags };
    world.wait_for_all(&talkers, "n1-b");
    world.wait_for_ended([0, 0], [1, 1]);
}

fn start(topology: &Topology, manifests: &TempDir, flags: &[String]) -> Proxy {
    let manifests = format!("--manifests={}", manifests.path().display());
    let flags = std::iter::once(manifests).chain(flags.iter().cloned()).collect();
    let proxy = Proxy::ours(&topology.member("node-1").namespace, &Ours { flags, name: "node-1" });
    proxy.wait_for_log("synced everything");
    proxy
}

/// In a fresh namespace, made with the `conntrack` program: protocol, destination, zone.
const MADE: [(&str, &str, &str); 9] = [
    ("udp", "10.96.0.10:53", "0"),
    ("udp", "10.96.0.10:54", "0"),
    ("udp", "10.96.0.11:53", "0"),
    ("udp", "10.96.0.10:53", "7"),
    ("tcp", "10.96.0.10:53", "0"),
    ("sctp", "10.96.0.10:53", "0"),
    ("sctp", "10.96.0.10:54", "0"),
    ("udp", "[fd00:96::10]:53", "0"),
    ("udp", "[fd00:96::11]:53", "0"),
];

fn namespace_with_flows() -> Namespace {
    let namespace = Namespace::new("flows").unwrap();
    for (port, (protocol, to, zone)) in (40000..).zip(MADE) {
        let port = port.to_string();
        let to: SocketAddr = to.parse().unwrap();
        let (source, pod) =
            if to.is_ipv4() { ("10.244.1.2", "10.244.2.2") } else { ("fd00:244:1::2", "fd00:244:2::2") };
        let mut command = Command::new("conntrack");
        command.args([
            "-I",
            "-t",
            "100",
            "-p",
            protocol,
            "-w",
            zone,
            "-s",
            source,
            "-d",
            &to.ip().to_string(),
        ]);
        command.args(["--orig-port-src", &port, "--orig-port-dst", &to.port().to_string()]);
        command.args(["-r", pod, "-q", source, "--reply-port-src", "8053", "--reply-port-dst", &port]);
        match protocol {
            "tcp" => command.args(["--state", "ESTABLISHED"]),
            "sctp" => command.args(["--state", "ESTABLISHED", "--orig-vtag", "1", "--reply-vtag", "2"]),
            _ => &mut command,
        };
        let mut child = namespace.start(command.stdout(Stdio::null()).stderr(Stdio::null())).unwrap();
        assert!(child.wait().unwrap().success(), "{command:?}");
    }
    namespace
}

fn destinations(namespace: &Namespace, filter: &Filter) -> Vec<String> {
    let mut found: Vec<String> =
        flows::list(namespace, filter).iter().map(|flow| flow.original.destination.to_string()).collect();
    found.sort();
    found
}

#[test]
fn the_kernel_lists_what_a_filter_says() {
    let namespace = namespace_with_flows();
    let udp = Filter { family: Family::V4, protocol: UDP, port: None, address: None };
    let list = |filter: Filter| destinations(&namespace, &filter);
    let (first, second) = ("10.96.0.10:53", "10.96.0.10:54");
    assert_eq!(list(udp), [first, first, second, "10.96.0.11:53"]);
    assert_eq!(list(Filter { port: Some(53), ..udp }), [first, first, "10.96.0.11:53"]);
    let address = Some([10, 96, 0, 10].into());
    assert_eq!(list(Filter { address, ..udp }), [first, first, second]);
    assert_eq!(list(Filter { address, port: Some(53), ..udp }), [first, first]);
    assert_eq!(list(Filter { protocol: SCTP, port: Some(54), ..udp }), [second]);
    let v6 = Filter { family: Family::V6, port: Some(53), ..udp };
    assert_eq!(list(v6), ["[fd00:96::10]:53", "[fd00:96::11]:53"]);
}

#[test]
fn flows_are_ended_one_by_one_in_every_zone_and_no_other_is_touched() {
    let namespace = namespace_with_flows();
    let end = |filter: Filter, to: &str| {
        let to: SocketAddr = to.parse().unwrap();
        let work =
            || Client::open().unwrap().end_flows(&filter, |flow| flow.original.destination == to).unwrap();
        namespace.run(work).unwrap()
    };
    let udp = Filter { family: Family::V4, protocol: UDP, port: None, address: None };
    let v6 = Filter { family: Family::V6, ..udp };
    assert_eq!(end(udp, "10.96.0.10:53"), 2);
    assert_eq!(end(v6, "[fd00:96::10]:53"), 1);
    assert_eq!(end(Filter { protocol: SCTP, ..udp }, "10.96.0.10:53"), 1);
    assert_eq!(destinations(&namespace, &udp), ["10.96.0.10:54", "10.96.0.11:53"]);
    assert_eq!(destinations(&namespace, &v6), ["[fd00:96::11]:53"]);
    assert_eq!(destinations(&namespace, &Filter { protocol: 6, ..udp }), ["10.96.0.10:53"]);
    assert_eq!(destinations(&namespace, &Filter { protocol: SCTP, ..udp }), ["10.96.0.10:54"]);
    assert_eq!(end(udp, "10.96.0.10:53"), 0);
}

/// Many pieces of a listing, with every second flow deleted while it goes on.
#[test]
fn a_listing_goes_on_while_flows_are_ended() {
    let namespace = Namespace::new("many").unwrap();
    let flow = |number: u16| New {
        protocol: UDP,
        source: ([10, 244, 1, 2], 1000 + number).into(),
        destination: ([10, 96, 0, 10], 53).into(),
        answered_by: ([10, 244, 2, 2], 8053).into(),
    };
    flows::make(&namespace, (0..20_000).map(flow));
    let filter = Filter { family: Family::V4, protocol: UDP, port: Some(53), address: None };
    let odd = |flow: &kubeweir_netlink::conntrack::Flow| flow.original.source.port() % 2 == 1;
    let ended = namespace.run(|| Client::open().unwrap().end_flows(&filter, odd).unwrap()).unwrap();
    assert_eq!(ended, 10_000);
    let left = flows::list(&namespace, &filter);
    assert_eq!(left.len(), 10_000);
    assert!(!left.iter().any(odd));
}
