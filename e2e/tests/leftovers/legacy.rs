//! `iptables-legacy`.

use crate::rules::{KINDS, iptables_mode, others};
use crate::stage::Node;

/// They stay, but what is said about them is true: the command is run.
#[test]
fn chains_of_iptables_legacy_are_named_with_the_command_that_removes_them() {
    let node = Node::new();
    let restore = |text: fn(&crate::rules::Kind) -> String| {
        for kind in &KINDS {
            let program = kind.program.replace("tables", "tables-legacy");
            node.feed(&format!("{program}-restore --noflush"), &text(kind));
        }
    };
    let saved = || {
        let all = node.told("iptables-legacy-save") + &node.told("ip6tables-legacy-save");
        let lines = all.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split(" [").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    restore(others);
    let (code, said, _) = node.cleanup();
    assert_eq!((code, said.as_str()), (Some(0), "nothing to remove\n"), "kubelet's are none of ours");
    let before = saved();
    restore(iptables_mode);
    let with = saved();
    let (code, said, complaints) = node.cleanup();
    assert_eq!((code, complaints.as_str()), (Some(0), ""), "{said}");
    assert_eq!(saved(), with, "they stay");
    assert!(
        said.contains("left by iptables-legacy: table ip nat of iptables-legacy: 13 chains of kube-proxy\n"),
        "{said}"
    );
    assert!(said.contains("table ip6 filter of ip6tables-legacy: 6 chains of kube-proxy\n"), "{said}");
    let commands: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split_once("the command that removes them: "))
        .map(|(_, c)| c)
        .collect();
    assert_eq!(commands.len(), 2);
    for command in commands {
        let status = node.run(std::process::Command::new("sh").args(["-c", command])).status;
        assert!(status.success(), "{command}");
    }
    assert_eq!(saved(), before);
}
