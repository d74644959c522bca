//! All metrics of the page: as they are recorded in `metrics.txt`, and as a page has them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use kubeweir_playground::Namespace;
use serde_json::json;

use crate::api::StandIn;
use crate::generate;
use crate::owner::Owner;
use crate::proxy::{Ours, Proxy, mode};

const RECORDED: &str = include_str!("../metrics.txt");
/// What a page lacks until it is used for the first time, last of all.
const LATE: [&str; 4] = [
    "kubeweir_service_bytes_total{",
    "kubeweir_events_total{",
    "kubeproxy_network_programming_duration_seconds_count{",
    "kubeproxy_conntrack_reconciler_deleted_entries_total{",
];
/// The same, of nftables mode.
const LATE_IN_NFTABLES: [&str; 2] = [
    "kubeproxy_sync_proxy_rules_nftables_sync_failures_total{",
    "kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total{",
];

/// A metric by what is said of it before any value: type, labels and bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its type.
    pub kind: String,
    /// The names of its labels, but for that of bounds.
    pub labels: BTreeSet<String>,
    /// Of a histogram the bounds of its buckets, as they are written, without the infinite one.
    pub bounds: Vec<String>,
}

/// What is recorded of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whether kube-proxy has it.
    pub is_upstream: bool,
    /// Its name; of what is left out perhaps with `*` at its end.
    pub name: &'static str,
    /// The modes that it is there in.
    pub modes: &'static [&'static str],
    /// How it is there, or why it is not.
    pub shape: Result<Shape, &'static str>,
}

/// Everything that is recorded.
pub fn recorded() -> Vec<Record> {
    let lines = RECORDED.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (bounds, records): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("bounds "));
    let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for line in bounds {
        let mut words = line.split(' ').skip(1);
        by_name.entry(words.next().unwrap()).or_default().extend(words.map(str::to_owned));
    }
    records.into_iter().map(|line| record(line, &by_name)).collect()
}

fn record(line: &'static str, bounds: &BTreeMap<&str, Vec<String>>) -> Record {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [whose @ ("upstream" | "ours"), modes, name, rest @ ..] = words.as_slice() else { panic!("{line}") };
    let modes: &[&str] = match *modes {
        "both" => &["nftables", "ipvs"],
        "nftables" => &["nftables"],
        "ipvs" => &["ipvs"],
        "none" => &[],
        other => panic!("no mode {other}: {line}"),
    };
    let shape = match rest {
        ["-", ..] => Err(line.split_once(" - ").unwrap().1),
        [kind, labels, bound @ ..] => Ok(Shape {
            kind: (*kind).to_owned(),
            labels: labels.split(',').filter(|label| *label != "-").map(str::to_owned).collect(),
            bounds: bound.first().map(|name| bounds[name].clone()).unwrap_or_default(),
        }),
        _ => panic!("{line}"),
    };
    assert_eq!(shape.is_err(), modes.is_empty(), "there and left out: {line}");
    Record { is_upstream: *whose == "upstream", name, modes, shape }
}

/// What is recorded as being there in a mode.
pub fn expected(mode: &str) -> BTreeMap<String, Shape> {
    let there = recorded().into_iter().filter(|record| record.modes.contains(&mode));
    there.map(|record| (record.name.to_owned(), record.shape.unwrap())).collect()
}

/// What a page in the older format has. Each metric has a help text and a type, and all its samples the same labels.
pub fn found(page: &str) -> BTreeMap<String, Shape> {
    let mut found = BTreeMap::new();
    for family in page.split("# HELP ").skip(1) {
        let (head, rest) = family.split_once('\n').unwrap();
        let (name, help) = head.split_once(' ').unwrap_or_else(|| panic!("no help: {head}"));
        assert!(help.ends_with('.') && help.len() > 1, "no help: {head}");
        let (kind, samples) = rest.split_once('\n').unwrap();
        let kind = kind.strip_prefix(&format!("# TYPE {name} ")).unwrap_or_else(|| panic!("{name}: {kind}"));
        let before = found.insert(name.to_owned(), shape(name, kind, samples));
        assert_eq!(before, None, "{name} is there twice");
    }
    found
}

