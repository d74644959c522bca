//! To kubeweir and back, with kube-proxy in nftables or in iptables mode on the other side: no new connection fails, and established ones go
//! on.

use std::fmt::Write;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use kubeweir_e2e::proxy::{PATIENCE, program};
use kubeweir_playground::{Answer, Namespace, Probe, Transport};

use crate::rules::{KINDS, PORTS, iptables_mode, ipvs_mode, nftables_mode, set, sets};
use crate::stage::{CONNECTIONS, Node, Stage, Talk, text};

/// New connections that must have gone well after each step, by each client.
const ENOUGH: usize = 4;

/// Clients that make one connection after the other and tell of each, until they are told to stop.
struct Clients<'a> {
    go_on: &'a AtomicBool,
    reached: Vec<Receiver<()>>,
}

impl Clients<'_> {
    /// Waits for connections that began after this call.
    fn go_on_well(&self) {
        for (reached, (client, to, _)) in self.reached.iter().zip(CONNECTIONS) {
            while reached.try_recv().is_ok() {}
            for _ in 0..=ENOUGH {
                reached.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{client} to {to} has failed"));
            }
        }
    }
}

impl Drop for Clients<'_> {
    fn drop(&mut self) {
        self.go_on.store(false, Ordering::Relaxed);
    }
}

fn connect(client: &Namespace, to: &str, go_on: &AtomicBool, reached: &Sender<()>) {
    let probe =
        Probe { transport: Transport::Tcp, to: to.parse().unwrap(), patience: Duration::from_secs(20) };
    let work = || {
        while go_on.load(Ordering::Relaxed) {
            match probe.send() {
                Answer::Reached { .. } => drop(reached.send(())),
                other => panic!("{} to {to}: {other}", client.name()),
            }
        }
    };
    client.run(work).unwrap();
}

/// Has clients make connections all the time, while something else is done.
fn throughout(stage: &Stage, steps: impl FnOnce(&Clients<'_>)) {
    let go_on = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let mut clients = Clients { go_on: &go_on, reached: Vec::new() };
        for (client, to, _) in CONNECTIONS {
            let (sender, receiver) = channel();
            let (client, go_on) = (stage.topology.member(client).namespace.clone(), &go_on);
            scope.spawn(move || connect(&client, to, go_on, &sender));
            clients.reached.push(receiver);
        }
        clients.go_on_well();
        steps(&clients);
    });
}

fn begin(stage: &Stage) -> Vec<Talk> {
    CONNECTIONS.map(|(client, _, to)| Talk::begin(stage.topology.member(client), to)).into()
}

fn tables(node: &Node) -> Vec<String> {
    let tables = node.told("nft list tables");
    tables.lines().filter(|line| line.contains("kube")).map(str::to_owned).collect()
}

/// The steps of docs/migration.md: kube-proxy is started over what we left, then our tables are removed.
fn back(put: impl FnOnce(&Node)) -> Vec<String> {
    let stage = Stage::new();
    let proxy = stage.start(&["--proxy-mode=nftables"]);
    let mut talks = begin(&stage);
    let mut left = Vec::new();
    throughout(&stage, |clients| {
        drop(proxy);
        clients.go_on_well();
        put(&stage.node);
        clients.go_on_well();
        talks.extend(begin(&stage));
        let output = stage.node.run(Command::new(program()).arg("--cleanup=ours"));
        let said = (output.status.code(), text(&output.stdout), text(&output.stderr));
        let removed = "removed table ip kubeweir\nremoved table ip6 kubeweir\n".to_owned();
        assert_eq!(said, (Some(0), removed, String::new()));
        clients.go_on_well();
        talks.extend(begin(&stage));
        talks.iter_mut().for_each(Talk::goes_on);
        left = tables(&stage.node);
    });
    left
}

fn put_nftables_mode(node: &Node) {
    for kind in &KINDS {
        node.feed("nft -f -", &nftables_mode(kind));
    }
}

