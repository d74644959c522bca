//! NodePorts follow the node's addresses.

use crate::objects::{service, slice};
use crate::stage::{Stage, ip};
use crate::witness::run;

/// With a period of an hour, so that nothing here is owed to it.
#[test]
#[ignore = "runs in a guest kernel"]
fn a_node_port_answers_on_an_address_that_is_new_and_no_more_on_one_that_is_gone() {
    let stage = Stage::with_endpoints(["10.244.1.2"]);
    let spec = "type: NodePort, clusterIP: 10.96.0.10, ports: [{port: 80, nodePort: 30080}]";
    stage.put("web", &(service("web", "", spec) + &slice("web", "port: 8080", &["10.244.1.2"])));
    let flags = ["--nodeport-addresses=192.0.2.0/26", "--ipvs-sync-period=1h"];
    let proxy = stage.start(&flags);
    let at = |address: &str| {
        let listed = stage.listed();
        let position = listed.iter().position(|line| *line == format!("TCP {address}:30080 rr"))?;
        Some(listed[position + 1].clone())
    };
    let serves = |address: &str| at(address).is_some_and(|real| real == "-> 10.244.1.2:8080 Masq 1 0 0");
    assert!(serves("192.0.2.1") && at("192.0.2.51").is_none());
    stage.node.address("lan0", "192.0.2.51/24".parse().unwrap()).unwrap();
    proxy.wait("the new address", |_| serves("192.0.2.51").then_some(()));
    assert_eq!(stage.reached("192.0.2.51:30080"), "10.244.1.2");
    // Not on the device, although it is served.
    assert!(!run(&stage.node, "ip address show dev kube-ipvs0").contains("192.0.2."));
    stage.node.delete_address("lan0", ip("192.0.2.51")).unwrap();
    proxy.wait("its end", |_| at("192.0.2.51").is_none().then_some(()));
    assert_eq!(stage.reached("192.0.2.1:30080"), "10.244.1.2");
}
