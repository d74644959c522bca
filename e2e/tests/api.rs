//! The cluster's watches against an API server: our stand-in, or for the first test the real one that
//! `KUBEWEIR_E2E_KUBECONFIG` names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use kubeweir_cluster::notice::{self, About, Notice, Posted, Reach, Severity};
use kubeweir_cluster::{Event, Kind, Store, api};
use kubeweir_e2e::api::StandIn;
use kubeweir_plan::{ObjectName, Snapshot};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

const NODE: &str = "node-1";

struct Watched {
    runtime: Runtime,
    client: Client,
    events: mpsc::Receiver<Event>,
    store: Store,
    lists: usize,
}

impl Watched {
    fn start(kubeconfig: &Path) -> Watched {
        Watched::with(kubeconfig, false)
    }

    fn with(kubeconfig: &Path, all_nodes: bool) -> Watched {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let file = Kubeconfig::read_from(kubeconfig).unwrap();
            let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
            Client::try_from(config).unwrap()
        });
        let (sender, events) = mpsc::channel(64);
        let options = api::Options { node: NODE.into(), all_nodes };
        runtime.spawn(api::watch(client.clone(), options, sender));
        Watched { runtime, client, events, store: Store::default(), lists: 0 }
    }

    /// Takes events in until the condition holds. Counts lists of Services that begin.
    fn until(&mut self, what: &str, condition: impl Fn(&Store) -> bool) {
        while !condition(&self.store) {
            let next = async { tokio::time::timeout(Duration::from_secs(60), self.events.recv()).await };
            let event = self.runtime.block_on(next).unwrap_or_else(|_| panic!("never: {what}")).unwrap();
            self.lists += usize::from(matches!(event, Event::ListBegins(Kind::Service)));
            self.store.apply(event);
        }
    }

    fn until_snapshot(&mut self, what: &str, condition: impl Fn(&Snapshot) -> bool) {
        self.until(what, |store| store.snapshot().is_some_and(&condition));
    }
}

fn service(name: &str, ip: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: {ip}, ports: [{{port: 80}}]}}\n"
    )
}

fn has(snapshot: &Snapshot, name: &str) -> bool {
    snapshot.service(&ObjectName::new("default", name)).is_some()
}

fn started() -> (StandIn, Watched) {
    let stand_in = StandIn::start();
    stand_in.apply(&service("a", "10.96.0.1"));
    let mut watched = Watched::start(&stand_in.listen());
    watched.until_snapshot("the first snapshot", |snapshot| has(snapshot, "a"));
    (stand_in, watched)
}

#[test]
fn objects_come_change_and_go() {
    let stand_in = StandIn::start();
    let kubeconfig = match std::env::var_os("KUBEWEIR_E2E_KUBECONFIG") {
        Some(path) => PathBuf::from(path),
        None => stand_in.listen(),
    };
    let mut watched = Watched::start(&kubeconfig);
    let name = format!("kubeweir-e2e-{}", std::process::id());
    let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": [{"name": "http", "port": 80}]}});
    let services: Api<k8s_openapi::api::core::v1::Service> =
        Api::namespaced(watched.client.clone(), "default");
    let object = serde_json::from_value(object).unwrap();
    watched.runtime.block_on(services.create(&PostParams::default(), &object)).unwrap();
    let key = ObjectName::new("default", &name);
    watched.until_snapshot("the Service appears", |snapshot| snapshot.service(&key).is_some());
    assert_eq!(watched.store.snapshot().unwrap().service(&key).unwrap().cluster_ips.len(), 1);
    let patch = Patch::Merge(json!({"spec": {"ports": [{"name": "http", "port": 81, "protocol": "TCP"}]}}));
    watched.runtime.block_on(services.patch(&name, &PatchParams::default(), &patch)).unwrap();
    watched.until_snapshot("its port changes", |s| s.service(&key).is_some_and(|s| s.ports[0].port == 81));
    watched.runtime.block_on(services.delete(&name, &DeleteParams::default())).unwrap();
    watched.until_snapshot("the Service goes", |snapshot| snapshot.service(&key).is_none());
}

