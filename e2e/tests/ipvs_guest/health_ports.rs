//! Health-check node ports are sockets of the host, which virtual servers must leave alone.

use kubeweir_e2e::http;

use crate::objects::{service, slice};
use crate::stage::Stage;

const SPEC: &str = "type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30100, \
     clusterIP: 10.96.0.10, ports: [{port: 80, nodePort: 30080}]";

/// At all addresses, of which the device has some that are not the host's own.
#[test]
#[ignore = "runs in a guest kernel"]
fn balancers_reach_the_health_checks_of_the_host_and_not_at_addresses_of_services() {
    let stage = Stage::with_endpoints(["10.244.1.2"]);
    let near = slice("web", "port: 8080", &["10.244.1.2"])
        .replace("addresses: ['10.244.1.2']", "addresses: ['10.244.1.2'], nodeName: node-1");
    stage.put("web", &(service("web", "", SPEC) + &near));
    let proxy = stage.start(&["--nodeport-addresses=0.0.0.0/0"]);
    let told = |address: &str| http::get(&stage.client, address.parse().unwrap(), "/");
    let ready = |answer: Option<(u16, String)>| answer.map(|(status, body)| (status, body.contains(": 1,")));
    proxy.wait("health checks", |_| (ready(told("192.0.2.1:30100")) == Some((200, true))).then_some(()));
    assert_eq!(told("10.96.0.10:30100"), None, "only the Service's own ports are at its address");
    assert_eq!(stage.reached("192.0.2.1:30080"), "10.244.1.2");
    stage.put("web", &(service("web", "", SPEC) + &slice("web", "port: 8080", &["10.244.1.2"])));
    proxy.wait("no endpoint", |_| (ready(told("192.0.2.1:30100")) == Some((503, false))).then_some(()));
    stage.put("web", &slice("web", "port: 8080", &["10.244.1.2"]));
    proxy.wait("its end", |_| told("192.0.2.1:30100").is_none().then_some(()));
}
