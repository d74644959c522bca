//! What the two ports say, in each state: a real process, fed by the API server stand-in, against recorded answers.

use std::cell::Cell;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use k8s_openapi::jiff::Timestamp;
use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::generate;
use kubeweir_e2e::http::{self, Answer};
use kubeweir_e2e::metrics::promtool;
use kubeweir_e2e::owner::{IMPATIENT, Owner, ruleset};
use kubeweir_e2e::proxy::{HEALTH, METRICS, Ours, Proxy};
use kubeweir_playground::Namespace;
use serde_json::{Value, json};

const NODE: &str = "{apiVersion: v1, kind: Node, metadata: {name: node-1}}";
const TAINTED: &str = "{apiVersion: v1, kind: Node, metadata: {name: node-1},
  spec: {taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]}}";
const ENDING: &str =
    "{apiVersion: v1, kind: Node, metadata: {name: node-1, deletionTimestamp: '2026-01-02T03:04:05Z'}}";
/// Recorded answers of `/healthz`, times apart: `NOW` is the time of the answer, `THEN` one before.
const NEVER_SYNCED: &str =
    r#"{"lastUpdated":"0001-01-01T00:00:00Z","currentTime":"NOW","nodeEligible":false,"healthy":true}"#;
const WAITED_TOO_LONG: &str = r#"{"lastUpdated":"0001-01-01T00:00:00Z","currentTime":"NOW","nodeEligible":false,"healthy":false,"status":{"IPv4":{"lastUpdated":"0001-01-01T00:00:00Z","healthy":false},"IPv6":{"lastUpdated":"0001-01-01T00:00:00Z","healthy":false}}}"#;
const UNWANTED: &str = r#"{"lastUpdated":"THEN","currentTime":"NOW","nodeEligible":false,"healthy":true,"status":{"IPv4":{"lastUpdated":"THEN","healthy":true},"IPv6":{"lastUpdated":"THEN","healthy":true}}}"#;
const GOOD: &str = r#"{"lastUpdated":"NOW","currentTime":"NOW","nodeEligible":true,"healthy":true,"status":{"IPv4":{"lastUpdated":"THEN","healthy":true},"IPv6":{"lastUpdated":"THEN","healthy":true}}}"#;
/// And of `/livez`.
const ALIVE_WITHOUT_LISTS: &str = r#"{"lastUpdated":"NOW","currentTime":"NOW","healthy":true}"#;
const STUCK: &str = r#"{"lastUpdated":"0001-01-01T00:00:00Z","currentTime":"NOW","healthy":false,"status":{"IPv4":{"lastUpdated":"0001-01-01T00:00:00Z","healthy":false},"IPv6":{"lastUpdated":"0001-01-01T00:00:00Z","healthy":false}}}"#;
const ALIVE: &str = r#"{"lastUpdated":"NOW","currentTime":"NOW","healthy":true,"status":{"IPv4":{"lastUpdated":"THEN","healthy":true},"IPv6":{"lastUpdated":"THEN","healthy":true}}}"#;
const CAUTION: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n";

/// A proxy, and how often its health was asked for.
struct Subject {
    node: Namespace,
    proxy: Proxy,
    /// `/healthz` with 200 and 503, `/livez` with 200 and 503.
    probes: Cell<[u64; 4]>,
}

impl Subject {
    fn start(node: &Namespace, kubeconfig: &std::path::Path, more: &[&str]) -> Subject {
        let mut flags = vec![format!("--kubeconfig={}", kubeconfig.display())];
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        let proxy = Proxy::ours(node, &Ours { flags, name: "node-1" });
        Subject { node: node.clone(), proxy, probes: Cell::default() }
    }

    /// A page of the metrics port.
    fn ask(&self, line: &str, headers: &[&str]) -> Answer {
        self.proxy.wait("an answer", |_| http::ask(&self.node, METRICS.parse().unwrap(), line, headers))
    }

    fn probe(&self, line: &str) -> Answer {
        let answer =
            self.proxy.wait("a probe", |_| http::ask(&self.node, HEALTH.parse().unwrap(), line, &[]));
        let mut probes = self.probes.get();
        let place = usize::from(line.ends_with("livez")) * 2 + usize::from(answer.status == 503);
        probes[place] += 1;
        self.probes.set(probes);
        answer
    }

