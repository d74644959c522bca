//! What a change costs.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kubeweir_e2e::generate;
use kubeweir_e2e::proxy::{Ours, Proxy};
use kubeweir_playground::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::witness::run;

const SERVICES: u32 = 2000;
const REQUESTS: &str = "kubeweir_ipvs_requests_total";

/// Writes down what the process sends, with the kind of each socket.
///
/// A tracer knows the kinds of sockets of its own namespace only.
fn watch(node: &Namespace, proxy: &Proxy, to: &Path) -> Child {
    let said = to.with_extension("said");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-v", "-yy", "-s", "100000", "-e", "trace=sendto,sendmsg,sendmmsg", "-o"])
        .arg(to)
        .args(["-p", &proxy.id().to_string()])
        .stdin(Stdio::null())
        .stderr(fs::File::create(&said).unwrap());
    let child = node.start(&mut strace).unwrap();
    proxy.wait("strace", |_| fs::read_to_string(&said).unwrap().contains("attached").then_some(()));
    child
}

/// Messages that were sent through sockets of a kind: `GENERIC` is IPVS, `ROUTE` addresses, `NETFILTER` tables.
fn sent(trace: &str, kind: &str) -> usize {
    let lines = trace.lines().filter(|line| line.contains(&format!("<NETLINK:[{kind}:")));
    lines.map(|line| line.matches("nlmsg_len=").count()).sum()
}

fn real_servers(node: &Namespace) -> Vec<String> {
    let text = run(node, "ipvsadm -ln -t 10.96.0.0:80");
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("-> 10."));
    let mut found: Vec<String> =
        lines.map(|line| format!("10.{}", line.split_whitespace().next().unwrap())).collect();
    found.sort();
    found
}

#[test]
#[ignore = "runs in a guest kernel"]
fn one_endpoint_among_two_thousand_services_is_a_handful_of_requests() {
    let (node, manifests) = (Namespace::new("node").unwrap(), TempDir::new().unwrap());
    generate::write(manifests.path(), SERVICES, 3);
    let flags = vec![format!("--manifests={}", manifests.path().display())];
    let proxy = Proxy::ours(&node, &Ours { flags, name: "node-1" });
    proxy.wait_for_log("synced everything");
    let before = proxy.count(REQUESTS);
    assert!(before > 4 * u64::from(SERVICES), "{before}");
    let expected = |positions: [u32; 3]| {
        let mut all = positions.map(|position| format!("{}:8080", generate::endpoint(0, position)));
        all.sort();
        all
    };
    assert_eq!(real_servers(&node), expected([0, 1, 2]));
    let trace = manifests.path().join("trace");
    let mut strace = watch(&node, &proxy, &trace);
    generate::write_slice(manifests.path(), [0, 1, 7]);
    proxy.wait("the change", |_| (real_servers(&node) == expected([0, 1, 7])).then_some(()));
    kill(Pid::from_raw(i32::try_from(strace.id()).unwrap()), Signal::SIGINT).unwrap();
    strace.wait().unwrap();
    let trace = fs::read_to_string(&trace).unwrap();
    // Each glance at what is programmed asks for the device once, and once for a virtual server.
    let glances = trace.matches("RTM_GETLINK").count();
    let [servers, addresses, tables] = ["GENERIC", "ROUTE", "NETFILTER"].map(|kind| sent(&trace, kind));
    let (servers, addresses) = (servers - glances, addresses - glances);
    println!(
        "one endpoint among {SERVICES} Services: {servers} requests to IPVS, {addresses} for addresses, {tables} for tables"
    );
    assert!((2..=8).contains(&servers), "{servers}\n{trace}");
    assert_eq!(addresses, 0, "{trace}");
    proxy.wait("the metric", |proxy| (proxy.count(REQUESTS) == before + servers as u64).then_some(()));
}
