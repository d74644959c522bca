//! The daemon from outside: a real process with real files, a real kernel, and the real `nft` as witness.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::generate;
use kubeweir_e2e::proxy::{Ours, Proxy, program};
use kubeweir_playground::Namespace;
use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;

const OPERATIONS: &str = "kubeweir_sync_operations_total";
const BATCHES: &str = "kubeweir_sync_batches_total";
const FAILURES: &str = "kubeproxy_sync_proxy_rules_nftables_sync_failures_total";

/// A Service of every kind. Session affinity is for IPv4 only: `nft` 1.0 cannot read the rules for IPv6.
const EVERY_KIND: &str = "
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}, {type: InternalIP, address: '2001:db8::1'}]}
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: kubernetes}
spec: {cidrs: [10.96.0.0/16, 'fd00:96::/64']}
---
apiVersion: v1
kind: Service
metadata: {name: sticky, namespace: kinds}
spec: {type: NodePort, clusterIP: 10.96.9.1, clusterIPs: [10.96.9.1], sessionAffinity: ClientIP,
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 600}}, externalTrafficPolicy: Local, ports: [{port: 80, nodePort: 30901}]}
---
apiVersion: v1
kind: Service
metadata: {name: balanced, namespace: kinds}
spec: {type: LoadBalancer, clusterIP: 10.96.9.2, clusterIPs: [10.96.9.2, 'fd00:96::9:2'], externalIPs: [203.0.113.2, '2001:db8:113::2'],
  loadBalancerSourceRanges: [192.0.2.0/24, 198.51.100.7/32, '2001:db8::/64'], ports: [{port: 80, nodePort: 30902}]}
status: {loadBalancer: {ingress: [{ip: 203.0.113.102}, {ip: '2001:db8:113::102'}]}}
---
apiVersion: v1
kind: Service
metadata: {name: local, namespace: kinds}
spec: {type: LoadBalancer, clusterIP: 10.96.9.3, clusterIPs: [10.96.9.3, 'fd00:96::9:3'], externalTrafficPolicy: Local,
  externalIPs: [203.0.113.3, '2001:db8:113::3'], ports: [{port: 80, nodePort: 30903}]}
---
apiVersion: v1
kind: Service
metadata: {name: far, namespace: kinds}
spec: {type: LoadBalancer, clusterIP: 10.96.9.4, clusterIPs: [10.96.9.4, 'fd00:96::9:4'], externalTrafficPolicy: Local,
  internalTrafficPolicy: Local, externalIPs: [203.0.113.4, '2001:db8:113::4'], ports: [{port: 80, nodePort: 30904}]}
---
apiVersion: v1
kind: Service
metadata: {name: idle, namespace: kinds}
spec: {type: LoadBalancer, clusterIP: 10.96.9.5, clusterIPs: [10.96.9.5, 'fd00:96::9:5'], externalIPs: [203.0.113.5, '2001:db8:113::5'],
  ports: [{port: 80, nodePort: 30905}, {name: s, port: 80, protocol: SCTP}]}
";
/// Names of sets, with something in them, that those Services need.
const NEEDED: [&str; 14] = [
    "sticky-services-600",
    "sticky-nodeports-600",
    "sticky-endpoints",
    "local-nodeport-sticky-slots",
    "external-ips",
    "nodeport-ips",
    "nodeport-endpoints",
    "local-endpoints",
    "masqueraded-nodeports",
    "policy-local-nodeports",
    "rejected-nodeports",
    "dropped-services",
    "filtered-services",
    "allowed-sources",
];

struct Host {
    node: Namespace,
    manifests: TempDir,
}

impl Host {
    fn new() -> Host {
        Host { node: Namespace::new("host").unwrap(), manifests: TempDir::new().unwrap() }
    }

    fn with_services(count: u32) -> Host {
        let host = Host::new();
        generate::write(host.path(), count, 3);
        host
    }

    fn path(&self) -> &Path {
        self.manifests.path()
    }