    /// Waits until a probe is answered so, and says so whatever the method.
    fn expect(&self, path: &str, status: u16, body: &str) {
        let asked = |method: &str| {
            let answer = self.probe(&format!("{method} {path}"));
            (answer.status, timeless(&answer.body), typed(&answer))
        };
        let expected = (status, body.to_owned(), json_typed());
        self.proxy.wait(body, |_| (asked("GET") == expected).then_some(()));
        assert_eq!(asked("POST"), expected);
    }
}

/// What the headers say that matter to clients.
fn typed(answer: &Answer) -> Vec<(String, String)> {
    let of = |name: &str| answer.header(name).map(|value| (name.to_owned(), value.to_owned()));
    ["content-type", "x-content-type-options"].into_iter().filter_map(of).collect()
}

fn json_typed() -> Vec<(String, String)> {
    typed_as("application/json")
}

fn typed_as(kind: &str) -> Vec<(String, String)> {
    let pairs = [("content-type", kind), ("x-content-type-options", "nosniff")];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// The body with words for its times.
fn timeless(body: &str) -> String {
    let current = body.split("\"currentTime\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let word = |part: &str| match part.parse::<Timestamp>() {
        Ok(_) if Some(part) == current => "NOW".to_owned(),
        Ok(time) if time.as_second() > 0 => "THEN".to_owned(),
        _ => part.to_owned(),
    };
    body.split('"').map(word).collect::<Vec<_>>().join("\"")
}

#[test]
fn probes_are_answered_as_recorded_in_each_state() {
    let (node, api) = (Namespace::new("health").unwrap(), StandIn::start());
    api.hold("endpointslices");
    let owner = Owner::of_our_table(&node);
    let subject = Subject::start(&node, &api.listen_in(&node), &IMPATIENT);
    subject.proxy.wait("three lists", |proxy| (proxy.count("kubeweir_lists_awaited") == 1).then_some(()));
    subject.expect("/healthz", 503, NEVER_SYNCED);
    subject.expect("/livez", 200, ALIVE_WITHOUT_LISTS);
    api.release();
    subject.expect("/livez", 503, STUCK);
    subject.expect("/healthz", 503, WAITED_TOO_LONG);
    owner.go();
    subject.expect("/livez", 200, ALIVE);
    subject.expect("/healthz", 503, UNWANTED); // the Node is not known
    for (object, status, body) in [
        (NODE, 200, GOOD),
        (TAINTED, 503, UNWANTED),
        (NODE, 200, GOOD),
        (ENDING, 503, UNWANTED),
        (NODE, 200, GOOD),
    ] {
        api.apply(object);
        subject.expect("/healthz", status, body);
        subject.expect("/livez", 200, ALIVE);
    }
    api.delete("nodes", "", "node-1");
    subject.expect("/healthz", 503, UNWANTED);
    let [good, bad, alive, stuck] = subject.probes.get();
    for (name, code, number) in
        [("healthz", 200, good), ("healthz", 503, bad), ("livez", 200, alive), ("livez", 503, stuck)]
    {
        let line = format!("kubeproxy_proxy_{name}_total{{code=\"{code}\"}} {number}\n");
        let page = subject.ask("GET /metrics", &[]).body;
        assert!(page.contains(&line), "{line} is not in\n{page}");
    }
    for path in ["/", "/healthz/", "/healthz/ping", "/readyz", "/metrics"] {
        let answer = subject.probe(&format!("GET {path}"));
        assert_eq!((answer.status, answer.body.as_str()), (404, "404 page not found\n"), "{path}");
    }
}

/// A kubeconfig whose server takes connections and never says a word.
fn silent_server(node: &Namespace, api: &StandIn) -> (TcpListener, PathBuf) {
    let path = api.listen_in(node);
    let listener = node.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("https://").unwrap();
    let (_, after) = rest.split_once('\'').unwrap();
    let text = format!("{before}https://{}'{after}", listener.local_addr().unwrap());
    std::fs::write(&path, text).unwrap();
    (listener, path)
}

#[test]
fn both_ports_answer_and_tell_the_truth_while_the_api_server_says_nothing() {
    let (node, api) = (Namespace::new("silence").unwrap(), StandIn::start());
    let (_listener, kubeconfig) = silent_server(&node, &api);
    let subject = Subject::start(&node, &kubeconfig, &IMPATIENT);
    subject.expect("/healthz", 503, NEVER_SYNCED);
    subject.expect("/livez", 200, ALIVE_WITHOUT_LISTS);
    assert_eq!(subject.proxy.count("kubeweir_lists_awaited"), 4);
    assert_eq!(subject.ask("GET /healthz", &[]).body, "ok");
    assert!(api.requests().is_empty() && ruleset(&node).is_empty());
}

#[test]
fn both_ports_answer_and_tell_the_truth_while_the_api_server_refuses_everything() {
    let (node, api) = (Namespace::new("refusal").unwrap(), StandIn::start());
    api.set_unavailable(true);
    api.apply(NODE);
    let subject = Subject::start(&node, &api.listen_in(&node), &IMPATIENT);
    subject.proxy.wait("a request", |_| (!api.requests().is_empty()).then_some(()));
    subject.expect("/healthz", 503, NEVER_SYNCED);
    subject.expect("/livez", 200, ALIVE_WITHOUT_LISTS);
    api.set_unavailable(false);
    subject.expect("/healthz", 200, GOOD);
}

/// A Service of policy Local, whose only endpoint is on another node.
fn local_service(api: &StandIn) {
    let mut service = generate::service(2);
    service["spec"]["internalTrafficPolicy"] = "Local".into();
    service["spec"]["externalTrafficPolicy"] = "Local".into();
    service["spec"]["externalIPs"] = json!(["203.0.113.7"]);
    let mut slice = generate::slice(2, [0]);
    slice["endpoints"][0]["nodeName"] = "node-2".into();
    api.put(service);
    api.put(slice);
}

/// A proxy that has failed, then succeeded, and told about it.
fn experienced(node: &Namespace, api: &StandIn) -> Subject {
    let owner = Owner::of_our_table(node);
    let subject = Subject::start(node, &api.listen_in(node), &IMPATIENT);
    subject.expect("/livez", 503, STUCK);
    subject.expect("/healthz", 503, WAITED_TOO_LONG);
    owner.go();
    subject.expect("/livez", 200, ALIVE);
    api.apply(NODE);
    subject.expect("/healthz", 200, GOOD);
    local_service(api);
    let mut slice = generate::slice(1, [0]);
    let later = Timestamp::now().as_second() + 1;
    slice["metadata"]["annotations"] = json!({"endpoints.kubernetes.io/last-change-trigger-time":
        Timestamp::from_second(later).unwrap().to_string()});
    api.put(generate::service(1));
    api.put(slice);
    let latency = "kubeproxy_network_programming_duration_seconds_count";
    subject.proxy.wait("a latency sample", |proxy| (proxy.count(latency) == 1).then_some(()));
    let unserved = "kubeproxy_sync_proxy_rules_no_local_endpoints_total";
    subject.proxy.wait("a count of ports", |proxy| {
        proxy.page("/metrics")?.1.lines().any(|l| l.starts_with(unserved) && l.ends_with(" 1")).then_some(())
    });
    // Each object comes by itself.
    subject.proxy.wait("everything in force", |proxy| {
        let page = proxy.page("/metrics")?.1;
        IN_FORCE.iter().all(|line| page.contains(&format!("\n{line}"))).then_some(())
    });
    subject
}

/// Lines that say that two Services and two slices are in force.
const IN_FORCE: [&str; 4] = [
    "kubeproxy_sync_proxy_rules_service_changes_total 2\n",
    "kubeproxy_sync_proxy_rules_service_changes_pending 0\n",
    "kubeproxy_sync_proxy_rules_endpoint_changes_total 2\n",
    "kubeproxy_sync_proxy_rules_endpoint_changes_pending 0\n",
];

/// Beginnings of lines that the page of such a proxy has: of kube-proxy's metrics those that are in use by then.
const SAMPLES: [&str; 30] = [
    "# TYPE kubeproxy_sync_proxy_rules_service_changes_total counter\n",
    "kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"16.384\",ip_family=\"IPv4\"} ",
    "kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv6\"} ",
    "kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} ",
    "kubeproxy_network_programming_duration_seconds_bucket{le=\"0.25\",ip_family=\"IPv4\"} ",
    "kubeproxy_network_programming_duration_seconds_bucket{le=\"115\",ip_family=\"IPv4\"} ",
    "kubeproxy_network_programming_duration_seconds_bucket{le=\"300\",ip_family=\"IPv4\"} 1\n",
    "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"} 1",
    "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv6\"} 1",
    "kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=\"IPv4\",traffic_policy=\"internal\"} 1\n",
    "kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=\"IPv4\",traffic_policy=\"external\"} 1\n",
    "kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=\"IPv6\",traffic_policy=\"external\"} 0\n",
    "kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family=\"IPv4\"} ",
    "kubeproxy_proxy_healthz_total{code=\"503\"} ",
    "kubeproxy_proxy_livez_total{code=\"200\"} ",
    "kubernetes_build_info{major=\"",
    "kubernetes_feature_enabled{name=\"NFTablesProxyMode\",stage=\"\"} 1\n",
    "kubernetes_feature_enabled{name=\"NativeHistograms\",stage=\"ALPHA\"} 0\n",
    "process_cpu_seconds_total ",
    "process_open_fds ",
    "process_max_fds ",
    "process_virtual_memory_bytes ",
    "process_virtual_memory_max_bytes ",
    "process_resident_memory_bytes ",
    "process_start_time_seconds 1",
    "rest_client_requests_total{code=\"200\",method=\"GET\",host=\"127.0.0.1:",
    "kubeweir_sync_failures_total ",
    "kubeweir_sync_operations_total ",
    "kubeweir_services ",
    "kubeweir_lists_awaited 0\n",
];

