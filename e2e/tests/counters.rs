//! What Services count, with packets of known number and size; and what `/state` and `kubeweir list` say of them.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::http;
use kubeweir_e2e::proxy::{Proxy, program};
use kubeweir_e2e::topology::{Network, Topology};
use kubeweir_playground::{Answer, Namespace, Probe, Talker, Transport, probe};
use nix::sys::signal::Signal;
use serde_json::Value;

/// A Service with endpoints on both nodes, and one whose endpoint is node-1 itself.
const OBJECTS: &str = "
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}, {type: InternalIP, address: '2001:db8::1'}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: e2e}
spec: {type: NodePort, clusterIP: 10.96.6.1, clusterIPs: [10.96.6.1, 'fd00:96::6:1'],
  ports: [{name: http, port: 80, nodePort: 30600}, {name: dns, port: 53, protocol: UDP, targetPort: 8053}]}
---
apiVersion: v1
kind: Service
metadata: {name: host, namespace: e2e}
spec: {type: NodePort, clusterIP: 10.96.6.2, clusterIPs: [10.96.6.2], ports: [{name: s, port: 80, nodePort: 30601, protocol: UDP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-6, namespace: e2e, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
ports: [{name: http, port: 8080}]
endpoints: [{addresses: ['fd00:244:1::2']}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: host-4, namespace: e2e, labels: {kubernetes.io/service-name: host}}
addressType: IPv4
ports: [{name: s, port: 9090, protocol: UDP}]
endpoints: [{addresses: [192.0.2.1]}]
";
const PATIENCE: Duration = Duration::from_secs(10);
const WEB: &str = "namespace=\"e2e\",name=\"web\",port=\"http\",protocol=\"TCP\"";
const DNS: &str = "namespace=\"e2e\",name=\"web\",port=\"dns\",protocol=\"UDP\"";
const HOST: &str = "namespace=\"e2e\",name=\"host\",port=\"s\",protocol=\"UDP\"";
/// Headers of IPv4 and UDP, and the one byte that is asked.
const QUESTION: u64 = 20 + 8 + 1;

/// The Service's IPv4 endpoints.
fn endpoints(addresses: &str) -> String {
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice,
        metadata: {{name: web-4, namespace: e2e, labels: {{kubernetes.io/service-name: web}}}}, addressType: IPv4,
        ports: [{{name: http, port: 8080}}, {{name: dns, port: 8053, protocol: UDP}}], endpoints: [{addresses}]}}"
    )
}

struct Cluster {
    topology: Topology,
    api: StandIn,
}

impl Cluster {
    fn new() -> Cluster {
        let (topology, api) = (Topology::build(Network::Routed), StandIn::start());
        api.replace_all(OBJECTS);
        api.apply(&endpoints("{addresses: [10.244.1.2]}, {addresses: [10.244.2.2]}"));
        Cluster { topology, api }
    }

    fn node(&self) -> &Namespace {
        &self.topology.member("node-1").namespace
    }

    fn start(&self, flags: &[&str]) -> Proxy {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let kubeconfig = self.api.listen_in(self.node());
        let proxy = Proxy::under_test(self.node(), "node-1", &kubeconfig, &flags);
        proxy.wait_for_log("synced everything");
        proxy
    }

    fn connect(&self, from: &str, to: &str, times: u32) {
        let to: SocketAddr = to.parse().unwrap();
        for _ in 0..times {
            let ask = Probe { transport: Transport::Tcp, to, patience: PATIENCE };
            let answer = probe(&self.topology.member(from).namespace, &ask).unwrap();
            assert!(matches!(answer, Answer::Reached { .. }), "{from} to {to}: {answer}");
        }
    }

    /// One flow of so many datagrams, each answered.
    fn talk(&self, from: &str, to: &str, datagrams: u32) {
        let client = &self.topology.member(from).namespace;
        let talker = Talker::new(client, Transport::Udp, to.parse().unwrap()).unwrap();
        for _ in 0..datagrams {
            let answer = talker.ask(PATIENCE);
            assert!(matches!(answer, Answer::Reached { .. }), "{from} to {to}: {answer}");
        }
    }
}

