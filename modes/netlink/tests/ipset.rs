//! Sets of the real kernel, made by `ipset`: the host's has `ip_set`, or its module can be loaded.

use std::process::Command;

use kubeweir_netlink::bulk::Refusal;
use kubeweir_netlink::ipset::{Client, IN_USE};
use kubeweir_playground::Namespace;

fn ipset(node: &Namespace, line: &str) {
    let status = node.start(Command::new("ipset").args(line.split(' '))).unwrap().wait().unwrap();
    assert!(status.success(), "ipset {line}");
}

#[test]
fn sets_are_listed_and_destroyed_except_what_is_in_use() {
    let node = Namespace::new("node").unwrap();
    ipset(&node, "create KUBE-CLUSTER-IP hash:ip,port");
    ipset(&node, "add KUBE-CLUSTER-IP 10.96.0.1,tcp:443");
    ipset(&node, "create KUBE-6-LOAD-BALANCER-SOURCE-CID hash:ip,port,net family inet6");
    ipset(&node, "create all list:set");
    ipset(&node, "add all KUBE-CLUSTER-IP");
    let names = |client: &mut Client| {
        let mut names = client.names().unwrap();
        names.sort();
        names
    };
    node.run(|| {
        let mut client = Client::open().unwrap().unwrap();
        assert_eq!(names(&mut client), ["KUBE-6-LOAD-BALANCER-SOURCE-CID", "KUBE-CLUSTER-IP", "all"]);
        let wanted = ["KUBE-CLUSTER-IP", "KUBE-NONE", "KUBE-6-LOAD-BALANCER-SOURCE-CID"];
        let outcomes = client.destroy(&wanted).unwrap();
        assert_eq!(outcomes[0], Err(Refusal { errno: IN_USE, message: None }));
        assert_eq!(outcomes[2], Ok(()));
        assert_eq!(names(&mut client), ["KUBE-CLUSTER-IP", "all"]);
        client.destroy(&["all", "KUBE-CLUSTER-IP"]).unwrap();
        assert!(names(&mut client).is_empty(), "none is a list too");
    })
    .unwrap();
}
