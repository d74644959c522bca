//! What the guest's kernel has for IPVS mode.

use std::process::{Command, Output};

use kubeweir_playground::Namespace;

const SCHEDULERS: [&str; 13] =
    ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "mh", "fo", "ovf"];

#[track_caller]
fn in_namespace(namespace: &Namespace, line: &str) -> Output {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    let output = namespace.run(|| command.args(words).output()).unwrap().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn listed(namespace: &Namespace) -> String {
    String::from_utf8(in_namespace(namespace, "ipvsadm -ln").stdout).unwrap()
}

#[test]
#[ignore = "runs in a guest kernel"]
fn a_virtual_server_is_listed_in_its_own_namespace_only() {
    let (here, elsewhere) = (Namespace::new("here").unwrap(), Namespace::new("elsewhere").unwrap());
    in_namespace(&here, "ipvsadm -A -t 10.0.0.1:80 -s rr");
    in_namespace(&here, "ipvsadm -a -t 10.0.0.1:80 -r 10.0.0.2:8080 -m -w 3");
    assert!(listed(&here).contains("TCP  10.0.0.1:80 rr"), "{}", listed(&here));
    assert!(listed(&here).contains("-> 10.0.0.2:8080                Masq    3"), "{}", listed(&here));
    assert!(!listed(&elsewhere).contains("10.0.0.1"), "{}", listed(&elsewhere));
}

#[test]
#[ignore = "runs in a guest kernel"]
fn every_scheduler_is_there() {
    let namespace = Namespace::new("node").unwrap();
    for (port, scheduler) in (1..).zip(SCHEDULERS) {
        in_namespace(&namespace, &format!("ipvsadm -A -t 10.0.0.1:{port} -s {scheduler}"));
        in_namespace(&namespace, &format!("ipvsadm -A -t [fd00::1]:{port} -s {scheduler}"));
    }
    let listed = listed(&namespace);
    for (port, scheduler) in (1..).zip(SCHEDULERS) {
        for address in ["10.0.0.1", "[fd00::1]"] {
            assert!(listed.contains(&format!("TCP  {address}:{port} {scheduler}")), "{scheduler}:\n{listed}");
        }
    }
}

#[test]
#[ignore = "runs in a guest kernel"]
fn a_dummy_device_carries_addresses() {
    let namespace = Namespace::new("node").unwrap();
    in_namespace(&namespace, "ip link add kube-ipvs0 type dummy");
    in_namespace(&namespace, "ip address add 10.96.0.10/32 dev kube-ipvs0");
    let shown = String::from_utf8(in_namespace(&namespace, "ip address show kube-ipvs0").stdout).unwrap();
    assert!(shown.contains("inet 10.96.0.10/32"), "{shown}");
}
