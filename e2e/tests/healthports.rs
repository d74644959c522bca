//! Health-check node ports: what balancers are told, by the daemon in a node's namespace.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::http;
use kubeweir_e2e::owner::{IMPATIENT, Owner};
use kubeweir_e2e::proxy::{Ours, Proxy};
use kubeweir_playground::{Namespace, Veth};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);
/// The node's own addresses; the first of each family are its Node's.
const ADDRESSES: [&str; 4] = ["192.0.2.1/24", "192.0.2.2/24", "2001:db8::1/64", "2001:db8::2/64"];
const OPEN: &str = "kubeweir_health_check_sockets{state=\"open\"}";
const FAILED: &str = "kubeweir_health_check_sockets{state=\"failed\"}";

/// What kube-proxy 1.36 writes.
fn body(endpoints: u32, healthy: bool) -> String {
    format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t}},\n\t\"localEndpoints\": {endpoints},\n\t\"serviceProxyHealthy\": {healthy}\n}}"
    )
}

/// A cluster, and a node of it that has a neighbour.
struct Site {
    api: StandIn,
    node: Namespace,
    neighbour: Namespace,
}

impl Site {
    fn new() -> Site {
        let [node, neighbour] = ["node", "neighbour"].map(|name| Namespace::new(name).unwrap());
        Veth { here: &node, name: "lan0", there: &neighbour, peer: "eth0" }.make().unwrap();
        for address in ADDRESSES {
            node.address("lan0", address.parse().unwrap()).unwrap();
        }
        for address in ["192.0.2.100/24", "2001:db8::100/64"] {
            neighbour.address("eth0", address.parse().unwrap()).unwrap();
        }
        let api = StandIn::start();
        let internal = |address| json!({"type": "InternalIP", "address": address});
        api.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"},
            "status": {"addresses": [internal("192.0.2.1"), internal("2001:db8::1")]}}));
        Site { api, node, neighbour }
    }

    fn start(&self, flags: &[&str]) -> Proxy {
        let kubeconfig = format!("--kubeconfig={}", self.api.listen_in(&self.node).display());
        let flags = flags.iter().map(|&flag| flag.to_owned()).chain([kubeconfig]).collect();
        let proxy = Proxy::ours(&self.node, &Ours { flags, name: "node-1" });
        proxy.wait_for_log("synced everything");
        proxy
    }

    /// Puts a Service in both families whose balancer asks at this port.
    fn service(&self, port: u16) {
        self.policy("Local", port);
    }

    fn policy(&self, policy: &str, port: u16) {
        self.api.put(json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"type": "LoadBalancer", "externalTrafficPolicy": policy, "healthCheckNodePort": port,
                "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00:96::10"],
                "ports": [{"name": "http", "port": 80, "protocol": "TCP"},
                    {"name": "https", "port": 443, "protocol": "TCP"}]}}));
    }

    /// Endpoints with their nodes, and whether they are ready; those that are not terminate.
    fn slice(&self, family: &str, endpoints: &[(&str, &str, bool)]) {
        let endpoint = |&(address, node, ready): &(&str, &str, bool)| {
            json!({"addresses": [address], "nodeName": node,
                "conditions": {"ready": ready, "serving": true, "terminating": !ready}})
        };
        let endpoints: Vec<Value> = endpoints.iter().map(endpoint).collect();
        self.api.put(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("web-{}", family.to_lowercase()), "namespace": "shop",
                "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": family, "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"},
                {"name": "https", "port": 8443, "protocol": "TCP"}]}));
    }

    /// All that is answered to a request.
    fn exchange(&self, to: &str, request: &str) -> Option<String> {
        let mut stream = self.connect(to)?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    fn connect(&self, to: &str) -> Option<TcpStream> {
        let to: SocketAddr = to.parse().unwrap();
        let connect = || TcpStream::connect_timeout(&to, PATIENCE);
        let stream = self.neighbour.run(connect).unwrap().ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(stream)
    }

    /// Status and number of endpoints.
    fn told(&self, to: &str) -> Option<(u16, u32)> {
        let text = self.exchange(to, &request("GET", "/", ""))?;
        let status = text.split_whitespace().nth(1)?.parse().ok()?;
        let weight = text.lines().find_map(|line| line.strip_prefix("X-Load-Balancing-Endpoint-Weight: "))?;
        Some((status, weight.parse().ok()?))
    }

    fn wait(&self, proxy: &Proxy, to: &str, expected: Option<(u16, u32)>) {
        proxy.wait(&format!("{expected:?} at {to}"), |_| (self.told(to) == expected).then_some(()));
    }

    /// An Event that says that a socket cannot be opened.
    fn complaint(&self) -> Option<Value> {
        let mut events = self.api.objects("events");
        events.retain(|event| event["reason"] == "FailedToStartServiceHealthcheck");
        events.pop()
    }
}

fn wait_for_sockets(proxy: &Proxy, open: u64, failed: u64) {
    let counts = |proxy: &Proxy| (proxy.count(OPEN), proxy.count(FAILED));
    let what = format!("{open} sockets open and {failed} failed");
    proxy.wait(&what, |proxy| (counts(proxy) == (open, failed)).then_some(()));
}