/// Waits until the kernel has been read after all that was sent before, and returns the page.
fn page(proxy: &Proxy, since: u64) -> String {
    proxy.wait("a reading", |proxy| {
        let (_, page) = proxy.page("/metrics")?;
        let name = "kubeweir_service_counters_read_timestamp_seconds ";
        let at: f64 = page.lines().find_map(|line| line.strip_prefix(name))?.parse().ok()?;
        (at > Duration::from_millis(since).as_secs_f64()).then_some(page)
    })
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap() + 1
}

/// Connections, packets in and out, bytes in and out.
fn counted(page: &str, labels: &str) -> [u64; 5] {
    let count = |name: &str, more: &str| {
        let sample = format!("kubeweir_service_{name}_total{{{labels}{more}}}");
        http::count(page, &sample).unwrap_or_else(|| panic!("no {sample} in\n{page}"))
    };
    let [inward, outward] = [",direction=\"in\"", ",direction=\"out\""];
    [
        count("connections", ""),
        count("packets", inward),
        count("packets", outward),
        count("bytes", inward),
        count("bytes", outward),
    ]
}

#[test]
fn each_connection_and_each_packet_counts_once_and_a_restart_keeps_it() {
    let cluster = Cluster::new();
    let proxy = cluster.start(&["--service-counters"]);
    for (from, to, times) in [
        ("outside", "10.96.6.1:80", 5),
        ("outside", "192.0.2.1:30600", 3),
        ("node-1", "10.96.6.1:80", 2),
        ("n1-b", "10.96.6.1:80", 4),
        ("n1-b", "[fd00:96::6:1]:80", 6),
    ] {
        cluster.connect(from, to, times);
    }
    cluster.talk("outside", "10.96.6.1:53", 7);
    // To this node itself, from outside and from itself: packets that never leave it pass two hooks.
    cluster.talk("outside", "10.96.6.2:80", 8);
    cluster.talk("outside", "192.0.2.1:30601", 9);
    cluster.talk("node-1", "10.96.6.2:80", 10);
    let first = page(&proxy, now());
    let web = counted(&first, WEB);
    assert_eq!(web[0], 20);
    assert!(web[1] >= 4 * 20 && web[3] >= 40 * web[1], "{web:?}");
    let dns = counted(&first, DNS);
    assert_eq!((dns[..3].to_vec(), dns[3]), (vec![1, 7, 7], 7 * QUESTION));
    let host = counted(&first, HOST);
    assert_eq!((host[..3].to_vec(), host[3]), (vec![3, 27, 27], 27 * QUESTION));
    assert!(dns[4] > dns[3] && host[4] > host[3], "answers are longer than questions");
    // Other endpoints, none and others again: what was counted stays.
    let versions = |proxy: &Proxy| {
        let (_, text) = proxy.page("/state?service=e2e/web").unwrap();
        let state: Value = serde_json::from_str(&text).unwrap();
        let settled = !state["pending"].as_bool().unwrap();
        settled.then(|| state["inForce"]["endpointSlices"]["web-4"].clone())
    };
    let mut before = proxy.wait("a settled state", versions);
    for addresses in ["{addresses: [10.244.2.2]}", "", "{addresses: [10.244.1.2]}, {addresses: [10.244.1.3]}"]
    {
        cluster.api.apply(&endpoints(addresses));
        before = proxy.wait("the change", |proxy| versions(proxy).filter(|now| *now != before));
    }
    assert_eq!(counted(&page(&proxy, now()), WEB), web);
    assert_eq!(proxy.end(Signal::SIGTERM).0, Some(0));
    let restarted = cluster.start(&["--service-counters"]);
    assert_eq!(restarted.count("kubeweir_sync_operations_total"), 0);
    let again = page(&restarted, now());
    assert_eq!([WEB, DNS, HOST].map(|labels| counted(&again, labels)), [web, dns, host]);
    cluster.connect("outside", "10.96.6.1:80", 1);
    assert_eq!(counted(&page(&restarted, now()), WEB)[0], 21);
    let mut top = Command::new(program());
    top.args(["top", "--interval=1", "--hostname-override=node-1"]).stdout(Stdio::piped());
    let output = cluster.node().start(&mut top).unwrap().wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("\ne2e/web:http/TCP "), "{text}");
}

