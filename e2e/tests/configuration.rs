//! The configuration from outside: the file that kubeadm writes, every flag, and a file that changes while the daemon runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kubeweir_daemon::configuration::Configuration;
use kubeweir_e2e::api::{StandIn, server_of};
use kubeweir_e2e::generate;
use kubeweir_e2e::proxy::{Proxy, program};
use kubeweir_e2e::volume::Volume;
use kubeweir_playground::Namespace;
use tempfile::TempDir;

/// As `kubeadm init --pod-network-cidr=10.244.0.0/16` writes it: an object without defaults. The place of the kubeconfig is left
/// open.
const KUBEADM: &str = r#"apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: {kubeconfig}
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
"#;

/// Every flag of kube-proxy 1.36, with a value that asks for something. Those of nothing end a process at once.
const FLAGS: [(&str, Option<&str>); 62] = [
    ("bind-address", Some("192.0.2.01")),
    ("bind-address-hard-fail", Some("true")),
    ("boot-id-file", Some("/proc/sys/kernel/random/boot_id")),
    ("cleanup", Some("false")),
    ("cluster-cidr", Some("10.244.0.0/16,fd00:244::/48")),
    ("config", None),
    ("config-sync-period", Some("10m")),
    ("conntrack-max-per-core", Some("0")),
    ("conntrack-min", Some("0")),
    ("conntrack-tcp-be-liberal", Some("false")),
    ("conntrack-tcp-timeout-close-wait", Some("0s")),
    ("conntrack-tcp-timeout-established", Some("0")),
    ("conntrack-udp-timeout", Some("0s")),
    ("conntrack-udp-timeout-stream", Some("0s")),
    ("detect-local-mode", Some("ClusterCIDR")),
    ("feature-gates", Some("LoggingAlphaOptions=true,ContextualLogging=false")),
    ("healthz-bind-address", Some("127.0.0.1")),
    ("healthz-port", Some("10256")),
    ("hostname-override", Some("Node-1")),
    ("init-only", Some("false")),
    ("iptables-localhost-nodeports", Some("false")),
    ("iptables-masquerade-bit", Some("13")),
    ("iptables-min-sync-period", Some("0s")),
    ("iptables-sync-period", Some("10s")),
    ("ipvs-exclude-cidrs", Some("10.0.0.1/8,fd00::/8")),
    ("ipvs-min-sync-period", Some("1s")),
    ("ipvs-scheduler", Some("lc")),
    ("ipvs-strict-arp", Some("true")),
    ("ipvs-sync-period", Some("20s")),
    ("ipvs-tcp-timeout", Some("3s")),
    ("ipvs-tcpfin-timeout", Some("4s")),
    ("ipvs-udp-timeout", Some("5s")),
    ("kube-api-burst", Some("20")),
    ("kube-api-content-type", Some("application/json")),
    ("kube-api-qps", Some("7.5")),
    ("kubeconfig", Some("{kubeconfig}")),
    ("log-flush-frequency", Some("1s")),
    ("log-json-info-buffer-size", Some("64Ki")),
    ("log-json-split-stream", Some("true")),
    ("log-text-info-buffer-size", Some("1M")),
    ("log-text-split-stream", Some("true")),
    ("logging-format", Some("text")),
    ("machine-id-file", Some("/etc/machine-id")),
    ("masquerade-all", Some("true")),
    ("master", Some("{server}")),
    ("metrics-bind-address", Some("127.0.0.1:10249")),
    ("metrics-port", Some("10249")),
    ("nodeport-addresses", Some("127.0.0.0/8,::1/128")),
    ("oom-score-adj", Some("0")),
    ("pod-bridge-interface", Some("cni0")),
    ("pod-interface-name-prefix", Some("veth")),
    ("profiling", Some("true")),
    ("proxy-mode", Some("nftables")),
    ("show-hidden-metrics-for-version", Some("1.35")),
    ("v", Some("2")),
    ("version", Some("false")),
    ("vmodule", Some("core=6")),
    ("write-config-to", None),
    ("iptables_masquerade_bit", Some("12")),
    ("masquerade_all", Some("T")),
    ("kube_api_qps", Some("6")),
    ("oom_score_adj", Some("1")),
];
/// Flags of ours.
const OURS: [&str; 4] = ["help", "ipvs-drain-timeout", "manifests", "service-counters"];