#[test]
fn metrics_are_those_of_kube_proxy_and_promtool_has_nothing_to_say() {
    let (node, api) = (Namespace::new("metrics").unwrap(), StandIn::start());
    let subject = experienced(&node, &api);
    let page = subject.ask("GET /metrics", &[]);
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for sample in SAMPLES.iter().chain(&IN_FORCE) {
        let there = page.body.starts_with(*sample) || page.body.contains(&format!("\n{sample}"));
        assert!(there, "{sample} is not in\n{}", page.body);
    }
    let unused = "sync_proxy_rules_nftables_cleanup_failures";
    assert!(!page.body.contains(unused), "before its first use");
    let (said, code) = promtool(&page.body);
    assert_eq!((said.as_str(), code), ("", Some(0)), "{}", page.body);
    // It does look at what it is given.
    assert_ne!(promtool(&page.body.replace("_total counter", "_total gauge")).1, Some(0));
}

#[test]
fn open_metrics_are_for_those_who_ask() {
    let (node, api) = (Namespace::new("open").unwrap(), StandIn::start());
    let subject = Subject::start(&node, &api.listen_in(&node), &[]);
    subject.proxy.wait_for_log("synced everything");
    let page = subject.ask("GET /metrics", &["Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1"]);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(page.header("content-type"), Some(kind));
    assert!(page.body.ends_with("\n# EOF\n"), "{}", page.body);
    let family = "# TYPE kubeproxy_sync_proxy_rules_service_changes counter\nkubeproxy_sync_proxy_rules_service_changes_total 0\n";
    assert!(page.body.contains(family), "{}", page.body);
    let odd = "# TYPE kubeproxy_sync_proxy_rules_no_local_endpoints_total gauge\n";
    assert!(page.body.contains(odd), "{}", page.body);
    assert!(!page.body.contains("network_programming"), "before its first use");
    assert!(!subject.ask("GET /metrics", &["Accept: text/plain"]).body.contains("# EOF"));
}

