//! The daemon is killed and starts anew.

use std::process::Command;

use kubeweir_e2e::confined::{User, confined};
use kubeweir_e2e::proxy::{Proxy, common_flags, program};
use nix::sys::signal::Signal;

use crate::lines::Conversation;
use crate::objects::{service, slice};
use crate::stage::Stage;

const WEB: &str = "10.96.0.10:80";
const A: &str = "10.244.1.2";
const B: &str = "10.244.1.3";
const C: &str = "10.244.1.4";
const OPERATIONS: &str = "kubeweir_sync_operations_total";

#[test]
#[ignore = "runs in a guest kernel"]
fn no_connection_and_no_weight_is_lost_and_what_changed_meanwhile_is_made_up_for() {
    let stage = Stage::with_endpoints([A, B, C]);
    let endpoints = |addresses: &[&str]| stage.put("endpoints", &slice("web", "port: 7777", addresses));
    stage.put("web", &service("web", "", "clusterIP: 10.96.0.10, ports: [{port: 80}]"));
    endpoints(&[A, B]);
    let proxy = stage.start(&[]);
    let mut conversations = [(); 2].map(|()| Conversation::open(&stage.client, WEB));
    let partners = conversations.each_mut().map(Conversation::partner);
    assert!(partners.contains(&A.to_owned()) && partners.contains(&B.to_owned()), "{partners:?}");
    let mut go_on = || assert_eq!(conversations.each_mut().map(Conversation::partner), partners);
    endpoints(&[B]);
    stage.wait_for_weights(&proxy, &[(A, 0), (B, 1)]);
    proxy.end(Signal::SIGKILL);
    go_on();
    // The first is back, the second goes and a third comes while nobody looks.
    endpoints(&[A, C]);
    let proxy = stage.start(&[]);
    stage.wait_for_weights(&proxy, &[(A, 1), (B, 0), (C, 1)]);
    go_on();
    proxy.end(Signal::SIGKILL);
    // What drains goes on draining, whoever began it.
    let proxy = stage.start(&[]);
    stage.wait_for_weights(&proxy, &[(A, 1), (B, 0), (C, 1)]);
    go_on();
    endpoints(&[A, B, C]);
    stage.wait_for_weights(&proxy, &[(A, 1), (B, 1), (C, 1)]);
    proxy.end(Signal::SIGKILL);
    let before = stage.listed();
    let proxy = stage.start(&[]);
    assert_eq!((proxy.count(OPERATIONS), stage.listed()), (0, before));
    go_on();
}

/// A confined container that starts again where somebody has set a sysctl of IPVS to something else: it serves, and says so until it is
/// mended.
#[test]
#[ignore = "runs in a guest kernel"]
fn a_sysctl_that_somebody_has_changed_is_a_finding_for_a_confined_proxy() {
    const EXPIRE: &str = "ipv4/vs/expire_nodest_conn";
    let stage = Stage::with_endpoints([A]);
    stage.put("web", &service("web", "", "clusterIP: 10.96.0.10, ports: [{port: 80}]"));
    stage.put("endpoints", &slice("web", "port: 7777", &[A]));
    let mut flags = common_flags("ipvs", "node-1").to_vec();
    flags.push(stage.manifests());
    let first: Vec<String> = flags.iter().cloned().chain(["--init-only".to_owned()]).collect();
    drop(Proxy::in_pod(&stage.node, &first, &flags));
    stage.node.sysctl(EXPIRE, "0").unwrap();
    let mut command = Command::new(program());
    let proxy = Proxy::of(&stage.node, &mut confined(command.args(&flags), User::Root));
    stage.wait_for_weights(&proxy, &[(A, 1)]);
    proxy.wait_for_log("net.ipv4.vs.expire_nodest_conn=1 is not set, net.ipv4.vs.expire_nodest_conn is 0");
    assert_eq!(proxy.count("kubeweir_host_findings"), 1, "{}", proxy.log());
    stage.node.sysctl(EXPIRE, "1").unwrap();
    // Looked at again when an interface changes.
    stage.node.address("lan0", "192.0.2.77/24".parse().unwrap()).unwrap();
    proxy.wait_for_log("mended: net.ipv4.vs.expire_nodest_conn");
}
