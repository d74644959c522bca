//! What translation leaves on packets that go into a tunnel: right checksums, and neither mark nor a second translation outside.

use std::process::{Command, Stdio};

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::offload::checksums_in_software;
use kubeweir_e2e::proxy::Proxy;
use kubeweir_e2e::scenario;
use kubeweir_e2e::settle::check_when_settled;
use kubeweir_e2e::topology::{Member, Network, TUNNEL_PORT, TUNNELS, Topology};
use kubeweir_playground::Namespace;

/// Through node-1 and a tunnel to a pod of node-2, masqueraded.
const MASQUERADED: &str = "
    outside -> tcp 192.0.2.1:30053      : n1-b n2-a as node-1
    outside -> udp 192.0.2.1:30053      : n1-b n2-a as node-1
    outside -> sctp 192.0.2.1:30053     : n1-b n2-a as node-1
    outside -> tcp [2001:db8::1]:30053  : n1-b n2-a as node-1
    outside -> udp [2001:db8::1]:30053  : n1-b n2-a as node-1
    outside -> sctp [2001:db8::1]:30053 : n1-b n2-a as node-1
    node-1  -> tcp 10.96.0.53:53        : n1-b n2-a as node-1
    node-1  -> udp [fd00:96::53]:53     : n1-b n2-a as node-1
";
/// From node-1 through a tunnel, without a Service.
const PLAIN: &str = "
    node-1 -> tcp 10.244.2.2:8080       : n2-a as node-1
    node-1 -> udp 10.244.2.2:8053       : n2-a as node-1
    node-1 -> tcp [fd00:244:2::2]:8080  : n2-a as node-1
    node-1 -> udp [fd00:244:2::2]:8053  : n2-a as node-1
";

/// What our masquerading looks at, as long as nobody configures another bit.
const MARK: &str = "0x4000";

struct Cluster {
    topology: Topology,
    _proxies: Vec<Proxy>,
    _api: StandIn,
}

impl Cluster {
    /// A cluster with tunnels in which all rows of the basic scenario hold; whoever sends makes the checksums.
    fn new() -> Cluster {
        let scenario =
            scenario::load(&scenario::all().into_iter().find(|path| path.ends_with("basics")).unwrap());
        let (topology, api) = (Topology::build(Network::Vxlan), StandIn::start());
        for member in topology.members() {
            checksums_in_software(&member.namespace, "eth0");
        }
        let step = &scenario.steps[0];
        api.replace_all(&step.objects);
        let start = |node: &Member| {
            Proxy::under_test(&node.namespace, &node.name, &api.listen_in(&node.namespace), &[])
        };
        let proxies: Vec<Proxy> = topology.nodes().map(start).collect();
        let failures = check_when_settled(&topology, &proxies, &[], step);
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        Cluster { topology, _proxies: proxies, _api: api }
    }

    fn node(&self) -> &Namespace {
        &self.topology.member("node-1").namespace
    }

    fn nft(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("nft");
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = self.node().start(&mut command).unwrap().wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Packets that a counter of the witness has seen.
    fn seen(&self, counter: &str) -> u64 {
        let listed = self.nft(&["list", "counter", "inet", "witness", counter]);
        let words: Vec<&str> = listed.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "packets").unwrap();
        words[at + 1].parse().unwrap()
    }

    /// What does not hold of these rows.
    fn failures(&self, rows: &str) -> Vec<String> {
        scenario::check(&self.topology, &scenario::parse("rows", rows))
    }
}

/// Counters for what leaves node-1 as a tunnel's packet: all, marked, translated.
fn witness() -> String {
    format!(
        "table inet witness {{
            counter sent {{}}
            counter marked {{}}
            counter translated {{}}
            chain out {{
                type filter hook output priority 300
                udp dport {TUNNEL_PORT} counter name sent
                udp dport {TUNNEL_PORT} meta mark and {MARK} != 0 counter name marked
            }}
            chain after-translation {{
                type filter hook postrouting priority 300
                udp dport {TUNNEL_PORT} meta mark and {MARK} != 0 counter name marked
                udp dport {TUNNEL_PORT} ct status snat counter name translated
            }}
        }}"
    )
}

/// Makes the inner checksums of what node-1 sends into a tunnel wrong.
fn spoiler() -> String {
    format!(
        "table inet spoiler {{
            chain spoil {{
                type filter hook postrouting priority 300
                oifname {{ {} }} tcp checksum set 0x1
                oifname {{ {} }} udp checksum set 0x1
            }}
        }}",
        TUNNELS.join(", "),
        TUNNELS.join(", ")
    )
}

#[test]
fn all_rows_hold_through_tunnels_with_checksums_that_are_verified() {
    let cluster = Cluster::new();
    assert_eq!(cluster.failures(PLAIN), Vec::<String>::new());
    // That they are verified shows in that nothing with a wrong one arrives.
    cluster.nft(&[&spoiler()]);
    let failures = cluster.failures(PLAIN);
    assert_eq!(failures.iter().filter(|failure| failure.ends_with("got silence")).count(), 4, "{failures:?}");
}

#[test]
fn what_a_tunnel_sends_is_neither_marked_nor_translated_again() {
    let cluster = Cluster::new();
    cluster.nft(&[&witness()]);
    assert_eq!(cluster.failures(MASQUERADED), Vec::<String>::new());
    assert!(cluster.seen("sent") > 0);
    assert_eq!((cluster.seen("marked"), cluster.seen("translated")), (0, 0));
    // A mark that was left on a packet would be on the tunnel's, too: nothing else takes it away.
    let left = format!("add rule inet witness after-translation oifname {} meta mark set {MARK}", TUNNELS[0]);
    cluster.nft(&[&left]);
    drop(cluster.failures(MASQUERADED));
    assert!(cluster.seen("marked") > 0);
    assert!(cluster.seen("translated") > 0);
}
