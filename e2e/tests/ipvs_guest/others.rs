//! What other programs do to packets and to virtual servers, and what the kernel does not take.

use std::fs;

use kubeweir_playground::{Answer, Server, Transport};

use crate::objects::{service, slice, weighted_slice};
use crate::stage::{SILENCE, Stage, ask, ip};
use crate::witness::run;

const WEB: &str = "clusterIP: 10.96.0.10, externalIPs: [203.0.113.7], type: NodePort, \
     ports: [{port: 80, nodePort: 30080}]";
/// How container networks publish ports of the host: at whatever address is the host's own.
const HOST_PORTS: &str = "table ip host-ports {
    chain in { type nat hook prerouting priority -100
        fib daddr type local tcp dport { 80, 30080 } dnat to 10.244.9.9:8080
    }
    chain out { type nat hook output priority -100
        fib daddr type local tcp dport { 80, 30080 } dnat to 10.244.9.9:8080
    }
}
";

#[test]
#[ignore = "runs in a guest kernel"]
fn ports_of_the_host_that_others_translate_take_no_packet_of_a_service() {
    let stage = Stage::with_endpoints(["10.244.1.2", "10.244.9.9"]);
    stage.put("web", &(service("web", "", WEB) + &slice("web", "port: 8080", &["10.244.1.2"])));
    let _proxy = stage.start(&[]);
    let rules = std::env::temp_dir().join("host-ports.nft");
    fs::write(&rules, HOST_PORTS).unwrap();
    run(&stage.node, &format!("nft -f {}", rules.display()));
    for to in ["10.96.0.10:80", "203.0.113.7:80", "192.0.2.1:30080"] {
        assert_eq!(stage.reached(to), "10.244.1.2", "from outside: {to}");
        let own = ask(&stage.node, Transport::Tcp, to, 5 * SILENCE);
        assert!(matches!(&own, Answer::Reached { server, .. } if server == "10.244.1.2"), "{to}: {own}");
    }
    assert_eq!(stage.reached("192.0.2.1:80"), "10.244.9.9", "and theirs stay theirs");
}

#[test]
#[ignore = "runs in a guest kernel"]
fn the_host_does_not_answer_while_a_virtual_server_is_missing() {
    let stage = Stage::with_endpoints(["10.244.1.2"]);
    let _host = Server::start(&stage.node, "host", &[ip("0.0.0.0")], &[80]).unwrap();
    stage.put("web", &(service("web", "", WEB) + &slice("web", "port: 8080", &["10.244.1.2"])));
    // A daemon that runs would make it again.
    drop(stage.start(&[]));
    assert_eq!(stage.reached("10.96.0.10:80"), "10.244.1.2");
    run(&stage.node, "ipvsadm -D -t 10.96.0.10:80");
    for client in [&stage.client, &stage.node] {
        let answer = ask(client, Transport::Tcp, "10.96.0.10:80", SILENCE);
        assert!(matches!(answer, Answer::Refused), "{}: {answer}", client.name());
    }
}

/// Nobody tells of it, and no change of a Service comes to meet it.
#[test]
#[ignore = "runs in a guest kernel"]
fn what_somebody_removes_is_there_again_soon() {
    let stage = Stage::with_endpoints(["10.244.1.2"]);
    stage.put("web", &(service("web", "", WEB) + &slice("web", "port: 8080", &["10.244.1.2"])));
    let proxy = stage.start(&[]);
    let sorted = |line: &str| {
        let mut lines: Vec<String> = run(&stage.node, line).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let shown = || {
        let addresses = sorted("ip -br address").into_iter().filter(|line| line.starts_with("kube-ipvs0"));
        (sorted("ipvsadm -S -n"), addresses.collect::<Vec<_>>(), run(&stage.node, "nft -s list ruleset"))
    };
    let before = shown();
    for command in ["ipvsadm -C", "ip link delete kube-ipvs0", "nft flush ruleset"] {
        run(&stage.node, command);
        proxy.wait(command, |_| (shown() == before).then_some(()));
        for to in ["10.96.0.10:80", "203.0.113.7:80", "192.0.2.1:30080"] {
            assert_eq!(stage.reached(to), "10.244.1.2", "{to} after {command}");
        }
    }
}

#[test]
#[ignore = "runs in a guest kernel"]
fn what_the_kernel_does_not_take_is_told_and_harms_nothing_else() {
    let stage = Stage::with_endpoints(["10.244.1.2", "10.244.1.3"]);
    // The last address of the node's network is nobody's.
    let odd = service("odd", "", "clusterIP: 10.96.0.20, ports: [{port: 80}]")
        + &slice("odd", "port: 8080", &["192.0.2.255", "10.244.1.3"]);
    stage.put("odd", &odd);
    stage.put("web", &(service("web", "", WEB) + &slice("web", "port: 8080", &["10.244.1.2"])));
    let proxy = stage.start(&[]);
    assert_eq!(stage.reached("10.96.0.10:80"), "10.244.1.2");
    assert_eq!(stage.reached("10.96.0.20:80"), "10.244.1.3");
    let told = "-a -t 10.96.0.20:80 -r 192.0.2.255:8080 -m -w 1 for Service e2e/odd";
    proxy.wait("the refusal in the log", |proxy| proxy.log().contains(told).then_some(()));
    let metrics = proxy.wait("metrics", |proxy| proxy.page("/metrics")).1;
    assert!(metrics.contains("kubeweir_findings{reason=\"RefusedByKernel\"} 1"), "{metrics}");
    assert_eq!(proxy.wait("health", |proxy| proxy.health("/livez")).0, 200);
    // Later changes are programmed as ever.
    stage.put("web", &(service("web", "", WEB) + &slice("web", "port: 8080", &["10.244.1.3"])));
    proxy.wait("the change", |_| (stage.reached("10.96.0.10:80") == "10.244.1.3").then_some(()));
}

#[test]
#[ignore = "runs in a guest kernel"]
fn under_sh_who_hashes_to_an_endpoint_without_weight_is_served_by_another() {
    let stage = Stage::with_endpoints(["10.244.1.2", "10.244.1.3"]);
    let none = "kubeweir.io/weight: '0'";
    let web = service("web", "kubeweir.io/scheduler: sh", "clusterIP: 10.96.0.10, ports: [{port: 80}]")
        + &slice("web", "port: 8080", &["10.244.1.2"])
        + &weighted_slice("closed", "web", "port: 8080", &["10.244.1.3"], none);
    stage.put("web", &web);
    let _proxy = stage.start(&[]);
    for last in 110..134 {
        let address = format!("192.0.2.{last}");
        stage.client.address("eth0", format!("{address}/24").parse().unwrap()).unwrap();
        // Each client in turn is the one whose address is taken by default.
        run(&stage.client, &format!("ip route replace 10.96.0.0/16 via 192.0.2.1 src {address}"));
        assert_eq!(stage.reached("10.96.0.10:80"), "10.244.1.2", "{address}");
    }
}