fn request(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: balancer\r\nConnection: close\r\n{more}\r\n")
}

/// Status line, ordered headers but the date, and body.
fn parts(text: &str) -> (String, Vec<String>, String) {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n").map(str::to_owned);
    let status = lines.next().unwrap();
    let mut headers: Vec<String> = lines.filter(|line| !line.starts_with("Date: ")).collect();
    headers.sort();
    (status, headers, body.to_owned())
}

/// Ordered headers but the date.
fn headers(length: usize, weight: u32) -> Vec<String> {
    [
        "Connection: close",
        &format!("Content-Length: {length}"),
        "Content-Type: application/json",
        "X-Content-Type-Options: nosniff",
        &format!("X-Load-Balancing-Endpoint-Weight: {weight}"),
    ]
    .map(str::to_owned)
    .to_vec()
}

#[test]
fn every_request_gets_the_bytes_that_kube_proxy_answers_with() {
    let site = Site::new();
    site.service(30_100);
    site.slice("IPv4", &[("10.244.0.2", "node-1", true), ("10.244.1.2", "node-2", true)]);
    let proxy = site.start(&[]);
    site.wait(&proxy, "192.0.2.1:30100", Some((200, 1)));
    let good = ("HTTP/1.1 200 OK".to_owned(), headers(body(1, true).len(), 1), body(1, true));
    for (method, path, more) in [
        ("GET", "/", ""),
        ("GET", "/any/path?with=question", ""),
        ("DELETE", "/healthz", ""),
        ("ODD", "*", ""),
        ("POST", "/", "Content-Length: 0\r\n"),
    ] {
        let answer = site.exchange("192.0.2.1:30100", &request(method, path, more)).unwrap();
        assert_eq!(parts(&answer), good, "{method} {path}");
    }
    let head = parts(&site.exchange("192.0.2.1:30100", &request("HEAD", "/", "")).unwrap());
    assert_eq!(head, (good.0, good.1, String::new()));
    site.slice("IPv4", &[("10.244.0.2", "node-1", false)]);
    site.wait(&proxy, "192.0.2.1:30100", Some((503, 0)));
    let bad = ("HTTP/1.1 503 Service Unavailable".to_owned(), headers(body(0, true).len(), 0), body(0, true));
    assert_eq!(parts(&site.exchange("192.0.2.1:30100", &request("GET", "/", "")).unwrap()), bad);
}

/// A node that cannot program changes tells balancers to go elsewhere, and how many endpoints are in force, until it can again.
#[test]
fn balancers_are_sent_elsewhere_while_changes_cannot_be_programmed() {
    let site = Site::new();
    site.service(30_100);
    site.slice("IPv4", &[("10.244.0.2", "node-1", true)]);
    let proxy = site.start(&IMPATIENT);
    site.wait(&proxy, "192.0.2.1:30100", Some((200, 1)));
    let owner = Owner::of_our_table(&site.node);
    site.slice("IPv4", &[("10.244.0.2", "node-1", true), ("10.244.0.3", "node-1", true)]);
    site.wait(&proxy, "192.0.2.1:30100", Some((503, 1)));
    let answer = site.exchange("192.0.2.1:30100", &request("GET", "/", "")).unwrap();
    let stuck = body(1, false);
    let expected = ("HTTP/1.1 503 Service Unavailable".to_owned(), headers(stuck.len(), 1), stuck);
    assert_eq!(parts(&answer), expected);
    owner.go();
    site.wait(&proxy, "192.0.2.1:30100", Some((200, 2)));
}

/// The ports are the Services', not the health server's.
#[test]
fn ports_answer_without_a_health_server() {
    let site = Site::new();
    site.service(30_100);
    site.slice("IPv4", &[("10.244.0.2", "node-1", true)]);
    let proxy = site.start(&["--healthz-bind-address=0"]);
    site.wait(&proxy, "192.0.2.1:30100", Some((200, 1)));
    assert_eq!(proxy.health("/healthz"), None);
}