const SERVICE: &str = "
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: NodePort, clusterIP: 10.96.7.7, clusterIPs: [10.96.7.7], ports: [{port: 80, nodePort: 30080}]}
";

fn tables(node: &Namespace) -> String {
    let mut nft = Command::new("nft");
    let output = run(node, nft.args(["list", "ruleset"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn run(node: &Namespace, command: &mut Command) -> Output {
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    node.start(command).unwrap().wait_with_output().unwrap()
}

fn ended(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(program()).args(arguments).output().unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A cluster with a Service, its API server inside this namespace.
fn cluster(node: &Namespace) -> (StandIn, PathBuf) {
    let stand_in = StandIn::start();
    stand_in.apply(SERVICE);
    let kubeconfig = stand_in.listen_in(node);
    (stand_in, kubeconfig)
}

#[test]
fn the_file_and_the_arguments_of_kubeadm_work_unchanged() {
    let (node, volume) = (Namespace::new("node").unwrap(), Volume::empty("config.conf"));
    let (_stand_in, kubeconfig) = cluster(&node);
    volume.put(&KUBEADM.replace("{kubeconfig}", &kubeconfig.display().to_string()));
    let arguments =
        [format!("--config={}", volume.file().display()), "--hostname-override=Node-1".to_owned()];
    // kubeadm copies what it finds of these into the DaemonSet. The server is on loopback, which no proxy is for.
    let mut command = Command::new(program());
    command.args(arguments).envs([("HTTPS_PROXY", "http://127.0.0.1:1"), ("HTTP_PROXY", "127.0.0.1:1")]);
    command.env("NO_PROXY", "10.96.0.0/12,.svc,localhost,*.example.com,");
    let proxy = Proxy::of(&node, &mut command);
    proxy.wait_for_log("synced everything");
    assert!(tables(&node).contains("10.96.7.7") && tables(&node).contains("10.244.0.0/16"));
    assert_eq!(proxy.page("/proxyMode").unwrap().1, "nftables");
    assert!(proxy.health("/healthz").is_some());
    let log = proxy.log();
    assert!(log.contains("node=node-1") && log.contains("is not offered: nftables is used instead"), "{log}");
    for never in ["leniently", "without an effect", "ERROR"] {
        assert!(!log.contains(never), "{never}: {log}");
    }
}

#[test]
fn every_flag_of_kube_proxy_is_accepted_and_what_has_no_effect_is_said_once() {
    let (_, help, _) = ended(&["--help"]);
    let named = help.split_whitespace().filter_map(|word| word.strip_prefix("--"));
    let name = |word: &str| word.split(['=', '[', ',', '`', '<']).next().unwrap().to_owned();
    let known: BTreeSet<String> = named.map(name).filter(|name| !name.is_empty()).collect();
    let ours = OURS.iter().map(|flag| (*flag).to_owned());
    let expected: BTreeSet<String> =
        FLAGS.iter().map(|(flag, _)| flag.replace('_', "-")).chain(ours).collect();
    assert_eq!(known, expected);

    let node = Namespace::new("node").unwrap();
    let (_stand_in, kubeconfig) = cluster(&node);
    let server = format!("https://{}", server_of(&kubeconfig));
    let fill = |value: &str| {
        value.replace("{kubeconfig}", &kubeconfig.display().to_string()).replace("{server}", &server)
    };
    let given: Vec<(&str, String)> =
        FLAGS.iter().filter_map(|(flag, value)| Some((*flag, fill((*value)?)))).collect();
    let arguments: Vec<String> = given.iter().map(|(flag, value)| format!("--{flag}={value}")).collect();
    let proxy = Proxy::exactly(&node, &arguments);
    proxy.wait_for_log("synced everything");
    let log = proxy.log();
    let idle = "without an effect in mode nftables: ";
    assert_eq!(log.matches(idle).count(), 1, "{log}");
    for field in
        ["enableProfiling", "ipvs.scheduler", "clientConnection.qps", "featureGates.ContextualLogging"]
    {
        assert!(log.split(idle).nth(1).unwrap().lines().next().unwrap().contains(field), "{field}: {log}");
    }
    // The last of several values counts, addresses are written canonically, and what is a list stays one.
    let shown: BTreeMap<&str, &str> = log
        .lines()
        .filter_map(|line| line.split_once("FLAG: --")?.1.split_once('='))
        .map(|(flag, value)| (flag, value.trim_matches('"')))
        .collect();
    for (flag, value) in [
        ("bind-address", "192.0.2.1"),
        ("kube-api-qps", "6.0"),
        ("iptables-masquerade-bit", "12"),
        ("ipvs-exclude-cidrs", "10.0.0.0/8,fd00::/8"),
        ("healthz-bind-address", "127.0.0.1:10256"),
        ("master", &server),
    ] {
        assert_eq!(shown.get(flag), Some(&value), "{flag}");
    }
    assert_eq!(shown.len(), known.len() - 1, "all but --help");
}

fn configuration(fields: &str) -> String {
    format!("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n{fields}\n")
}

#[test]
fn a_file_that_changes_is_in_force_at_once_and_one_that_is_wrong_or_gone_changes_nothing() {
    let node = Namespace::new("node").unwrap();
    let (volume, manifests) = (Volume::empty("config.conf"), TempDir::new().unwrap());
    generate::put(manifests.path(), "objects.yaml", SERVICE);
    volume.put(&configuration("mode: nftables\nclusterCIDR: 10.244.0.0/16"));
    let arguments = [
        format!("--config={}", volume.file().display()),
        format!("--manifests={}", manifests.path().display()),
        "--hostname-override=node-1".to_owned(),
    ];
    let proxy = Proxy::exactly(&node, &arguments);
    proxy.wait_for_log("synced everything");
    let becomes = |what: &str| proxy.wait(what, |_| tables(&node).contains(what).then_some(()));
    becomes("10.244.0.0/16");

    volume.put(&configuration("mode: ipvs\nclusterCIDR: 10.245.0.0/16\nlogging: {verbosity: 4}\nshiny: 1"));
    becomes("10.245.0.0/16");
    assert!(!tables(&node).contains("10.244.0.0/16"));
    let log = proxy.log();
    assert!(log.contains("keep their old value until a restart fields=\"mode\""), "{log}");
    assert!(log.contains("in force fields=\"logging.verbosity, clusterCIDR\""), "{log}");
    assert!(log.contains("leniently: unknown fields shiny"), "{log}");
    // Only with more verbosity.
    proxy.wait_for_log("synced what changed");
    assert_eq!(proxy.page("/proxyMode").unwrap().1, "nftables");

    let before = tables(&node);
    volume.put(&configuration("mode: nftables\nclusterCIDR: pods\noomScoreAdj: 5000"));
    proxy.wait_for_log("KubeProxyConfiguration.clusterCIDR[0]: Invalid value: \"pods\"");
    proxy.wait_for_log("KubeProxyConfiguration.oomScoreAdj: Invalid value: 5000");
    volume.put("mode: [");
    proxy.wait("a second refusal", |proxy| {
        (proxy.log().matches("was not taken over").count() == 2).then_some(())
    });
    assert_eq!(tables(&node), before);

    // The ConfigMap is deleted, and comes back.
    volume.remove();
    proxy.wait_for_log("the configuration file cannot be read");
    assert_eq!(tables(&node), before);
    fs::write(volume.file(), configuration("mode: nftables\nclusterCIDR: 10.246.0.0/16")).unwrap();
    becomes("10.246.0.0/16");
    fs::write(volume.file(), configuration("mode: nftables\ndetectLocalMode: NodeCIDR")).unwrap();
    proxy.wait("no prefix", |_| (!tables(&node).contains("10.246.0.0/16")).then_some(()));
}

#[test]
fn what_is_written_is_what_is_in_effect() {
    let directory = TempDir::new().unwrap();
    let (first, second) = (directory.path().join("first"), directory.path().join("second"));
    let write = |path: &Path, arguments: &[&str]| {
        let to = format!("--write-config-to={}", path.display());
        let (code, said, complaints) = ended(&[&[to.as_str()], arguments].concat());
        assert_eq!((code, said.as_str()), (Some(0), ""), "{complaints}");
        Configuration::from_text(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let flags = [
        "--proxy-mode=ipvs",
        "--ipvs-scheduler=lc",
        "--cluster-cidr=10.0.0.1/8",
        "--v=3",
        "--metrics-port=0",
    ];
    let from_flags = write(&first, &flags);
    assert_eq!(from_flags.configuration.cluster_cidr, "10.0.0.0/8");
    assert_eq!(
        from_flags.configuration.metrics_bind_address, "127.0.0.1:10249",
        "a port does not count here"
    );
    let again = write(&second, &[&format!("--config={}", first.display()), "--hostname-override=X"]);
    assert_eq!(again.configuration.hostname_override, "x");
    let named = Configuration { hostname_override: "x".into(), ..from_flags.configuration };
    assert_eq!(again.configuration, named);

    let lenient = format!("{}unheardOf: 1\n", fs::read_to_string(&first).unwrap());
    fs::write(&first, lenient).unwrap();
    let to = format!("--write-config-to={}", second.display());
    let (code, _, said) = ended(&[&to, &format!("--config={}", first.display())]);
    assert!(code == Some(0) && said.contains("leniently") && said.contains("unheardOf"), "{said}");
}

#[test]
fn mistakes_end_the_process_with_1_and_are_named_all_of_them() {
    for (arguments, expected) in [
        (vec!["positional"], "positional"),
        (vec!["--unheard-of"], "--unheard-of"),
        (vec!["--ipvs-tcp-timeout=soon"], "--ipvs-tcp-timeout: \"soon\" is not a duration"),
        (vec!["--config=/nonexistent/config", "--ipvs-tcp-timeout=soon"], "--ipvs-tcp-timeout: \"soon\""),
        (vec!["--config=/nonexistent/config"], "cannot read /nonexistent/config"),
        (vec!["--hostname-override= "], "hostnameOverride: Invalid value"),
        (vec!["--feature-gates=NFTablesProxyMode=false"], "the feature is locked to true"),
        (
            vec!["--iptables-min-sync-period=2h", "--iptables-sync-period=3h", "--oom-score-adj=5000"],
            "must be less than or equal to 1h: everything is compared anew that often, KubeProxyConfiguration.oomScoreAdj: Invalid value: 5000",
        ),
    ] {
        let (code, _, complaints) = ended(&arguments);
        assert_eq!(code, Some(1), "{arguments:?}");
        assert!(complaints.contains(expected), "{arguments:?}: {complaints}");
    }
}

#[test]
fn the_version_is_told_and_servers_can_be_switched_off() {
    let (code, said, _) = ended(&["--version"]);
    assert_eq!((code, said.starts_with("kubeweir ")), (Some(0), true), "{said}");
    assert!(ended(&["--version=raw"]).1.contains("kube-proxy 1.36"));
    assert_eq!(ended(&["--version=yes"]).0, Some(1));
    let (node, manifests) = (Namespace::new("node").unwrap(), TempDir::new().unwrap());
    let manifests_flag = format!("--manifests={}", manifests.path().display());
    let arguments = [
        manifests_flag.as_str(),
        "--hostname-override=node-1",
        "--metrics-bind-address=",
        "--logging-format=json",
    ];
    let proxy = Proxy::exactly(&node, &arguments.map(str::to_owned));
    proxy.wait("health", |proxy| proxy.health("/livez"));
    assert!(proxy.page("/metrics").is_none());
    for line in proxy.log().lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
}