#[test]
fn connections_go_on_when_nftables_mode_takes_over_again_and_our_tables_go() {
    assert_eq!(back(put_nftables_mode), ["table ip kube-proxy", "table ip6 kube-proxy"]);
}

#[test]
fn connections_go_on_when_iptables_mode_takes_over_again_and_our_tables_go() {
    let put = |node: &Node| {
        node.put(iptables_mode);
    };
    assert!(back(put).is_empty());
}

#[test]
fn connections_go_on_when_we_take_over_from_nftables_mode() {
    let stage = Stage::new();
    put_nftables_mode(&stage.node);
    let mut talks = begin(&stage);
    throughout(&stage, |clients| {
        let proxy = stage.start(&["--proxy-mode=nftables"]);
        proxy.wait_for_log("removed what another mode has left: table ip6 kube-proxy");
        clients.go_on_well();
        talks.extend(begin(&stage));
        talks.iter_mut().for_each(Talk::goes_on);
    });
    assert_eq!(tables(&stage.node), ["table ip kubeweir", "table ip6 kubeweir"]);
}

/// Rules and sets of kube-proxy's IPVS mode, as it writes them at each start.
fn put_rules_of_ipvs_mode(node: &Node) {
    for kind in &KINDS {
        let members = PORTS.map(|(_, port, _, node_port)| {
            let (services, node_ports) = (set(kind, "CLUSTER-IP"), set(kind, "NODE-PORT-TCP"));
            format!("add {services} {},tcp:{port}\nadd {node_ports} {node_port}\n", kind.service)
        });
        node.feed("ipset -exist restore", &(sets(kind) + &members.concat()));
    }
    node.put(|kind| ipvs_mode(kind, true));
}

/// The virtual servers of kube-proxy's IPVS mode, and their device.
fn put_servers(node: &Node) {
    node.0.sysctl("ipv4/vs/conntrack", "1").unwrap();
    node.told("ip link add kube-ipvs0 type dummy");
    let mut text = String::new();
    for (kind, own) in KINDS.iter().zip(["192.0.2.1", "2001:db8::1"]) {
        let of = |ip: &str| if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        let bits = if kind.service.contains(':') { 128 } else { 32 };
        node.told(&format!("ip address add {}/{bits} dev kube-ipvs0", kind.service));
        for (_, port, target, node_port) in PORTS {
            for at in [format!("{}:{port}", of(kind.service)), format!("{}:{node_port}", of(own))] {
                let _ = writeln!(text, "-A -t {at} -s rr");
                for endpoint in kind.endpoints {
                    let _ = writeln!(text, "-a -t {at} -r {}:{target} -m -w 1", of(endpoint));
                }
            }
        }
    }
    node.feed("ipvsadm -R", &text);
}

fn servers(node: &Node) -> Vec<String> {
    let mut lines: Vec<String> = node.told("ipvsadm -S -n").lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
#[ignore = "runs in a guest kernel"]
fn connections_through_virtual_servers_go_on_when_ipvs_mode_is_taken_over_and_given_back() {
    let stage = Stage::new();
    let node = &stage.node;
    put_servers(node);
    put_rules_of_ipvs_mode(node);
    let before = servers(node);
    let mut talks = begin(&stage);
    let mut check = |when: &str| {
        assert_eq!(servers(node), before, "{when}");
        talks.iter_mut().for_each(Talk::goes_on);
        talks.extend(begin(&stage));
    };
    let proxy = stage.start(&["--proxy-mode=ipvs"]);
    proxy.wait_for_log("removed what another mode has left: sets of kube-proxy");
    check("taken over");
    drop(proxy);
    put_rules_of_ipvs_mode(node);
    check("kube-proxy is back");
    let output = node.run(Command::new(program()).arg("--cleanup=ours"));
    let removed = "removed table ip kubeweir-ipvs\nremoved table ip6 kubeweir-ipvs\n";
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), removed));
    check("without our tables");
    assert!(tables(node).is_empty());
}
