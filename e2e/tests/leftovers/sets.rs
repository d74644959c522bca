//! IPVS mode.

use std::process::Command;

use kubeweir_e2e::proxy::program;

use crate::rules::{KINDS, SETS, ipvs_mode, set, sets};
use crate::stage::{Node, Stage, text};

fn put_sets(node: &Node) {
    for kind in &KINDS {
        node.feed("ipset restore", &sets(kind));
    }
    node.feed("ipset restore", "create KUBE-NWPLCY hash:ip\nadd KUBE-NWPLCY 192.0.2.7\n");
}

fn names(node: &Node) -> Vec<String> {
    let mut names: Vec<String> = node.told("ipset list -n").lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn cleanup_removes_rules_and_sets_of_ipvs_mode_and_nothing_else() {
    let node = Node::new();
    put_sets(&node);
    assert_eq!(names(&node).len(), 2 * SETS.len() + 1);
    let before = node.put(|kind| ipvs_mode(kind, false));
    let (code, said, complaints) = node.cleanup();
    assert_eq!((code, complaints.as_str()), (Some(0), ""), "{said}");
    assert!(said.ends_with("removed sets of kube-proxy: 34\n"), "{said}");
    assert_eq!((node.saved(), names(&node)), (before, vec!["KUBE-NWPLCY".to_owned()]));
}

#[test]
fn a_set_that_somebody_else_uses_stays_and_is_named_and_the_others_go() {
    let node = Node::new();
    put_sets(&node);
    node.put(|kind| ipvs_mode(kind, false));
    node.told("iptables -A MINE -m set --match-set KUBE-CLUSTER-IP dst,dst -j RETURN");
    let (code, said, complaints) = node.cleanup();
    assert_eq!(
        (code, complaints.as_str()),
        (Some(1), "kubeweir: not removed: set KUBE-CLUSTER-IP: it is in use\n")
    );
    assert!(said.ends_with("removed sets of kube-proxy: 33\n"), "{said}");
    assert_eq!(names(&node), ["KUBE-CLUSTER-IP", "KUBE-NWPLCY"]);
}

/// To ask for sets would have the kernel load them. What says whether it has them is hidden here, so nobody asks.
#[test]
fn sets_are_not_asked_for_where_the_kernel_has_none() {
    let node = Node::new();
    put_sets(&node);
    let mut hidden = Command::new("unshare");
    hidden
        .args(["--mount", "sh", "-c", "mount -t tmpfs none /sys/module && exec \"$0\" --cleanup"])
        .arg(program());
    let output = node.run(&mut hidden);
    let said = (output.status.code(), text(&output.stdout), text(&output.stderr));
    assert_eq!(said, (Some(0), "nothing to remove\n".to_owned(), String::new()));
    assert_eq!(names(&node).len(), 2 * SETS.len() + 1);
}

#[test]
fn rules_and_sets_of_ipvs_mode_go_at_the_start() {
    let stage = Stage::new();
    put_sets(&stage.node);
    let before = stage.node.put(|kind| ipvs_mode(kind, false));
    let proxy = stage.start(&[]);
    proxy.wait_for_log("removed what another mode has left: sets of kube-proxy: 34");
    assert_eq!((stage.node.saved(), names(&stage.node)), (before, vec!["KUBE-NWPLCY".to_owned()]));
    for client in ["outside", "n1-b"] {
        stage.is_reached(client, "10.96.0.90:80");
        stage.is_reached(client, "[fd00:96::90]:80");
    }
}

/// With virtual servers and rules that ask for them.
#[test]
#[ignore = "runs in a guest kernel"]
fn all_of_ipvs_mode_goes_when_nftables_mode_takes_over() {
    let stage = Stage::new();
    let node = &stage.node;
    put_sets(node);
    node.0.sysctl("ipv4/vs/conntrack", "1").unwrap();
    node.told("ip link add kube-ipvs0 type dummy");
    for (kind, bits) in KINDS.iter().zip([32, 128]) {
        let (address, of) =
            (kind.service, |ip: &str| if bits == 32 { ip.to_owned() } else { format!("[{ip}]") });
        node.told(&format!("ip address add {address}/{bits} dev kube-ipvs0"));
        node.told(&format!("ipvsadm -A -t {}:80 -s rr", of(address)));
        for endpoint in kind.endpoints {
            node.told(&format!("ipvsadm -a -t {}:80 -r {}:8080 -m", of(address), of(endpoint)));
        }
    }
    let before = node.put(|kind| ipvs_mode(kind, true));
    assert!(node.told("iptables-save").contains("-m ipvs"));
    stage.is_reached("outside", "10.96.0.90:80");
    let proxy = stage.start(&["--proxy-mode=nftables"]);
    proxy.wait_for_log("removed what another mode has left: sets of kube-proxy: 34");
    assert_eq!((node.saved(), names(node)), (before, vec!["KUBE-NWPLCY".to_owned()]));
    assert_eq!(node.told("ipvsadm -S -n"), "");
    assert!(!node.run(Command::new("ip").args(["link", "show", "kube-ipvs0"])).status.success());
    assert_eq!(set(&KINDS[1], "LOAD-BALANCER-SOURCE-CIDR"), "KUBE-6-LOAD-BALANCER-SOURCE-CID");
    for client in ["outside", "n1-b", "node-1"] {
        stage.is_reached(client, "10.96.0.90:80");
        stage.is_reached(client, "[fd00:96::90]:80");
    }
}
