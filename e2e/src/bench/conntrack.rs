//! What ending a stale flow costs, by the number of flows that have nothing to do with it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Once;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use kubeweir_e2e::flows::{self, New};
use kubeweir_e2e::generate;
use kubeweir_e2e::proxy::{Ours, Proxy};
use kubeweir_netlink::nfnl::PROTOCOL;
use kubeweir_netlink::socket::Socket;
use kubeweir_netlink::{conntrack, wire};
use kubeweir_playground::Namespace;
use serde_json::json;
use tempfile::TempDir;

use crate::measure::{Resident, Samples, pause, resident};

const CHANGES: u16 = 40;
/// Longer than the pause that the proxy makes between two checks.
const REST: Duration = Duration::from_millis(250);
const LOST: Duration = Duration::from_secs(30);
/// `NFNLGRP_CONNTRACK_DESTROY`
const GROUP_ENDED: u32 = 3;
/// The kernel's limit; for all namespaces one, and only the first may write it.
const LIMIT: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const UDP: u8 = 17;
const TCP: u8 = 6;
const CHECKS: &str = "kubeproxy_conntrack_reconciler_sync_duration_seconds";

/// Measures and prints one row.
pub(crate) fn measure(unrelated: u32) {
    let before = raise_limit();
    let (node, manifests) = (Namespace::new("flows").unwrap(), TempDir::new().unwrap());
    flows::make(&node, (0..unrelated).map(unrelated_flow));
    write(&manifests, 0);
    let flags = vec![format!("--manifests={}", manifests.path().display())];
    let proxy = Proxy::ours(&node, &Ours { flags, name: "node-1" });
    proxy.wait_for_log("ended stale flows");
    let first = resident(proxy.id()).now;
    let checks = seconds(&proxy);
    let samples = changes(&node, &manifests);
    let mean = (seconds(&proxy) - checks) / f64::from(CHANGES) * 1000.0;
    let Resident { now, peak } = resident(proxy.id());
    println!("| {unrelated} | {samples} | {mean:.2} | {first:.1} | {now:.1} | {peak:.1} |");
    drop(proxy);
    fs::write(LIMIT, before).unwrap();
    // A namespace that goes away keeps the kernel busy for seconds.
    std::mem::forget(node);
}

/// Returns the limit to be restored. A panic ends this program at once, so it restores the limit first.
fn raise_limit() -> String {
    static HOOK: Once = Once::new();
    let before = fs::read_to_string(LIMIT).unwrap();
    let saved = before.clone();
    HOOK.call_once(move || {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let _ = fs::write(LIMIT, &saved);
            tell(panic);
        }));
    });
    let wanted = before.trim().parse::<u32>().unwrap().max(1_000_000);
    fs::write(LIMIT, wanted.to_string()).unwrap();
    before
}

/// UDP and TCP in turn, all from pods, half of them to the Service's own port elsewhere.
fn unrelated_flow(number: u32) -> New {
    let source = Ipv4Addr::from_bits(0x0af4_0000 | number & 0xffff);
    let port = 1024 + u16::try_from(number >> 16).unwrap();
    let destination = Ipv4Addr::from_bits(0xc612_0000 | number & 0x1_ffff);
    let (protocol, to) = if number.is_multiple_of(2) { (UDP, 53) } else { (TCP, 443) };
    let destination = SocketAddr::from((destination, to));
    New { protocol, source: (source, port).into(), destination, answered_by: destination }
}

/// One endpoint after the other, each with a flow of its own.
fn changes(node: &Namespace, manifests: &TempDir) -> Samples {
    let mut ended = ended_flows(node);
    let change = |turn: u16| {
        let stale = New {
            protocol: UDP,
            source: ([10, 244, 9, 9], 2000 + turn).into(),
            destination: ([10, 96, 0, 10], 53).into(),
            answered_by: (endpoint(turn), 8053).into(),
        };
        flows::make(node, std::iter::once(stale));
        pause(REST);
        let begun = Instant::now();
        write(manifests, turn + 1);
        wait_for(&mut ended, stale.source).duration_since(begun)
    };
    (0..CHANGES).map(change).collect()
}

fn wait_for(ended: &mut Receiver<(Instant, SocketAddr)>, source: SocketAddr) -> Instant {
    loop {
        let (at, found) = ended.recv_timeout(LOST).unwrap();
        if found == source {
            return at;
        }
    }
}

/// The kernel's announcements of flows that ended, by their source.
fn ended_flows(namespace: &Namespace) -> Receiver<(Instant, SocketAddr)> {
    let (sender, receiver) = mpsc::channel();
    let mut socket = namespace.run(|| Socket::open(PROTOCOL).unwrap()).unwrap();
    socket.subscribe(GROUP_ENDED).unwrap();
    std::thread::spawn(move || {
        while let Ok(datagram) = socket.receive() {
            let at = Instant::now();
            for message in wire::messages(datagram).flatten() {
                if let Ok(Some(flow)) = conntrack::flow(&message)
                    && sender.send((at, flow.original.source)).is_err()
                {
                    return;
                }
            }
        }
    });
    receiver
}

fn endpoint(turn: u16) -> Ipv4Addr {
    let [high, low] = turn.to_be_bytes();
    Ipv4Addr::new(10, 200, high, low)
}

fn write(manifests: &TempDir, turn: u16) {
    let port = json!({"name": "dns", "port": 53, "protocol": "UDP"});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dns", "namespace": "bench"},
        "spec": {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "ports": [port]}});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "dns", "namespace": "bench", "labels": {"kubernetes.io/service-name": "dns"}},
        "addressType": "IPv4", "ports": [{"name": "dns", "port": 8053, "protocol": "UDP"}],
        "endpoints": [{"addresses": [endpoint(turn)], "conditions": {"ready": true}}]});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [service, slice]});
    generate::put(manifests.path(), "all.json", &list.to_string());
}

/// What all checks so far took.
fn seconds(proxy: &Proxy) -> f64 {
    let page = proxy.wait("metrics", |proxy| proxy.page("/metrics")).1;
    let name = format!("{CHECKS}_sum{{ip_family=\"IPv4\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0.0)
}
