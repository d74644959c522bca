//! Iptables mode.

use crate::rules::iptables_mode;
use crate::stage::{CONNECTIONS, Node, Stage, Talk};

/// Lines of `--cleanup` about chains of iptables mode.
const REMOVED: &str = "removed chains of kube-proxy in table ip nat: 13
removed chains of kube-proxy in table ip filter: 6
removed chains of kube-proxy in table ip mangle: 1
removed chains of kube-proxy in table ip6 nat: 13
removed chains of kube-proxy in table ip6 filter: 6
removed chains of kube-proxy in table ip6 mangle: 1
";

#[test]
fn chains_of_iptables_mode_go_at_the_start_nothing_else_does_and_connections_go_on() {
    let stage = Stage::new();
    let before = stage.node.put(iptables_mode);
    let begin = |(client, _, to): (&str, &str, &str)| Talk::begin(stage.topology.member(client), to);
    let mut talks = CONNECTIONS.map(begin);
    for (client, to, _) in CONNECTIONS {
        stage.is_reached(client, to);
    }
    let proxy = stage.start(&[]);
    proxy.wait_for_log("removed what another mode has left: chains of kube-proxy in table ip6 mangle: 1");
    let log = proxy.log();
    assert!(log.find("synced everything") < log.find("removed what another mode has left"), "{log}");
    assert_eq!(stage.node.saved(), before);
    talks.iter_mut().for_each(Talk::goes_on);
    for (client, to, _) in CONNECTIONS {
        stage.is_reached(client, to);
    }
    CONNECTIONS.map(begin).iter_mut().for_each(Talk::goes_on);
}

#[test]
fn cleanup_removes_chains_of_iptables_mode_and_nothing_else() {
    let node = Node::new();
    let before = node.put(iptables_mode);
    assert_eq!(node.cleanup(), (Some(0), REMOVED.to_owned(), String::new()));
    assert_eq!(node.saved(), before);
    assert_eq!(node.cleanup(), (Some(0), "nothing to remove\n".to_owned(), String::new()));
}

/// The second is what the port mappings of CNI plugins do.
#[test]
fn a_chain_that_others_lead_to_stays_and_is_named() {
    let node = Node::new();
    node.put(iptables_mode);
    let uses = "*nat\n-A MINE -j KUBE-SERVICES\n-A MINE -p tcp -m comment --comment mine -g KUBE-MARK-MASQ\nCOMMIT\n";
    node.feed("iptables-restore --noflush", uses);
    let (code, said, complaints) = node.cleanup();
    assert_eq!((code, complaints.as_str()), (Some(0), ""), "{said}");
    for (name, how) in [("KUBE-SERVICES", "without rules"), ("KUBE-MARK-MASQ", "as it is")] {
        let line =
            format!("left: chain {name} of table ip nat, {how}: what is not kube-proxy's leads to it\n");
        assert!(said.contains(&line), "{said}");
    }
    let nat = node.told("iptables-save -t nat");
    let of_kube_proxy = |line: &&str| line.starts_with("-A KUBE-") && !line.contains("-A KUBE-MARK-DROP");
    let left: Vec<&str> = nat.lines().filter(of_kube_proxy).collect();
    assert_eq!(left, ["-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000", "-A KUBE-SVC -j MINE"]);
    assert!(nat.contains("-A MINE -j KUBE-SERVICES") && nat.contains("-g KUBE-MARK-MASQ"), "{nat}");
    assert!(!nat.contains("-j KUBE-POSTROUTING"), "{nat}");
}

/// As `nft` can do, in a way that no rule tells.
#[test]
fn a_chain_that_a_map_leads_to_stays_and_is_named() {
    let node = Node::new();
    node.put(iptables_mode);
    for line in [
        "nft add map ip nat mine { type inet_service : verdict ; }",
        "nft add element ip nat mine { 80 : jump KUBE-SERVICES }",
    ] {
        node.told(line);
    }
    let (code, said, complaints) = node.cleanup();
    assert_eq!((code, complaints.as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("left: chain KUBE-SERVICES of table ip nat, without rules"), "{said}");
    assert!(node.told("nft list map ip nat mine").contains("jump KUBE-SERVICES"));
}
