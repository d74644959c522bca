//! What `--cleanup` and a mode that takes over remove from the kernel, and what not: as far as this needs no IPVS.

use std::process::{Command, Output, Stdio};

use kubeweir_e2e::generate;
use kubeweir_e2e::proxy::{Ours, Proxy, program};
use kubeweir_playground::{Bridge, Namespace};
use tempfile::TempDir;

/// Tables of others, and a chain of kube-proxy's in one of them, as `iptables` of today writes it.
const OTHERS: &str = "add table ip somebody-else
add table ip6 somebody-else
add table ip nat
add chain ip nat KUBE-SERVICES
add chain ip nat DOCKER";
const LEFT_BY_KUBE_PROXY: &str = "add table ip kube-proxy
add chain ip kube-proxy services
add table ip6 kube-proxy";

fn run(node: &Namespace, command: &mut Command) -> Output {
    let child = node.start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    child.unwrap().wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn nft(node: &Namespace, arguments: &[&str]) -> String {
    let output = run(node, Command::new("nft").args(arguments));
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn cleanup(node: &Namespace, flags: &[&str]) -> (Option<i32>, String, String) {
    let output = run(node, Command::new(program()).arg("--cleanup").args(flags));
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn start(node: &Namespace, manifests: &TempDir) -> Proxy {
    generate::write(manifests.path(), 10, 3);
    let flags = vec![format!("--manifests={}", manifests.path().display())];
    let proxy = Proxy::ours(node, &Ours { flags, name: "node-1" });
    proxy.wait_for_log("synced everything");
    proxy
}

#[test]
fn cleanup_leaves_nothing_of_ours_and_all_of_others() {
    let (node, manifests) = (Namespace::new("node").unwrap(), TempDir::new().unwrap());
    Bridge { here: &node, name: "kube-ipvs0" }.make().unwrap();
    drop(start(&node, &manifests));
    nft(&node, &[OTHERS]);
    nft(&node, &[LEFT_BY_KUBE_PROXY]);
    let (code, said, complaints) = cleanup(&node, &[]);
    let tables = ["ip kubeweir", "ip6 kubeweir", "ip kube-proxy", "ip6 kube-proxy"];
    let mut expected: Vec<String> = tables.iter().map(|table| format!("removed table {table}")).collect();
    expected.push("removed chains of kube-proxy in table ip nat: 1\n".to_owned());
    assert_eq!((code, said, complaints.as_str()), (Some(0), expected.join("\n"), ""));
    assert_eq!(
        nft(&node, &["list", "tables"]),
        "table ip somebody-else\ntable ip6 somebody-else\ntable ip nat\n"
    );
    assert!(nft(&node, &["list", "table", "ip", "nat"]).contains("chain DOCKER"));
    let links = text(&run(&node, Command::new("ip").args(["-o", "link", "show", "kube-ipvs0"])).stdout);
    assert!(links.contains("kube-ipvs0"), "a bridge is nobody's dummy device");
    nft(&node, &["delete table ip nat"]);
    assert_eq!(cleanup(&node, &[]), (Some(0), "nothing to remove\n".to_owned(), String::new()));
}

/// Whoever asks for IPVS has the kernel load it, and asks over generic netlink.
#[test]
fn cleanup_does_not_ask_for_ipvs_where_nothing_hints_at_it() {
    let asks = |node: &Namespace| {
        let mut traced = Command::new("strace");
        traced.args(["-f", "-qq", "-e", "trace=socket"]).arg(program()).arg("--cleanup");
        let output = run(node, &mut traced);
        assert!(output.status.success() && text(&output.stderr).contains("NETLINK_NETFILTER"));
        text(&output.stderr).contains("NETLINK_GENERIC")
    };
    let node = Namespace::new("node").unwrap();
    assert!(!asks(&node));
    nft(&node, &["add table ip kubeweir-ipvs"]);
    assert!(asks(&node));
    assert_eq!(nft(&node, &["list", "tables"]), "");
}

#[test]
fn cleanup_takes_the_configuration_and_names_what_is_wrong_with_it() {
    let (node, directory) = (Namespace::new("node").unwrap(), TempDir::new().unwrap());
    let with = |excluded: &str| {
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        let path = directory.path().join("config.yaml");
        std::fs::write(&path, format!("{head}mode: nftables\nipvs: {{excludeCIDRs: [\"{excluded}\"]}}\n"))
            .unwrap();
        cleanup(&node, &[&format!("--config={}", path.display())])
    };
    assert_eq!(with("10.0.0.0/8").0, Some(0));
    let (code, said, complaints) = with("10.0.0.0/33");
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(complaints.contains("ipvs.excludeCIDRs"), "{complaints}");
}

#[test]
fn what_cannot_be_removed_is_named_all_of_it_and_the_exit_code_is_1() {
    let (node, manifests) = (Namespace::new("node").unwrap(), TempDir::new().unwrap());
    drop(start(&node, &manifests));
    let mut powerless = Command::new("setpriv");
    powerless.arg("--bounding-set=-net_admin").arg(program()).arg("--cleanup");
    let output = run(&node, &mut powerless);
    let complaints = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()), "{complaints}");
    for table in
        ["table ip kubeweir:", "table ip6 kubeweir:", "table ip kube-proxy:", "table ip6 kube-proxy:"]
    {
        assert!(complaints.contains(table), "{table} is not in\n{complaints}");
    }
    assert_eq!(nft(&node, &["list", "tables"]), "table ip kubeweir\ntable ip6 kubeweir\n");
}

#[test]
fn a_mode_that_takes_over_removes_the_tables_of_kube_proxy_once_its_own_are_there() {
    let (node, manifests) = (Namespace::new("node").unwrap(), TempDir::new().unwrap());
    nft(&node, &[OTHERS]);
    nft(&node, &[LEFT_BY_KUBE_PROXY]);
    let proxy = start(&node, &manifests);
    proxy.wait_for_log("removed what another mode has left: table ip6 kube-proxy");
    let log = proxy.log();
    assert!(log.find("synced everything") < log.find("removed what another mode has left"), "{log}");
    let tables = nft(&node, &["list", "tables"]);
    assert!(!tables.contains("kube-proxy") && tables.contains("ip kubeweir"), "{tables}");
    assert!(tables.contains("ip nat") && tables.contains("ip6 somebody-else"), "{tables}");
}