#[test]
fn ports_follow_services_endpoints_and_the_nodes_primary_addresses() {
    let site = Site::new();
    site.service(30_100);
    let proxy = site.start(&[]);
    site.wait(&proxy, "192.0.2.1:30100", Some((503, 0)));
    site.wait(&proxy, "[2001:db8::1]:30100", Some((503, 0)));
    wait_for_sockets(&proxy, 2, 0);
    let near = [("10.244.0.2", "node-1", true), ("10.244.0.3", "node-1", true)];
    site.slice("IPv4", &near);
    site.wait(&proxy, "192.0.2.1:30100", Some((200, 2)));
    assert_eq!(site.told("[2001:db8::1]:30100"), Some((503, 0)), "each family for itself");
    site.slice("IPv6", &[("fd00:244::2", "node-1", true)]);
    site.wait(&proxy, "[2001:db8::1]:30100", Some((200, 1)));
    for other in ["192.0.2.2:30100", "[2001:db8::2]:30100"] {
        assert_eq!(site.told(other), None, "not the Node's first address");
    }
    // A balancer that keeps its connection must not go on believing.
    let mut kept = site.connect("192.0.2.1:30100").unwrap();
    kept.write_all(b"GET / HTTP/1.1\r\nHost: balancer\r\n\r\n").unwrap();
    let mut answer = vec![0; 12];
    kept.read_exact(&mut answer).unwrap();
    assert_eq!(answer, b"HTTP/1.1 200");
    site.service(30_101);
    site.wait(&proxy, "192.0.2.1:30101", Some((200, 2)));
    assert_eq!(site.told("192.0.2.1:30100"), None);
    wait_for_sockets(&proxy, 2, 0);
    let _ = kept.write_all(b"GET / HTTP/1.1\r\nHost: balancer\r\n\r\n");
    let mut rest = String::new();
    let _ = kept.read_to_string(&mut rest);
    assert!(!rest.contains("HTTP/1.1 200"), "{rest}");
    site.policy("Cluster", 0);
    site.wait(&proxy, "192.0.2.1:30101", None);
    site.service(30_102);
    site.wait(&proxy, "192.0.2.1:30102", Some((200, 2)));
    site.api.delete("services", "shop", "web");
    site.wait(&proxy, "192.0.2.1:30102", None);
    wait_for_sockets(&proxy, 0, 0);
}

#[test]
fn all_addresses_are_one_socket_for_each_family_and_the_hosts_addresses_are_followed() {
    let site = Site::new();
    site.service(30_100);
    site.slice("IPv4", &[("10.244.0.2", "node-1", true)]);
    let everywhere = site.start(&["--nodeport-addresses=0.0.0.0/0,::/0"]);
    for v4 in ["192.0.2.1:30100", "192.0.2.2:30100"] {
        site.wait(&everywhere, v4, Some((200, 1)));
    }
    for v6 in ["[2001:db8::1]:30100", "[2001:db8::2]:30100"] {
        site.wait(&everywhere, v6, Some((503, 0)));
    }
    wait_for_sockets(&everywhere, 2, 0);
    drop(everywhere);
    // Each address of this prefix, and those that come; the other family is not restricted.
    let some = site.start(&["--nodeport-addresses=192.0.2.0/25"]);
    site.wait(&some, "192.0.2.2:30100", Some((200, 1)));
    wait_for_sockets(&some, 3, 0);
    site.node.address("lan0", "192.0.2.7/24".parse().unwrap()).unwrap();
    site.wait(&some, "192.0.2.7:30100", Some((200, 1)));
    site.node.delete_address("lan0", "192.0.2.2".parse().unwrap()).unwrap();
    wait_for_sockets(&some, 3, 0);
    assert_eq!(site.told("192.0.2.1:30100"), Some((200, 1)));
}

#[test]
fn an_address_that_somebody_else_has_is_told_once_and_tried_again_while_others_answer() {
    let site = Site::new();
    let occupied = site.node.run(|| TcpListener::bind("192.0.2.2:30100").unwrap()).unwrap();
    let proxy = site.start(&["--nodeport-addresses=192.0.2.0/25"]);
    site.service(30_100);
    site.slice("IPv4", &[("10.244.0.2", "node-1", true)]);
    site.wait(&proxy, "192.0.2.1:30100", Some((200, 1)));
    let event = proxy.wait("an Event", |_| site.complaint());
    assert_eq!((&event["type"], &event["action"]), (&"Warning".into(), &"Listen".into()));
    assert_eq!(
        (&event["regarding"]["kind"], &event["regarding"]["name"]),
        (&"Service".into(), &"web".into())
    );
    let why = "health checks on 192.0.2.2:30100 are not answered: Address in use (os error 98)";
    assert_eq!(event["note"].as_str().unwrap().replace("Address already in use", "Address in use"), why);
    wait_for_sockets(&proxy, 2, 1);
    // Nothing happens but time.
    drop(occupied);
    site.wait(&proxy, "192.0.2.2:30100", Some((200, 1)));
    wait_for_sockets(&proxy, 3, 0);
    assert_eq!(proxy.log().matches("cannot answer health checks").count(), 1);
    assert!(proxy.log().contains("answers health checks now"));
}

/// `0.0.0.0`, the default, and `::` mean every address to programs in Go; any other address means itself.
#[test]
fn the_servers_addresses_for_all_answer_over_both_families_and_others_over_their_own() {
    let site = Site::new();
    let answers = |port: u16| {
        ["192.0.2.1", "2001:db8::1"].map(|address| {
            let address = SocketAddr::new(address.parse().unwrap(), port);
            http::get(&site.neighbour, address, "/livez").is_some()
        })
    };
    let proxy = site.start(&["--metrics-bind-address=[::]:10249"]);
    assert_eq!([10256, 10249].map(answers), [[true; 2]; 2]);
    drop(proxy);
    let _proxy =
        site.start(&["--healthz-bind-address=192.0.2.1:10256", "--metrics-bind-address=[2001:db8::1]:10249"]);
    assert_eq!([10256, 10249].map(answers), [[true, false], [false, true]]);
}