#[test]
fn no_snapshot_before_the_last_list() {
    for kind in ["services", "endpointslices", "nodes", "servicecidrs"] {
        let stand_in = StandIn::start();
        stand_in.hold(kind);
        let mut watched = Watched::start(&stand_in.listen());
        watched.until("three lists", |store| store.awaited().count() == 1);
        assert!(watched.store.snapshot().is_none());
        stand_in.release();
        watched.until_snapshot("the fourth", |_| true);
    }
}

#[test]
fn lists_are_streamed_where_offered_and_paged_where_not() {
    let (stand_in, _watched) = started();
    let asked =
        |stand_in: &StandIn, what: &str| stand_in.requests().iter().filter(|r| r.contains(what)).count();
    assert_eq!(asked(&stand_in, "sendInitialEvents=true"), 4);
    assert_eq!(asked(&stand_in, "limit="), 0);
    let stand_in = StandIn::start();
    stand_in.refuse_streaming();
    for number in 0..1200 {
        stand_in.apply(&service(&format!("s-{number}"), &format!("10.96.{}.{}", number / 256, number % 256)));
    }
    let mut watched = Watched::start(&stand_in.listen());
    watched.until_snapshot("all pages", |snapshot| snapshot.service_names().count() == 1200);
    let pages =
        stand_in.requests().into_iter().filter(|r| r.contains("/services?") && r.contains("limit=500"));
    assert_eq!(pages.count(), 3);
}

#[test]
fn selectors_leave_out_what_is_not_ours() {
    let (stand_in, mut watched) = started();
    let labelled = service("a", "10.96.0.1")
        .replace("{name: a}", "{name: a, labels: {service.kubernetes.io/service-proxy-name: other}}");
    stand_in.apply(&labelled);
    watched.until_snapshot("a labelled Service goes", |snapshot| !has(snapshot, "a"));
    stand_in.apply(&service("a", "10.96.0.1"));
    watched.until_snapshot("and comes back", |snapshot| has(snapshot, "a"));
    stand_in.apply(&service("headless", "None"));
    stand_in.apply("{apiVersion: v1, kind: Node, metadata: {name: node-2}}");
    stand_in.apply(
        "{apiVersion: v1, kind: Node, metadata: {name: node-1, labels: {topology.kubernetes.io/zone: z}}}",
    );
    watched.until_snapshot("our Node", |s| s.node().is_some_and(|node| node.zone.as_deref() == Some("z")));
    assert!(!has(watched.store.snapshot().unwrap(), "headless"));
}

fn node(name: &str, last: u8) -> String {
    format!(
        "{{apiVersion: v1, kind: Node, metadata: {{name: {name}}}, status: {{addresses: [{{type: InternalIP, address: 192.0.2.{last}}}]}}}}"
    )
}

/// Last octets of the addresses of Nodes.
fn of_nodes(snapshot: &Snapshot) -> Vec<u8> {
    (1..10).filter(|last| snapshot.is_of_a_node([192, 0, 2, *last].into())).collect()
}

#[test]
fn other_nodes_are_watched_only_if_asked_for() {
    let stand_in = StandIn::start();
    let kubeconfig = stand_in.listen();
    stand_in.apply(&node("node-1", 1));
    stand_in.apply(&node("node-2", 2));
    let mut watched = Watched::start(&kubeconfig);
    watched.until_snapshot("the first snapshot", |snapshot| of_nodes(snapshot) == [1]);
    stand_in.apply(&node("node-2", 3));
    stand_in.apply(&node("node-1", 4));
    watched.until_snapshot("our Node moves", |snapshot| of_nodes(snapshot) == [4]);
    let nodes = |stand_in: &StandIn| {
        let requests = stand_in.requests().into_iter();
        requests.filter(|request| request.contains("/nodes?")).collect::<Vec<_>>()
    };
    let asked = nodes(&stand_in);
    assert!(!asked.is_empty() && asked.iter().all(|r| r.contains("metadata.name")), "{asked:?}");

    let stand_in = StandIn::start();
    stand_in.apply(&node("node-1", 1));
    stand_in.apply(&node("node-2", 2));
    stand_in.hold("nodes");
    let mut watched = Watched::with(&stand_in.listen(), true);
    watched.until("three lists", |store| store.awaited().count() == 1);
    assert!(watched.store.awaited().eq([Kind::Node]) && watched.store.snapshot().is_none());
    stand_in.release();
    watched.until_snapshot("both Nodes", |snapshot| of_nodes(snapshot) == [1, 2]);
    stand_in.apply(&node("node-2", 3));
    stand_in.apply(&node("node-3", 5));
    watched.until_snapshot("one moves, one comes", |snapshot| of_nodes(snapshot) == [1, 3, 5]);
    assert_eq!(watched.store.snapshot().unwrap().node().unwrap().addresses.len(), 1);
    stand_in.delete("nodes", "", "node-2");
    watched.until_snapshot("one goes", |snapshot| of_nodes(snapshot) == [1, 5]);
    stand_in.delete("nodes", "", "node-1");
    watched.until_snapshot("ours goes", |snapshot| snapshot.node().is_some_and(|node| node.leaving));
    assert_eq!(of_nodes(watched.store.snapshot().unwrap()), [1, 5], "its pods may still be there");
    assert!(nodes(&stand_in).iter().all(|request| !request.contains("metadata.name")));
}