    /// Services of every kind, most of them with an endpoint here and some elsewhere.
    fn put_every_kind(&self) {
        generate::put(self.path(), "kinds.yaml", EVERY_KIND);
        for (number, (name, here)) in
            (1..).zip([("sticky", true), ("balanced", true), ("local", true), ("far", false)])
        {
            for (kind, prefix) in
                [("IPv4", format!("10.244.{number}.")), ("IPv6", format!("fd00:244:{number}::"))]
            {
                let endpoint = |last: u8| {
                    let node = if here && last == 1 { "node-1" } else { "node-2" };
                    json!({"addresses": [format!("{prefix}{last}")], "nodeName": node})
                };
                let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                    "metadata": {"name": format!("{name}-{kind}"), "namespace": "kinds",
                        "labels": {"kubernetes.io/service-name": name}},
                    "addressType": kind, "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
                    "endpoints": [endpoint(1), endpoint(2), endpoint(3)]});
                generate::put(self.path(), &format!("kinds-{name}-{kind}.json"), &slice.to_string());
            }
        }
    }

    fn start(&self) -> Proxy {
        let flags = vec![format!("--manifests={}", self.path().display())];
        let proxy = Proxy::ours(&self.node, &Ours { flags, name: "node-1" });
        proxy.wait_for_log("synced everything");
        proxy
    }

    /// Runs a program inside the namespace. Returns its output; failing fails the test.
    fn run(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str], input: &str) -> String {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.node.start(&mut command).unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn nft(&self, arguments: &[&str]) -> String {
        self.run("nft", arguments, "")
    }

    fn render(&self) -> String {
        let manifests = format!("--manifests={}", self.path().display());
        let prefixes = format!("--cluster-cidr={}", kubeweir_e2e::topology::POD_PREFIXES.join(","));
        let arguments =
            ["render", "--proxy-mode=nftables", "--hostname-override=node-1", &manifests, &prefixes];
        self.run(program(), &arguments, "")
    }

    fn chains(&self) -> usize {
        self.nft(&["list", "chains"]).lines().filter(|line| line.trim_start().starts_with("chain ")).count()
    }

    fn has_endpoint(&self, position: u32) -> bool {
        let address = generate::endpoint(0, position).to_string();
        self.nft(&["list", "map", "ip", "kubeweir", "endpoints"]).contains(&format!(": {address} . 8080"))
    }
}

#[test]
fn one_endpoint_among_ten_thousand_services_is_one_small_batch_and_a_restart_is_none() {
    let host = Host::with_services(10_000);
    let proxy = host.start();
    let (operations, batches) = (proxy.count(OPERATIONS), proxy.count(BATCHES));
    assert!(operations >= 50_000);
    generate::write_slice(host.path(), [0, 1, 7]);
    proxy.wait("the new endpoint", |_| host.has_endpoint(7).then_some(()));
    assert!(!host.has_endpoint(2));
    assert_eq!(proxy.count(BATCHES) - batches, 1);
    let spent = proxy.count(OPERATIONS) - operations;
    assert!((1..=12).contains(&spent), "{spent} operations");
    assert_eq!(proxy.count("kubeproxy_sync_proxy_rules_endpoint_changes_pending"), 0);
    drop(proxy);
    let restarted = host.start();
    assert_eq!((restarted.count(OPERATIONS), restarted.count(BATCHES)), (0, 0));
}

/// Nobody tells of it, and no change of a Service comes to meet it.
#[test]
fn tables_that_somebody_removes_are_there_again_soon() {
    let host = Host::with_services(3);
    let proxy = host.start();
    let tables = || ["ip", "ip6"].map(|family| host.nft(&["-s", "list", "table", family, "kubeweir"]));
    let before = tables();
    let batches = proxy.count(BATCHES);
    for (number, command) in
        (1..).zip(["flush ruleset", "delete table ip6 kubeweir", "delete table ip kubeweir"])
    {
        host.nft(&command.split(' ').collect::<Vec<_>>());
        // It is there when it is there wholly, and is left alone then.
        proxy.wait(command, |proxy| (proxy.count(BATCHES) == batches + number).then_some(()));
        assert_eq!(tables(), before, "{command}");
    }
    assert_eq!(proxy.count(FAILURES), 0);
}

#[test]
fn chains_do_not_follow_the_number_of_services_and_nft_lists_them_all() {
    let few = Host::with_services(100);
    let many = Host::with_services(10_000);
    drop((few.start(), many.start()));
    assert_eq!(few.chains(), many.chains());
    assert!(many.chains() < 150, "{}", many.chains());
    let listing = many.nft(&["list", "ruleset"]);
    assert!(listing.contains("table ip kubeweir") && listing.contains("table ip6 kubeweir"));
    assert!(listing.contains("comment \"generated/service-9999:http\""));
}

#[test]
fn rendered_text_loads_with_nft_and_is_what_the_daemon_programs() {
    let host = Host::with_services(50);
    host.put_every_kind();
    let text = host.render();
    host.run("nft", &["-c", "-f", "-"], &text);
    host.run("nft", &["-f", "-"], &text);
    let loaded = host.nft(&["list", "table", "ip", "kubeweir"]);
    for name in NEEDED {
        let set = loaded.split("\n\t}").find(|block| block.contains(&format!(" {name} {{")));
        assert!(set.is_some_and(|set| set.contains("elements = {")), "nothing in {name}:\n{loaded}");
    }
    // The daemon finds nothing to do over what nft made of the text.
    let proxy = host.start();
    assert_eq!(proxy.count(OPERATIONS), 0);
    // And nft can check and load the text over what the daemon keeps.
    host.run("nft", &["-c", "-f", "-"], &text);
    let listed = host.nft(&["list", "ruleset"]);
    host.nft(&["flush", "ruleset"]);
    host.run("nft", &["-f", "-"], &listed);
    assert_eq!(host.nft(&["list", "ruleset"]), listed);
}

