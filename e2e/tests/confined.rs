//! Proxies that have nothing but `CAP_NET_ADMIN`, as in our pods: first everything that takes privileges, by `--init-only`, then
//! the proxy, confined. That the packet tables hold so is shown by `packets`, over routed networks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::confined::{User, confined};
use kubeweir_e2e::proxy::{Ours, Proxy, common_flags, mode, program};
use kubeweir_e2e::scenario::{self, Scenario};
use kubeweir_e2e::settle::check_when_settled;
use kubeweir_e2e::topology::{Member, Network, Topology};
use kubeweir_playground::Namespace;
use tempfile::TempDir;

/// The first packet table, with proxies of a user that is not root.
#[test]
fn another_user_with_the_capability_will_do() {
    let directory = scenario::all().into_iter().find(|path| path.ends_with("basics")).unwrap();
    let scenario = scenario::load(&directory);
    let (topology, api) = (Topology::build(Network::Routed), StandIn::start());
    topology.add_addresses(&scenario.addresses);
    let mut proxies = Vec::new();
    for (number, step) in (1..).zip(&scenario.steps) {
        api.replace_all(&step.objects);
        if number == 1 {
            proxies = topology.nodes().map(|node| start(node, &api, &scenario)).collect();
        }
        let failures = check_when_settled(&topology, &proxies, &scenario.flags, step);
        assert!(failures.is_empty(), "step {number}:\n{}", failures.join("\n"));
    }
}

fn start(node: &Member, api: &StandIn, scenario: &Scenario) -> Proxy {
    let kubeconfig = api.listen_in(&node.namespace);
    open_to_all(kubeconfig.parent().unwrap());
    let mut flags = scenario.flags.clone();
    flags.push(format!("--kubeconfig={}", kubeconfig.display()));
    Proxy::confined(&node.namespace, &Ours { flags, name: &node.name }, User::Other)
}