#[test]
fn the_metrics_port_has_the_pages_of_kube_proxy_and_no_others() {
    let (node, api) = (Namespace::new("pages").unwrap(), StandIn::start());
    let subject = Subject::start(&node, &api.listen_in(&node), &[]);
    let text = "text/plain; charset=utf-8";
    for (line, status, body) in [
        ("GET /healthz", 200, "ok"),
        ("POST /healthz/ping", 200, "ok"),
        ("GET /healthz?verbose", 200, "[+]ping ok\nhealthz check passed\n"),
        ("GET /healthz?verbose&exclude=ping", 200, "[+]ping excluded: ok\nhealthz check passed\n"),
        ("GET /proxyMode", 200, "nftables"),
        ("DELETE /metrics/slis", 200, "metrics reset\n"),
        ("GET /", 404, "404 page not found\n"),
        ("GET /livez", 404, "404 page not found\n"),
        ("GET /readyz", 404, "404 page not found\n"),
        ("GET /healthz/other", 404, "404 page not found\n"),
    ] {
        let answer = subject.ask(line, &[]);
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{line}");
        assert_eq!(typed(&answer), typed_as(text), "{line}");
    }
    subject.ask("GET /healthz", &[]);
    let indicators = "# HELP kubernetes_healthcheck The latest outcome of a check: 1 is good.\n\
        # TYPE kubernetes_healthcheck gauge\nkubernetes_healthcheck{name=\"ping\",type=\"healthz\"} 1\n\
        # HELP kubernetes_healthchecks_total Outcomes of checks.\n# TYPE kubernetes_healthchecks_total counter\n\
        kubernetes_healthchecks_total{name=\"ping\",status=\"success\",type=\"healthz\"} 1\n";
    let page = subject.ask("GET /metrics/slis", &[]).body;
    assert_eq!(page, indicators);
    assert_eq!(promtool(&page), (String::new(), Some(0)));
}