fn shape(name: &str, kind: &str, samples: &str) -> Shape {
    let parsed: Vec<Sample<'_>> = samples.lines().map(Sample::parse).collect();
    let mut labels: Vec<BTreeSet<String>> = parsed.iter().map(Sample::labels).collect();
    labels.dedup();
    assert_eq!(labels.len(), 1, "{name}: samples of no or of other labels\n{samples}");
    let endings: BTreeSet<&str> =
        parsed.iter().map(|sample| sample.name.strip_prefix(name).expect("its name")).collect();
    let expected: &[&str] = if kind == "histogram" { &["_bucket", "_count", "_sum"] } else { &[""] };
    assert!(endings.iter().eq(expected), "{name}: {endings:?}");
    Shape { kind: kind.to_owned(), labels: labels.remove(0), bounds: bounds(name, &parsed) }
}

/// Those of a histogram, the same with whatever labels.
fn bounds(name: &str, samples: &[Sample<'_>]) -> Vec<String> {
    let mut all: BTreeMap<Vec<_>, Vec<String>> = BTreeMap::new();
    for sample in samples {
        let Some(bound) = sample.pairs.iter().find(|(key, _)| *key == "le") else { continue };
        let others = sample.pairs.iter().filter(|(key, _)| *key != "le").collect();
        all.entry(others).or_default().push(bound.1.to_owned());
    }
    let mut all: Vec<Vec<String>> = all.into_values().collect();
    all.dedup();
    assert!(all.len() <= 1, "{name}: {all:?}");
    let mut bounds = all.pop().unwrap_or_default();
    assert!(bounds.pop().is_none_or(|last| last == "+Inf"), "{name}: {bounds:?}");
    bounds
}

/// A line with a value.
struct Sample<'a> {
    name: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Sample<'a> {
    /// Nothing here has a label with a quotation mark in it.
    fn parse(line: &'a str) -> Sample<'a> {
        let (head, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        value.parse::<f64>().unwrap_or_else(|_| panic!("no number: {line}"));
        let (name, pairs) = head.split_once('{').unwrap_or((head, "}"));
        let parts: Vec<&str> = pairs.strip_suffix('}').expect("an end").split('"').collect();
        let pairs = parts.chunks_exact(2);
        let pair = |pair: &[&'a str]| (pair[0].trim_start_matches(',').trim_end_matches('='), pair[1]);
        Sample { name, pairs: pairs.map(pair).collect() }
    }

    fn labels(&self) -> BTreeSet<String> {
        self.pairs.iter().map(|(key, _)| (*key).to_owned()).filter(|key| key != "le").collect()
    }
}

/// The page of a daemon that has seen and done whatever there are metrics for, in the mode under test.
pub fn page_of_everything(node: &Namespace, api: &StandIn) -> String {
    api.apply("{apiVersion: v1, kind: Node, metadata: {name: node-1}}");
    // What kube-proxy has left cannot be removed.
    let _owner = Owner::of(node, "kube-proxy");
    let flags =
        vec![format!("--kubeconfig={}", api.listen_in(node).display()), "--service-counters".to_owned()];
    let proxy = Proxy::ours(node, &Ours { flags, name: "node-1" });
    proxy.wait_for_log("synced everything");
    // Somebody takes a table away, so that the kernel refuses the next change.
    let owner = Owner::of(node, if mode() == "ipvs" { "kubeweir-ipvs" } else { "kubeweir" });
    change_something(api);
    proxy.wait_for_log("sync failed");
    owner.go();
    for page in ["/healthz", "/livez"] {
        proxy.wait("a probe", |proxy| proxy.health(page));
    }
    let late = LATE.iter().chain(if mode() == "ipvs" { [].iter() } else { LATE_IN_NFTABLES.iter() });
    proxy.wait("all of it", |proxy| {
        let (_, page) = proxy.page("/metrics")?;
        late.clone().all(|part| page.contains(part)).then_some(page)
    })
}

/// A Service of a connectionless protocol whose scheduler nobody knows, and an endpoint of it that tells when it has changed.
fn change_something(api: &StandIn) {
    let (mut service, mut slice) = (generate::service(1), generate::slice(1, [0]));
    service["metadata"]["annotations"] = json!({"kubeweir.io/scheduler": "none such"});
    slice["metadata"]["annotations"] =
        json!({"endpoints.kubernetes.io/last-change-trigger-time": "2126-01-01T00:00:00Z"});
    for ports in [&mut service["spec"]["ports"], &mut slice["ports"]] {
        ports[0]["protocol"] = "UDP".into();
    }
    api.put(service);
    api.put(slice);
}

/// What `promtool check metrics` says of a page, and its exit code.
pub fn promtool(page: &str) -> (String, Option<i32>) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8(said).unwrap(), output.status.code())
}
