//! API servers that are older, or that grant less, than we would like: they have no ServiceCIDRs for us.

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::generate;
use kubeweir_e2e::owner::ruleset;
use kubeweir_e2e::proxy::{Ours, Proxy};
use kubeweir_playground::Namespace;

const NODE: &str = "{apiVersion: v1, kind: Node, metadata: {name: node-1}}";
/// What is said once of a kind that there is not, and when it comes.
const LACKS: &str = "the API server does not offer this kind";
const OFFERS: &str = "the API server offers this kind now";

fn service_cidr(name: &str, prefix: &str) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {{name: {name}}}, spec: {{cidrs: [{prefix}]}}}}"
    )
}

/// A proxy, and what its API server does not let it see.
struct World {
    node: Namespace,
    api: StandIn,
    proxy: Proxy,
}

impl World {
    fn without_service_cidrs(code: u16) -> World {
        World::whose_server(|api| api.withhold("servicecidrs", code))
    }

    fn whose_server(lacks: impl FnOnce(&StandIn)) -> World {
        let (node, api) = (Namespace::new("node").unwrap(), StandIn::start());
        api.apply(NODE);
        api.apply(&service_cidr("kubernetes", "10.96.0.0/16"));
        api.put(generate::service(1));
        api.put(generate::slice(1, [0]));
        lacks(&api);
        let flags = vec![format!("--kubeconfig={}", api.listen_in(&node).display())];
        let proxy = Proxy::ours(&node, &Ours { flags, name: "node-1" });
        World { node, api, proxy }
    }

    fn wait_for_rules(&self, what: &str) {
        self.proxy.wait(what, |_| ruleset(&self.node).contains(what).then_some(()));
    }

    /// Waits until the proxy has asked for ServiceCIDRs so often from now on.
    fn wait_for_questions(&self, number: usize) {
        let asked = || self.api.requests().iter().filter(|path| path.contains("/servicecidrs")).count();
        let before = asked();
        self.proxy.wait("more questions", |_| (asked() >= before + number).then_some(()));
    }

    /// Lines of the log that say so, each of this level.
    fn said(&self, what: &str, level: &str) -> usize {
        let log = self.proxy.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(what)).collect();
        assert!(lines.iter().all(|line| line.contains(level) && line.contains("ServiceCIDR")), "{lines:?}");
        lines.len()
    }

    /// Whether anything else is amiss.
    fn check_log(&self) {
        let log = self.proxy.log();
        let amiss = |line: &&str| {
            let again = line.contains("403") || line.contains("404");
            let warns = line.contains(" WARN ") && again && !line.contains(LACKS);
            warns || line.contains(" ERROR ") || line.contains("will be retried")
        };
        assert_eq!(log.lines().find(amiss), None, "{log}");
    }
}

fn is_done_without_until_it_is_there(code: u16) {
    let world = World::without_service_cidrs(code);
    let World { api, proxy, node } = &world;
    proxy.wait_for_log("synced everything");
    proxy.wait("health", |proxy| (proxy.health("/healthz")?.0 == 200).then_some(()));
    world.wait_for_rules("10.96.0.1 ");
    world.wait_for_questions(2);
    api.put(generate::service(2));
    world.wait_for_rules("10.96.0.2 ");
    assert!(!ruleset(node).contains("10.96.0.0/16"));
    assert_eq!((world.said(LACKS, " WARN "), world.said(OFFERS, " INFO ")), (1, 0), "{}", proxy.log());
    // An upgrade, or another role.
    api.offer();
    world.wait_for_rules("10.96.0.0/16");
    api.apply(&service_cidr("more", "10.97.0.0/16"));
    world.wait_for_rules("10.97.0.0/16");
    assert_eq!((world.said(LACKS, " WARN "), world.said(OFFERS, " INFO ")), (1, 1), "{}", proxy.log());
    // And back. What was said stays in force.
    api.withhold("servicecidrs", code);
    api.cut();
    world.wait_for_questions(3);
    api.put(generate::service(3));
    world.wait_for_rules("10.96.0.3 ");
    assert!(ruleset(node).contains("10.96.0.0/16") && ruleset(node).contains("10.97.0.0/16"));
    assert_eq!((world.said(LACKS, " WARN "), world.said(OFFERS, " INFO ")), (2, 1), "{}", proxy.log());
    world.check_log();
}

#[test]
fn service_cidrs_that_a_server_does_not_know_are_done_without_until_it_does() {
    is_done_without_until_it_is_there(404);
}

#[test]
fn service_cidrs_that_a_role_does_not_grant_are_done_without_until_it_does() {
    is_done_without_until_it_is_there(403);
}

/// What is listed without being watched would be known as it was at some time, for ever.
#[test]
fn service_cidrs_that_a_role_lets_list_but_not_watch_are_done_without_until_it_does() {
    let world = World::whose_server(|api| api.forbid_watching("servicecidrs"));
    let World { api, proxy, node } = &world;
    proxy.wait_for_log("synced everything");
    world.wait_for_rules("10.96.0.1 ");
    world.wait_for_questions(2);
    assert!(!ruleset(node).contains("10.96.0.0/16"));
    assert_eq!((world.said(LACKS, " WARN "), world.said(OFFERS, " INFO ")), (1, 0), "{}", proxy.log());
    api.offer();
    world.wait_for_rules("10.96.0.0/16");
    api.apply(&service_cidr("more", "10.97.0.0/16"));
    world.wait_for_rules("10.97.0.0/16");
    assert_eq!((world.said(LACKS, " WARN "), world.said(OFFERS, " INFO ")), (1, 1), "{}", proxy.log());
    world.check_log();
}