#[test]
fn a_broken_manifest_changes_nothing_and_is_named() {
    let host = Host::with_services(10);
    let proxy = host.start();
    let (before, batches) = (host.nft(&["list", "ruleset"]), proxy.count(BATCHES));
    generate::put(host.path(), "changing.json", "{\"apiVersion\": \"v1\",\n \"kind\": 5}");
    proxy.wait_for_log("changing.json");
    let line = proxy.log().lines().find(|line| line.contains("changing.json")).unwrap().to_owned();
    assert!(line.contains("ERROR") && line.contains("line=2"), "{line}");
    assert_eq!((host.nft(&["list", "ruleset"]), proxy.count(BATCHES)), (before, batches));
    generate::write_slice(host.path(), [5]);
    proxy.wait("the mended file", |_| host.has_endpoint(5).then_some(()));
}

#[test]
fn a_rejected_batch_leaves_the_kernel_as_it_was_and_is_retried() {
    let host = Host::with_services(10);
    let proxy = host.start();
    // Somebody takes away what the next batch wants to replace: the kernel refuses the whole batch.
    let gone =
        format!("{{ {} . tcp . 80 . 2 }}", generate::service(0)["spec"]["clusterIP"].as_str().unwrap());
    host.nft(&["delete", "element", "ip", "kubeweir", "endpoints", &gone]);
    generate::write_slice(host.path(), [0, 1, 6]);
    proxy.wait_for_log("will be retried");
    let line = proxy.log().lines().find(|line| line.contains("will be retried")).unwrap().to_owned();
    assert!(
        line.contains("replace 1 elements of endpoints") && line.contains("10.96.0.0 . tcp . 80 . 2"),
        "{line}"
    );
    proxy.wait("the retry", |_| host.has_endpoint(6).then_some(()));
    assert_eq!(proxy.count(FAILURES), 1);
    assert_eq!(proxy.health("/livez").unwrap().0, 200);
}

#[test]
fn a_flushed_ruleset_comes_back_with_the_next_change() {
    let host = Host::with_services(10);
    let proxy = host.start();
    let before = host.nft(&["list", "ruleset"]);
    host.nft(&["flush", "ruleset"]);
    generate::write_slice(host.path(), [0, 1]);
    proxy.wait("everything again", |_| host.nft(&["list", "tables"]).contains("ip6 kubeweir").then_some(()));
    generate::write_slice(host.path(), [0, 1, 2]);
    proxy.wait("the old state", |_| (host.nft(&["list", "ruleset"]) == before).then_some(()));
}

