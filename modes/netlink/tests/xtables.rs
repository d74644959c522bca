//! Tables of `iptables-legacy` in the real kernel.

use std::process::Command;

use kubeweir_netlink::{Family, xtables};
use kubeweir_playground::Namespace;

#[test]
fn chains_of_users_are_named_and_a_table_that_is_not_there_is_not_made() {
    let node = Namespace::new("node").unwrap();
    let tables = || node.run(|| [Family::V4, Family::V6].map(xtables::tables)).unwrap();
    assert_eq!(tables(), [[""; 0]; 2], "nobody used them here");
    for (program, chain) in [("iptables-legacy", "KUBE-SVC-A"), ("ip6tables-legacy", "KUBE-SERVICES")] {
        for arguments in [["-N", chain].as_slice(), &["-A", "OUTPUT", "-j", chain], &["-N", "DOCKER"]] {
            let mut command = Command::new(program);
            command.args(["-t", "nat"]).args(arguments);
            assert!(node.start(&mut command).unwrap().wait().unwrap().success(), "{program} {arguments:?}");
        }
    }
    assert_eq!(tables(), [["nat"]; 2]);
    let chains = |family| {
        let mut chains = node.run(|| xtables::chains(family, "nat")).unwrap().unwrap();
        chains.sort();
        chains
    };
    assert_eq!(chains(Family::V4), ["DOCKER", "KUBE-SVC-A"]);
    assert_eq!(chains(Family::V6), ["DOCKER", "KUBE-SERVICES"]);
    assert_eq!(tables(), [["nat"]; 2]);
}
