//! The dashboard and the alert rules use metrics that the program really exports, and `promtool` accepts the rules.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::generate;
use kubeweir_e2e::metrics::expected;
use kubeweir_e2e::owner::Owner;
use kubeweir_e2e::proxy::{Ours, Proxy};
use kubeweir_playground::Namespace;
use promql_parser::parser::{self, Expr};
use serde_json::Value;

/// What a range of Grafana's stands for.
const RANGE: (&str, &str) = ("$__rate_interval", "5m");
/// What Prometheus itself says of each target.
const OF_PROMETHEUS: &str = "up";

fn dashboards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("dashboards")
}

fn dashboard() -> Value {
    serde_json::from_str(&std::fs::read_to_string(dashboards().join("kubeweir.json")).unwrap()).unwrap()
}

fn of_dashboard() -> Vec<String> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().replace(RANGE.0, RANGE.1)).collect()
}

fn of_alerts() -> Vec<String> {
    let text = std::fs::read_to_string(dashboards().join("alerts.yaml")).unwrap();
    let alerts: Value = serde_saphyr::from_str(&text).unwrap();
    let groups = alerts["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    rules.map(|rule| rule["expr"].as_str().unwrap().to_owned()).collect()
}

/// Adds the names of all metrics in an expression.
fn names(expression: &Expr, out: &mut BTreeSet<String>) {
    match expression {
        Expr::Aggregate(aggregate) => {
            names(&aggregate.expr, out);
            aggregate.param.iter().for_each(|parameter| names(parameter, out));
        }
        Expr::Unary(unary) => names(&unary.expr, out),
        Expr::Binary(binary) => {
            names(&binary.lhs, out);
            names(&binary.rhs, out);
        }
        Expr::Paren(inner) => names(&inner.expr, out),
        Expr::Subquery(query) => names(&query.expr, out),
        Expr::VectorSelector(selector) => drop(out.insert(selector.name.clone().expect("a name"))),
        Expr::MatrixSelector(selector) => drop(out.insert(selector.vs.name.clone().expect("a name"))),
        Expr::Call(call) => call.args.args.iter().for_each(|argument| names(argument, out)),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => {}
        Expr::Extension(_) => panic!("{expression:?}"),
    }
}

/// The names of all metrics that dashboard and alerts use.
fn used() -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for text in of_dashboard().iter().chain(&of_alerts()) {
        let parsed = parser::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        names(&parsed, &mut used);
    }
    used.remove(OF_PROMETHEUS);
    assert!(used.len() > 20, "{used:?}");
    used
}

/// All samples of a daemon that counts and has seen and done what daemons do.
fn exported() -> String {
    let (node, api) = (Namespace::new("host").unwrap(), StandIn::start());
    api.apply("{apiVersion: v1, kind: Node, metadata: {name: node-1}}");
    let flags =
        vec![format!("--kubeconfig={}", api.listen_in(&node).display()), "--service-counters".to_owned()];
    let proxy = Proxy::ours(&node, &Ours { flags, name: "node-1" });
    proxy.wait_for_log("synced everything");
    // Somebody takes a table away, so that the kernel refuses the next change.
    let owner = Owner::of_our_table(&node);
    let mut service = generate::service(1);
    service["metadata"]["annotations"] = serde_json::json!({"kubeweir.io/scheduler": "none such"});
    service["spec"]["ports"][0]["protocol"] = "UDP".into();
    api.put(service);
    proxy.wait_for_log("sync failed");
    owner.go();
    for endpoint in [0, 1] {
        let mut slice = generate::slice(1, [endpoint]);
        slice["metadata"]["annotations"] =
            serde_json::json!({"endpoints.kubernetes.io/last-change-trigger-time": "2126-01-01T00:00:00Z"});
        slice["ports"][0]["protocol"] = "UDP".into();
        api.put(slice);
        proxy.wait("a change", |proxy| (proxy.health("/healthz")?.0 == 200).then_some(()));
    }
    let _ = proxy.health("/livez");
    let parts = [
        "kubeweir_service_bytes_total{",
        "kubeweir_findings{",
        "kubeweir_events_total{",
        "kubeproxy_network_programming_duration_seconds_count{",
        "kubeproxy_conntrack_reconciler_deleted_entries_total{",
    ];
    proxy.wait("all of it", |proxy| {
        let (_, page) = proxy.page("/metrics")?;
        parts.iter().all(|part| page.contains(part)).then_some(page)
    })
}

#[test]
fn every_metric_of_the_dashboard_and_the_alerts_is_exported() {
    let used = used();
    let page = exported();
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let exported: BTreeSet<&str> = samples.filter_map(|line| line.split([' ', '{']).next()).collect();
    for name in &used {
        assert!(exported.contains(name.as_str()), "{name} is not in\n{page}");
    }
    for variable in dashboard()["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let name = query.strip_prefix("label_values(").unwrap().split(',').next().unwrap();
        assert!(exported.contains(name), "{query}");
    }
}

/// A panel or an alert about a metric that one mode lacks would be silent on nodes in that mode, and nobody would notice.
#[test]
fn every_metric_of_the_dashboard_and_the_alerts_is_there_in_both_modes() {
    for mode in ["nftables", "ipvs"] {
        let there = expected(mode);
        for name in used() {
            let mut endings = ["_bucket", "_count", "_sum"].into_iter();
            let family = endings.find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
            let is_there = [name.as_str(), family].iter().any(|name| there.contains_key(*name));
            assert!(is_there, "{name} is not there in {mode} mode");
        }
    }
}

#[test]
fn promtool_accepts_the_rules_and_they_fire_when_they_should() {
    for (command, file) in [("check", "alerts.yaml"), ("test", "alerts_test.yaml")] {
        let mut promtool = Command::new("promtool");
        promtool.args([command, "rules", file]).current_dir(dashboards());
        let output = promtool.output().expect("promtool must be installed");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&said));
    }
}