fn open_to_all(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Without the rights that it takes, the first container ends and says all that it could not set.
#[test]
fn what_cannot_be_set_is_said_in_one_message_with_what_it_is_and_should_be() {
    let (node, manifests) = (Namespace::new("node").unwrap(), TempDir::new().unwrap());
    let mut command = Command::new(program());
    command.args(common_flags("nftables", "node-1")).args(DIFFERENT).arg("--init-only");
    command.arg(format!("--manifests={}", manifests.path().display()));
    let output = node.run(|| confined(&command, User::Root).output()).unwrap().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let messages = said.lines().filter(|line| line.contains("is not set up")).count();
    assert_eq!((output.status.code(), messages), (Some(1), 1), "{said}");
    for (name, wanted) in TIMEOUTS {
        let is = conntrack(&node, name, None);
        let name = format!("net.netfilter.nf_conntrack_{name}");
        let part = format!("{name}={wanted} cannot be set, {name} is {is} (Read-only file system");
        assert!(said.contains(&part), "{part} is not in\n{said}");
    }
    assert!(said.contains("--init-only"), "{said}");
}

/// A container that is started again meets a host where somebody has set something else, and the first container does not run
/// again: the proxy programs, says what differs, and says so when it is mended.
#[test]
fn a_proxy_runs_on_where_a_sysctl_is_another_one_and_says_so_until_it_is_set() {
    let (node, manifests) = (Namespace::new("node").unwrap(), TempDir::new().unwrap());
    let mut flags = common_flags(&mode(), "node-1").to_vec();
    flags.push(format!("--manifests={}", manifests.path().display()));
    let first: Vec<String> = flags.iter().cloned().chain(["--init-only".to_owned()]).collect();
    flags.extend(DIFFERENT.map(str::to_owned));
    let proxy = Proxy::in_pod(&node, &first, &flags);
    for (number, (name, wanted)) in TIMEOUTS.into_iter().enumerate() {
        let open = (TIMEOUTS.len() - number) as u64;
        proxy.wait("findings", |proxy| (proxy.count("kubeweir_host_findings") == open).then_some(()));
        let (is, path) = (conntrack(&node, name, None), format!("net.netfilter.nf_conntrack_{name}"));
        let part = format!("{path}={wanted} is not set, {path} is {is} (Read-only file system");
        assert!(proxy.log().contains(&part), "{part} is not in\n{}", proxy.log());
        conntrack(&node, name, Some(wanted));
        // Changed sysctls are told by nobody, and so are looked at when something else changes, or in a minute.
        let link = format!("link add v{number} type veth peer name w{number}");
        let added = node.run(|| Command::new("ip").args(link.split(' ')).status()).unwrap().unwrap();
        assert!(added.success());
        proxy.wait("the news", |proxy| proxy.log().contains(&format!("mended: {path}")).then_some(()));
    }
    proxy.wait("no findings", |proxy| (proxy.count("kubeweir_host_findings") == 0).then_some(()));
}

const DIFFERENT: [&str; 2] = ["--conntrack-udp-timeout=777s", "--conntrack-tcp-timeout-close-wait=778s"];
const TIMEOUTS: [(&str, u32); 2] = [("udp_timeout", 777), ("tcp_timeout_close_wait", 778)];

/// What a parameter of connection tracking was in a namespace, before it was set to another value.
fn conntrack(node: &Namespace, name: &str, value: Option<u32>) -> String {
    let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
    let was = node.run(|| {
        let was = fs::read_to_string(&path).unwrap();
        if let Some(value) = value {
            fs::write(&path, value.to_string()).unwrap();
        }
        was
    });
    was.unwrap().trim().to_owned()
}

/// Run with all rights, it needs no API server, sets what differs, and takes nothing away from traffic.
#[test]
fn the_first_container_prepares_and_removes_nothing() {
    let node = Namespace::new("node").unwrap();
    let nft = |arguments: &[&str]| {
        let output = node.run(|| Command::new("nft").args(arguments).output()).unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let left = ["ip kube-proxy", "ip6 kube-proxy", "ip kubeweir", "ip kubeweir-ipvs", "inet other"];
    for table in left {
        nft(&["add", "table", table]);
    }
    let before = nft(&["list", "ruleset"]);
    let mut command = Command::new(program());
    command.args(common_flags(&mode(), "node-1")).args(["--init-only", "--conntrack-udp-timeout=777s"]);
    // Nothing listens there, and nobody is asked.
    command.arg("--master=http://127.0.0.1:1");
    let output = node.run(|| command.output()).unwrap().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.contains("the host is prepared"), "{said}");
    assert_eq!(nft(&["list", "ruleset"]), before);
    let set = node.run(|| fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_udp_timeout"));
    assert_eq!(set.unwrap().unwrap(), "777\n");
}

/// What a process that may not set its score says.
const STAYS: &str = "oomScoreAdj cannot be set and stays as it is";

fn score(process: &str) -> i32 {
    fs::read_to_string(format!("/proc/{process}/oom_score_adj")).unwrap().trim().parse().unwrap()
}

/// Whether processes of this test may lower theirs (`CAP_SYS_RESOURCE`): in containers they often may not.
fn may_lower() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(set.trim(), 16).unwrap() & (1 << 24) != 0
}

/// Waits until a proxy has this score, and goes on.
fn wait_for_score(proxy: &Proxy, wanted: i32) {
    proxy.wait(&format!("a score of {wanted}"), |proxy| {
        (score(&proxy.id().to_string()) == wanted).then_some(())
    });
    proxy.wait_for_log("synced everything");
}

/// Raising it takes no right.
#[test]
fn who_is_ended_first_when_memory_runs_out_is_as_configured() {
    let (node, manifests) = (Namespace::new("node").unwrap(), TempDir::new().unwrap());
    let file = manifests.path().join("config.conf");
    let text =
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\noomScoreAdj: 250\n";
    fs::write(&file, format!("{text}mode: {}\n", mode())).unwrap();
    let objects = format!("--manifests={}", manifests.path().join("objects").display());
    fs::create_dir(manifests.path().join("objects")).unwrap();
    let config = format!("--config={}", file.display());
    let mode = format!("--proxy-mode={}", mode());
    for (flag, wanted) in [(&config, 250), (&"--oom-score-adj=300".to_owned(), 300), (&mode, -999)] {
        let arguments = [flag, &mode, &objects].map(Clone::clone);
        let arguments = [&arguments[..], &["--hostname-override=node-1".to_owned()]].concat();
        let proxy = Proxy::exactly(&node, &arguments);
        if wanted >= 0 || may_lower() {
            wait_for_score(&proxy, wanted);
            assert!(!proxy.log().contains(STAYS), "{}", proxy.log());
        } else {
            proxy.wait_for_log(&format!("{STAYS} wanted={wanted} current=\"{}\"", score("self")));
            wait_for_score(&proxy, score("self"));
        }
    }
}

#[test]
fn a_score_that_may_not_be_set_stays_which_is_said_and_no_trouble() {
    let (node, manifests) = (Namespace::new("node").unwrap(), TempDir::new().unwrap());
    let objects = format!("--manifests={}", manifests.path().display());
    let before = score("self");
    let says = |proxy: &Proxy, why: &str| {
        proxy.wait_for_log(&format!("{STAYS} wanted=-999 current=\"{before}\""));
        assert!(proxy.log().contains(why), "{}", proxy.log());
        wait_for_score(proxy, before);
        assert_eq!(proxy.log().matches(STAYS).count(), 1);
    };
    // As in our pods; then with everything but the right to do this.
    let confined = |flags: Vec<String>| Proxy::confined(&node, &Ours { flags, name: "node-1" }, User::Root);
    says(&confined(vec![objects.clone()]), "Read-only file system");
    let unprivileged = |flag: &str| {
        let mut command = Command::new("setpriv");
        command.arg("--bounding-set=-sys_resource").arg(program()).args(common_flags(&mode(), "node-1"));
        Proxy::of(&node, command.args(["-v=4", &objects, flag]))
    };
    says(&unprivileged("--oom-score-adj=-999"), "Permission denied");
    let more = (before + 1).min(1000);
    wait_for_score(&unprivileged(&format!("--oom-score-adj={more}")), more);
    // What is already so, as where the kubelet has seen to it, needs no right.
    let proxy = confined(vec![objects.clone(), format!("--oom-score-adj={before}")]);
    wait_for_score(&proxy, before);
    assert!(!proxy.log().contains("oom_score_adj cannot be set"), "{}", proxy.log());
}