#[test]
fn sigterm_leaves_the_rules_and_exits_with_0() {
    let host = Host::with_services(10);
    let proxy = host.start();
    let before = host.nft(&["list", "ruleset"]);
    // Not at once: whatever waits for a time must be waiting by then.
    proxy.wait("a look at the host", |proxy| (proxy.count("kubeweir_host_findings") == 0).then_some(()));
    let (code, log) = proxy.end(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(host.nft(&["list", "ruleset"]), before);
}

#[test]
fn render_says_what_older_programs_cannot_read() {
    let complaints = |address: &str| {
        let manifests = TempDir::new().unwrap();
        let mut sticky = generate::service(1);
        sticky["spec"]["clusterIP"] = address.into();
        sticky["spec"]["clusterIPs"] = serde_json::json!([address]);
        sticky["spec"]["sessionAffinity"] = "ClientIP".into();
        generate::put(manifests.path(), "service.json", &sticky.to_string());
        let family = if address.contains(':') { "IPv6" } else { "IPv4" };
        let endpoint = if address.contains(':') { "fd00:244:1::2" } else { "10.244.1.2" };
        let mut slice = generate::slice(1, [0]);
        (slice["addressType"], slice["endpoints"][0]["addresses"][0]) = (family.into(), endpoint.into());
        generate::put(manifests.path(), "slice.json", &slice.to_string());
        let directory = format!("--manifests={}", manifests.path().display());
        let flags = kubeweir_e2e::proxy::common_flags("nftables", "node-1");
        let output = Command::new(program()).arg("render").args(flags).arg(directory).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(
        complaints("fd00:96::1").contains("nft reads the rules of IPv6 session affinity from version 1.1")
    );
    assert!(!complaints("10.96.0.1").contains("nft reads"));
}

#[test]
fn the_demo_ends_well_and_without_a_word_too_many() {
    let output = Command::new(program()).args(["demo", "--connections=200"]).output().unwrap();
    let (said, complaints) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complaints}");
    assert!(said.contains("all went right") && !complaints.contains("panicked"), "{complaints}");
}

#[test]
fn nothing_is_programmed_before_every_watch_has_delivered_its_list() {
    let (host, api) = (Host::new(), StandIn::start());
    api.put(generate::service(1));
    api.hold("nodes");
    let flags = vec![format!("--kubeconfig={}", api.listen_in(&host.node).display())];
    let proxy = Proxy::ours(&host.node, &Ours { flags, name: "node-1" });
    proxy.wait("three lists", |proxy| (proxy.count("kubeweir_lists_awaited") == 1).then_some(()));
    assert!(host.nft(&["list", "tables"]).is_empty());
    assert_eq!((proxy.health("/livez").unwrap().0, proxy.health("/healthz").unwrap().0), (200, 503));
    api.release();
    proxy.wait_for_log("synced everything");
    assert!(host.nft(&["list", "tables"]).contains("ip kubeweir"));
    api.apply("{apiVersion: v1, kind: Node, metadata: {name: node-1}}");
    proxy.wait("eligibility", |proxy| (proxy.health("/healthz")?.0 == 200).then_some(()));
    let taint = "spec: {taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]}";
    api.apply(&format!("{{apiVersion: v1, kind: Node, metadata: {{name: node-1}}, {taint}}}"));
    proxy.wait("ineligibility", |proxy| (proxy.health("/healthz")?.0 == 503).then_some(()));
    assert_eq!(proxy.health("/livez").unwrap().0, 200);
}

#[test]
fn explain_answers_by_manifests_and_by_the_running_daemon() {
    let host = Host::with_services(10);
    let packet = ["--from=10.244.1.9", "--to=10.96.0.3:80/TCP"];
    let manifests = format!("--manifests={}", host.path().display());
    let flags = kubeweir_e2e::proxy::common_flags("nftables", "node-1");
    let arguments: Vec<&str> =
        ["explain"].into_iter().chain(packet).chain(flags.iter().map(String::as_str)).collect();
    let proxy = host.start();
    let by_daemon = host.run(program(), &arguments, "");
    let by_manifests = host.run(program(), &[&arguments[..], &[&manifests]].concat(), "");
    assert_eq!(by_daemon, by_manifests);
    for part in [
        "a pod",
        "generated/service-3:http",
        "one of 3 endpoints",
        "10.200.0.24:8080",
        "pods keep their address",
    ] {
        assert!(by_daemon.contains(part), "{part:?} is not in\n{by_daemon}");
    }
    let (status, complaint) = proxy.page("/explain?from=10.244.1.9&to=nowhere").unwrap();
    assert_eq!((status, complaint.starts_with("to: \"nowhere\" is not")), (400, true));
}

#[test]
fn metrics_have_the_names_of_kube_proxy() {
    let (host, api) = (Host::new(), StandIn::start());
    let flags = vec![format!("--kubeconfig={}", api.listen_in(&host.node).display())];
    let proxy = Proxy::ours(&host.node, &Ours { flags, name: "node-1" });
    proxy.wait_for_log("synced everything");
    api.put(generate::service(1));
    let mut slice = generate::slice(1, [0]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let trigger =
        k8s_openapi::jiff::Timestamp::from_second(i64::try_from(now).unwrap() + 1).unwrap().to_string();
    slice["metadata"]["annotations"] =
        serde_json::json!({"endpoints.kubernetes.io/last-change-trigger-time": trigger});
    api.put(slice);
    let latency = "kubeproxy_network_programming_duration_seconds_count";
    proxy.wait("a latency sample", |proxy| (proxy.count(latency) == 1).then_some(()));
    let page = proxy.page("/metrics").unwrap().1;
    for name in [
        "kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"0.001\",ip_family=\"IPv4\"}",
        "kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"16.384\",ip_family=\"IPv6\"}",
        "kubeproxy_sync_full_proxy_rules_duration_seconds_count",
        "kubeproxy_sync_partial_proxy_rules_duration_seconds_count",
        "kubeproxy_network_programming_duration_seconds_bucket{le=\"300\",ip_family=\"IPv4\"}",
        "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"}",
        "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv6\"}",
        "kubeproxy_sync_proxy_rules_endpoint_changes_total 1",
        "kubeproxy_sync_proxy_rules_service_changes_total 1",
    ] {
        assert!(page.contains(name), "{name} is not in\n{page}");
    }
    assert_eq!(proxy.page("/proxyMode").unwrap(), (200, "nftables".to_owned()));
    assert_eq!(proxy.page("/other").unwrap().0, 404);
}
