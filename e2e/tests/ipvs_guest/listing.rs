//! `ipvsadm -ln` and `ip addr` show what users of IPVS mode know.

use crate::objects::{NODE, service, slice};
use crate::stage::Stage;
use crate::witness::run;

/// Every kind of virtual server, each with real servers of its own.
fn put_every_kind(stage: &Stage) {
    let endpoints = ["10.244.3.6", "10.244.1.7", "10.244.2.3"];
    let kinds = [
        service("web", "", "clusterIP: 10.102.128.4, ports: [{port: 80}]"),
        slice("web", "port: 9376", &endpoints),
        service(
            "all",
            "",
            "type: NodePort, clusterIP: 10.102.128.5, clusterIPs: [10.102.128.5, 'fd00:96::10'], \
            externalIPs: [203.0.113.7], ports: [{port: 81, nodePort: 30081}]",
        ),
        slice("all", "port: 9377", &endpoints[..1]),
        slice("all", "port: 9377", &["fd00:244:1::2"]),
        service(
            "dns",
            "",
            "clusterIP: 10.102.128.6, ports: [{port: 53, protocol: UDP}, {name: s, port: 54, protocol: SCTP}]",
        ),
        slice("dns", "port: 9378, protocol: UDP}, {name: s, port: 9379, protocol: SCTP", &endpoints[..1]),
        service("sticky", "", "clusterIP: 10.102.128.7, sessionAffinity: ClientIP, ports: [{port: 82}]"),
        slice("sticky", "port: 9380", &endpoints[..1]),
        service("hashed", "kubeweir.io/scheduler: mh", "clusterIP: 10.102.128.8, ports: [{port: 83}]"),
        slice("hashed", "port: 9381", &endpoints[..1]),
        service("idle", "", "clusterIP: 10.102.128.9, ports: [{port: 84}]"),
    ];
    stage.put("every-kind", &kinds.concat());
}

const LISTED: &str = "\
TCP 10.102.128.4:80 rr
-> 10.244.1.7:9376 Masq 1 0 0
-> 10.244.2.3:9376 Masq 1 0 0
-> 10.244.3.6:9376 Masq 1 0 0
TCP 10.102.128.5:81 rr
-> 10.244.3.6:9377 Masq 1 0 0
TCP 10.102.128.7:82 rr persistent 10800
-> 10.244.3.6:9380 Masq 1 0 0
TCP 10.102.128.8:83 mh (mh-fallback,mh-port)
-> 10.244.3.6:9381 Masq 1 0 0
TCP 10.102.128.9:84 rr
TCP 192.0.2.1:30081 rr
-> 10.244.3.6:9377 Masq 1 0 0
TCP 198.51.100.1:30081 rr
-> 10.244.3.6:9377 Masq 1 0 0
TCP 203.0.113.7:81 rr
-> 10.244.3.6:9377 Masq 1 0 0
TCP [2001:db8::1]:30081 rr
-> [fd00:244:1::2]:9377 Masq 1 0 0
TCP [fd00:96::10]:81 rr
-> [fd00:244:1::2]:9377 Masq 1 0 0
UDP 10.102.128.6:53 rr
-> 10.244.3.6:9378 Masq 1 0 0";
const SCTP: &str = "\
SCTP 10.102.128.6:54 rr
-> 10.244.3.6:9379 Masq 1 0 0
";

#[test]
#[ignore = "runs in a guest kernel"]
fn ipvsadm_lists_every_kind_and_the_device_has_the_addresses_of_services_only() {
    let stage = Stage::new();
    for address in ["198.51.100.1/24", "2001:db8::1/64"] {
        stage.node.address("lan0", address.parse().unwrap()).unwrap();
    }
    stage.put("node", &NODE.replace("192.0.2.1}", "192.0.2.1}, {type: InternalIP, address: '2001:db8::1'}"));
    put_every_kind(&stage);
    let flag = "--nodeport-addresses=192.0.2.0/24,198.51.100.0/24,2001:db8::/64";
    let proxy = stage.start(&[flag]);
    assert_eq!(stage.listed().join("\n"), format!("{SCTP}{LISTED}"));
    let shown = run(&stage.node, "ip address show dev kube-ipvs0");
    assert!(shown.contains("<BROADCAST,NOARP>") && shown.contains("state DOWN"), "{shown}");
    let words = shown.split_whitespace().collect::<Vec<_>>();
    let mut addresses: Vec<&str> =
        words.windows(2).filter(|pair| pair[0].starts_with("inet")).map(|pair| pair[1]).collect();
    addresses.sort_unstable();
    let services =
        ["10.102.128.4", "10.102.128.5", "10.102.128.6", "10.102.128.7", "10.102.128.8", "10.102.128.9"];
    let mut expected: Vec<String> = services.iter().map(|address| format!("{address}/32")).collect();
    expected.extend(["203.0.113.7/32".to_owned(), "fd00:96::10/128".to_owned()]);
    assert_eq!(addresses, expected);
    stage.put("every-kind", "");
    proxy.wait("nothing", |_| stage.listed().is_empty().then_some(()));
    assert!(!run(&stage.node, "ip address show dev kube-ipvs0").contains("inet"));
}