#[test]
fn what_runs_here_is_said_to_people_and_to_programs() {
    let (node, api) = (Namespace::new("zpages").unwrap(), StandIn::start());
    let subject = Subject::start(&node, &api.listen_in(&node), &[]);
    let read = |answer: &Answer| serde_json::from_str::<Value>(&answer.body).unwrap();
    let as_program = |path: &str, media: &str, kind: &str, version: &str| {
        let accept = format!("Accept: application/{media};v={version};g=config.k8s.io;as={kind}");
        subject.ask(&format!("GET {path}"), &[&accept])
    };
    let configz = subject.ask("GET /configz", &[]);
    assert_eq!(typed(&configz), json_typed());
    assert!(read(&configz).as_object().unwrap().keys().eq(["kubeproxy.config.k8s.io"]), "{}", configz.body);
    let version = read(&subject.ask("GET /version", &[]));
    assert!(version["gitVersion"].as_str().unwrap().ends_with("+kubeweir"), "{version}");
    assert_eq!((&version["emulationMajor"], &version["emulationMinor"]), (&json!("1"), &json!("36")));
    let flagz = subject.ask("GET /flagz", &[]).body;
    assert!(flagz.starts_with(&format!("\nkube-proxy flagz\n{CAUTION}")), "{flagz}");
    let flagz = read(&as_program("/flagz", "json", "Flagz", "v1beta1"));
    assert_eq!((&flagz["kind"], &flagz["apiVersion"]), (&json!("Flagz"), &json!("config.k8s.io/v1beta1")));
    assert!(flagz["flags"].is_object() && flagz["metadata"] == json!({"name": "kube-proxy"}), "{flagz}");
    let statusz = subject.ask("GET /statusz", &[]).body;
    let binary = version["gitVersion"].as_str().unwrap().trim_start_matches('v');
    let end = format!(
        "\nBinary version: {binary}\nEmulation version: 1.36\nPaths: /configz /explain /flagz /healthz /metrics /metrics/slis /proxyMode /state /statusz /version\n"
    );
    assert!(statusz.starts_with(&format!("\nkube-proxy statusz\n{CAUTION}\nStarted: 2")), "{statusz}");
    assert!(statusz.contains("\nUp: 0 hr 0") && statusz.ends_with(&end), "{statusz}");
    let answer = as_program("/statusz", "json", "Statusz", "v1beta1");
    assert_eq!((typed(&answer), answer.header("warning")), (json_typed(), None));
    let mut statusz = read(&answer);
    assert!(statusz["startTime"].take().as_str().unwrap().parse::<Timestamp>().is_ok());
    assert!(statusz["uptimeSeconds"].take().is_u64());
    let paths = [
        "/configz",
        "/explain",
        "/flagz",
        "/healthz",
        "/metrics",
        "/metrics/slis",
        "/proxyMode",
        "/state",
        "/statusz",
        "/version",
    ];
    assert_eq!(
        statusz,
        json!({"kind": "Statusz", "apiVersion": "config.k8s.io/v1beta1", "metadata": {"name": "kube-proxy"},
            "startTime": null, "uptimeSeconds": null, "goVersion": "", "binaryVersion": binary,
            "emulationVersion": "1.36", "paths": paths})
    );
    let old = as_program("/statusz", "json", "Statusz", "v1alpha1");
    let warning = "299 - \"This version of the statusz endpoint is deprecated. Please use a newer version.\"";
    assert_eq!(old.header("warning"), Some(warning));
    let yaml = as_program("/statusz", "yaml", "Statusz", "v1beta1");
    assert_eq!(typed(&yaml), typed_as("application/yaml"));
    assert!(yaml.body.starts_with("kind: Statusz\napiVersion: config.k8s.io/v1beta1\n"), "{}", yaml.body);
    let refused = subject.ask("GET /flagz", &["Accept: application/vnd.kubernetes.protobuf"]);
    assert_eq!((refused.status, &read(&refused)["reason"]), (406, &json!("NotAcceptable")));
}
