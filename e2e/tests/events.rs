//! What operators see of the daemon in the cluster: Events about Services and Nodes.

use std::net::TcpListener;

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::proxy::{Ours, Proxy};
use kubeweir_e2e::rivals::RIVALS;
use kubeweir_playground::Namespace;
use serde_json::Value;

/// Another Node than the one beside the Services.
const ANOTHER: &str = "
apiVersion: v1
kind: Node
metadata: {name: node-2}
status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}
";
const TAKEN: &str = "FrontendTaken";

fn start(stand_in: &StandIn, name: &str) -> Proxy {
    let node = Namespace::new(name).unwrap();
    let kubeconfig = stand_in.listen_in(&node);
    let flags = vec![format!("--kubeconfig={}", kubeconfig.display())];
    let proxy = Proxy::ours(&node, &Ours { flags, name });
    proxy.wait_for_log("synced everything");
    proxy
}

fn told(stand_in: &StandIn, reason: &str) -> Vec<Value> {
    let mut events = stand_in.objects("events");
    events.retain(|event| event["reason"] == reason);
    events
}

fn wait_for_events(proxy: &Proxy, outcome: &str, number: u64) {
    let metric = format!("kubeweir_events_total{{outcome=\"{outcome}\"}}");
    proxy.wait(&format!("{number} Events {outcome}"), |proxy| (proxy.count(&metric) == number).then_some(()));
}

fn standing(proxy: &Proxy) -> u64 {
    proxy.count(&format!("kubeweir_findings{{reason=\"{TAKEN}\"}}"))
}

#[test]
fn what_is_found_of_a_service_is_one_event_about_it_however_many_nodes_find_it() {
    let stand_in = StandIn::start();
    stand_in.apply(RIVALS);
    stand_in.apply(ANOTHER);
    let first = start(&stand_in, "node-1");
    // That it starts, and what it finds.
    wait_for_events(&first, "posted", 2);
    let event = told(&stand_in, TAKEN).pop().unwrap();
    let service = stand_in.objects("services").into_iter().find(|s| s["metadata"]["name"] == "new").unwrap();
    assert_eq!(event["regarding"]["kind"], "Service");
    assert_eq!(event["regarding"]["uid"], service["metadata"]["uid"]);
    assert_eq!(
        (&event["regarding"]["name"], &event["metadata"]["namespace"]),
        (&"new".into(), &"shop".into())
    );
    assert_eq!(event["note"], "10.96.0.77:80/TCP belongs to the older Service shop/old");
    assert_eq!((&event["type"], &event["reportingController"]), (&"Warning".into(), &"kube-proxy".into()));
    assert_eq!(event["reportingInstance"], "kube-proxy-node-1");
    let second = start(&stand_in, "node-2");
    wait_for_events(&second, "known", 1);
    assert_eq!(told(&stand_in, TAKEN), [event]);
    let nodes: Vec<Value> =
        told(&stand_in, "Starting").iter().map(|event| event["regarding"]["name"].clone()).collect();
    assert_eq!(nodes, ["node-1", "node-2"]);
    assert_eq!((standing(&first), standing(&second)), (1, 1));
    stand_in.delete("services", "shop", "old");
    first.wait("the finding goes", |proxy| (standing(proxy) == 0).then_some(()));
}

/// Asked to fail if it cannot listen, the daemon ends, and the cluster is told why.
#[test]
fn a_server_that_must_run_and_cannot_is_an_event_about_the_node() {
    let stand_in = StandIn::start();
    stand_in.apply(RIVALS);
    for (flag, reason) in [
        ("--healthz-bind-address", "FailedToStartProxierHealthcheck"),
        ("--metrics-bind-address", "FailedToStartMetricServer"),
    ] {
        let node = Namespace::new("node-1").unwrap();
        let taken = node.run(|| TcpListener::bind("127.0.0.1:20000")).unwrap().unwrap();
        let kubeconfig = format!("--kubeconfig={}", stand_in.listen_in(&node).display());
        let address = format!("{flag}=127.0.0.1:20000");
        let flags = vec![kubeconfig, address, "--bind-address-hard-fail".to_owned()];
        let (code, log) = Proxy::ours(&node, &Ours { flags, name: "node-1" }).ended();
        let event = told(&stand_in, reason).pop().unwrap_or_else(|| panic!("no {reason} in\n{log}"));
        assert_eq!(
            (code, &event["type"], &event["action"]),
            (Some(1), &"Warning".into(), &"StartKubeProxy".into())
        );
        assert_eq!(
            (&event["regarding"]["kind"], &event["regarding"]["name"]),
            (&"Node".into(), &"node-1".into())
        );
        let why = event["note"].as_str().unwrap();
        assert!(why.contains("127.0.0.1:20000") && log.contains(why), "{why} is not in\n{log}");
        drop(taken);
    }
}

#[test]
fn without_the_permission_everything_but_the_events_goes_on() {
    let stand_in = StandIn::start();
    stand_in.apply(RIVALS);
    stand_in.delete("services", "shop", "new");
    stand_in.forbid("events");
    let proxy = start(&stand_in, "node-1");
    wait_for_events(&proxy, "failed", 1);
    let twin = |name: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: shop}}, \
             spec: {{clusterIP: 10.96.0.77, ports: [{{port: 80}}]}}}}"
        )
    };
    stand_in.apply(&twin("twin-1"));
    wait_for_events(&proxy, "failed", 2);
    assert_eq!(proxy.log().matches("an Event was not posted").count(), 1);
    stand_in.permit();
    stand_in.apply(&twin("twin-2"));
    wait_for_events(&proxy, "posted", 1);
    assert_eq!(standing(&proxy), 2);
    assert_eq!(told(&stand_in, TAKEN).len(), 1);
    assert_eq!(proxy.health("/healthz").unwrap().0, 200);
}