#[test]
fn after_a_cut_connection_the_watch_goes_on_where_it_was() {
    let (stand_in, mut watched) = started();
    for number in 1..4 {
        stand_in.cut();
        stand_in.apply(&service(&format!("n{number}"), &format!("10.96.1.{number}")));
        watched.until_snapshot("a change after the cut", |snapshot| has(snapshot, &format!("n{number}")));
    }
    assert_eq!(watched.lists, 1);
}

#[test]
fn a_bookmark_saves_a_new_list_after_old_versions_are_forgotten() {
    let (stand_in, mut watched) = started();
    stand_in.apply("{apiVersion: v1, kind: Node, metadata: {name: node-1}}");
    watched.until_snapshot("our Node", |snapshot| snapshot.node().is_some());
    // The Service watch has seen no event of its own since, only a bookmark.
    stand_in.compact();
    stand_in.cut();
    stand_in.apply(&service("b", "10.96.0.2"));
    watched.until_snapshot("a change after the cut", |snapshot| has(snapshot, "b"));
    assert_eq!(watched.lists, 1);
}

#[test]
fn a_watch_that_is_too_far_behind_lists_again_and_notices_what_is_gone() {
    let (stand_in, mut watched) = started();
    stand_in.set_unavailable(true);
    stand_in.cut();
    stand_in.delete("services", "default", "a");
    stand_in.apply(&service("b", "10.96.0.2"));
    stand_in.compact();
    stand_in.apply(&service("c", "10.96.0.3"));
    stand_in.set_unavailable(false);
    watched.until_snapshot("the new list", |s| !has(s, "a") && has(s, "b") && has(s, "c"));
    assert_eq!(watched.lists, 2);
}

#[test]
fn a_notice_is_told_once_and_only_of_what_is_there() {
    let (stand_in, watched) = started();
    stand_in.apply(&format!("{{apiVersion: v1, kind: Node, metadata: {{name: {NODE}}}}}"));
    let post = |node: &str, about, reach, note: &str| {
        let severity = Severity::Warning;
        let notice = Notice { about, severity, reach, reason: "Test", action: "Test", note: note.to_owned() };
        watched.runtime.block_on(notice::post(&watched.client, &node.into(), &notice)).unwrap()
    };
    let service = |name| About::Service(ObjectName::new("default", name));
    assert_eq!(post(NODE, service("a"), Reach::Cluster, "x"), Posted::New);
    assert_eq!(post("node-2", service("a"), Reach::Cluster, "x"), Posted::Known);
    assert_eq!(post("node-2", service("a"), Reach::Node, "x"), Posted::New);
    assert_eq!(post(NODE, service("a"), Reach::Cluster, "y"), Posted::New);
    assert_eq!(post(NODE, service("never"), Reach::Cluster, "x"), Posted::Moot);
    assert_eq!(post(NODE, About::Node, Reach::Node, &"x".repeat(2000)), Posted::New);
    assert_eq!(post("node-2", About::Node, Reach::Node, "x"), Posted::Moot);
    let kinds = stand_in.objects("events").into_iter().map(|event| event["regarding"]["kind"].clone());
    assert_eq!(kinds.filter(|kind| kind == "Service").count(), 3);
}