#[test]
fn without_the_flag_nothing_counts_and_switching_it_off_leaves_nothing() {
    let cluster = Cluster::new();
    let listing = || {
        let mut nft = Command::new("nft");
        nft.args(["list", "ruleset"]).stdout(Stdio::piped());
        let output = cluster.node().start(&mut nft).unwrap().wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    drop(cluster.start(&[]));
    let without = listing();
    assert!(!without.contains("counter") && !without.contains("count-"), "{without}");
    drop(cluster.start(&["--service-counters"]));
    assert!(listing().contains("counter packets"));
    let proxy = cluster.start(&[]);
    assert_eq!(sorted(&listing()), sorted(&without));
    assert!(!proxy.page("/metrics").unwrap().1.contains("kubeweir_service_"));
    let mut top = Command::new(program());
    top.args(["top", "--hostname-override=node-1"]).stderr(Stdio::piped());
    let output = cluster.node().start(&mut top).unwrap().wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("set serviceCounters") && said.contains("--service-counters"), "{said}");
}

#[test]
fn state_and_list_tell_what_is_programmed_from_which_version() {
    let cluster = Cluster::new();
    let proxy = cluster.start(&[]);
    let ask = |path: &str| {
        let (status, text) = proxy.page(path).unwrap();
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    let (status, state) = ask("/state?service=e2e/web");
    assert_eq!((status, &state["programmed"], &state["pending"]), (200, &true.into(), &false.into()));
    assert!(state["since"].as_str().unwrap().ends_with('Z'), "{state}");
    assert!(!state["inForce"]["service"].as_str().unwrap().is_empty(), "{state}");
    assert_eq!(state["inForce"], state["seen"]);
    let frontends: Vec<&Value> = state["ports"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|port| port["frontends"].as_array().unwrap())
        .collect();
    assert!(frontends.iter().any(|f| f["kind"] == "NodePort" && f["port"] == 30_600), "{state}");
    // A version that comes without a change is in force, and nothing was done for it.
    let batches = proxy.count("kubeweir_sync_batches_total");
    cluster.api.apply(&format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: e2e, labels: {{a: b}}}}, {}}}",
        "spec: {type: NodePort, clusterIP: 10.96.6.1, clusterIPs: [10.96.6.1, 'fd00:96::6:1'], ports: [\
         {name: http, port: 80, nodePort: 30600}, {name: dns, port: 53, protocol: UDP, targetPort: 8053}]}"
    ));
    let newer = proxy.wait("the new version", |_| {
        let (_, newer) = ask("/state?service=e2e/web");
        (newer["inForce"]["service"] != state["inForce"]["service"]).then_some(newer)
    });
    assert_eq!((&newer["since"], proxy.count("kubeweir_sync_batches_total")), (&state["since"], batches));
    for (path, status) in [("/state", 200), ("/state?service=e2e/none", 404), ("/state?service=web", 400)] {
        assert_eq!(ask(path).0, status, "{path}");
    }
    assert_eq!(ask("/state").1["services"], 2);
    let mut list = Command::new(program());
    list.args(["list", "--hostname-override=node-1"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = cluster.node().start(&mut list).unwrap().wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.starts_with("SERVICE"), "{text}");
    let line = text.lines().find(|line| line.starts_with("e2e/web:http ")).unwrap();
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!((cells[2], Some(cells[3])), ("3", state["since"].as_str()));
    assert!(cells[1].starts_with("10.96.6.1:80/TCP,node:30600/TCP,[fd00:96::6:1]:80/TCP"), "{line}");
}
