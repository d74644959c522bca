use super::*;
use crate::sysctl::Write;

/// A node with pods of both families on `cni0`, two of them, and everything as it should be.
fn healthy() -> Host {
    let link = |name: &str, kind, addresses: &[&str]| Link {
        name: name.to_owned(),
        kind,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        ..Link::default()
    };
    let port =
        |name| Link { port_of: Some(Port { bridge: 3, hairpin: true }), ..link(name, Kind::Veth, &[]) };
    Host {
        forwards: [true; 2],
        bridge_filter: [Some(true); 2],
        links: BTreeMap::from([
            (2, link("eth0", Kind::Other, &["192.0.2.1/24", "2001:db8::1/64"])),
            (3, link("cni0", Kind::Bridge([false; 2]), &["10.244.1.1/24", "fd00:244:1::1/64"])),
            (4, port("veth-a")),
            (5, port("veth-b")),
            (6, link("flannel.1", Kind::Tunnel(Some(2)), &["10.244.1.0/32"])),
            (7, link("docker0", Kind::Bridge([false; 2]), &["172.17.0.1/16"])),
            (
                8,
                Link { port_of: Some(Port { bridge: 7, hairpin: false }), ..link("veth-c", Kind::Veth, &[]) },
            ),
        ]),
        unset: Vec::new(),
    }
}

fn by_prefix() -> Pods {
    let prefixes = ["10.244.0.0/16", "fd00:244::/32"].map(|prefix| prefix.parse().unwrap());
    Pods { sources: prefixes.map(LocalSources::Prefix), prefixes: Vec::new() }
}

fn told(host: &Host, pods: &Pods) -> Vec<String> {
    let judged = judge(host, pods);
    judged.iter().map(|(finding, ports)| format!("{finding} {ports:?}")).collect()
}

fn link(host: &mut Host, index: u32) -> &mut Link {
    host.links.get_mut(&index).unwrap()
}

#[track_caller]
fn check(change: impl FnOnce(&mut Host), expected: &[&str]) {
    let mut host = healthy();
    change(&mut host);
    let told = told(&host, &by_prefix());
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.contains(expected), "{told} does not say {expected}");
    }
}

#[test]
fn a_healthy_host_has_no_findings() {
    check(|_| {}, &[]);
}

#[test]
fn a_family_in_use_must_be_forwarded() {
    check(
        |host| host.forwards = [false; 2],
        &["net.ipv4.ip_forward is 0", "net.ipv6.conf.all.forwarding is 0"],
    );
    let without_v6 = |host: &mut Host| {
        host.forwards[1] = false;
        host.links.values_mut().for_each(|link| link.addresses.retain(|address| address.addr().is_ipv4()));
    };
    check(without_v6, &[]);
}

#[test]
fn bridges_of_pods_must_be_filtered_in_each_family() {
    check(
        |host| host.bridge_filter = [Some(false), Some(true)],
        &[
            "pods on cni0 that talk to a Service with an endpoint on the same bridge will not get answers over IPv4: net.bridge.bridge-nf-call-iptables is 0",
        ],
    );
    check(
        |host| host.bridge_filter = [Some(true), Some(false)],
        &["IPv6: net.bridge.bridge-nf-call-ip6tables"],
    );
    check(|host| host.bridge_filter = [None; 2], &["IPv4: br_netfilter is not", "IPv6: br_netfilter is not"]);
}

#[test]
fn a_bridge_can_be_filtered_by_an_option_of_its_own() {
    let by_itself = |host: &mut Host| {
        host.bridge_filter = [Some(false); 2];
        link(host, 3).kind = Kind::Bridge([true, false]);
    };
    check(by_itself, &["over IPv6"]);
}

#[test]
fn ports_of_pods_need_hairpin_mode_where_the_bridge_is_filtered() {
    let one_way = |host: &mut Host| link(host, 5).port_of = Some(Port { bridge: 3, hairpin: false });
    check(one_way, &[r#"its port has no hairpin mode {"veth-b"}"#]);
    let not_filtered = |host: &mut Host| {
        one_way(host);
        host.bridge_filter = [Some(false); 2];
    };
    check(not_filtered, &["over IPv4", "over IPv6"]);
}

#[test]
fn tunnels_and_what_they_go_through_must_not_be_strict() {
    check(|host| link(host, 6).strict_return_path = true, &["net.ipv4.conf.flannel.1.rp_filter is 1"]);
    check(|host| link(host, 2).strict_return_path = true, &["net.ipv4.conf.eth0.rp_filter is 1"]);
    let without_tunnel = |host: &mut Host| {
        link(host, 2).strict_return_path = true;
        host.links.remove(&6);
    };
    check(without_tunnel, &[]);
}

#[test]
fn pods_are_known_by_any_means_the_planner_has() {
    let mut host = healthy();
    host.bridge_filter = [Some(false), Some(true)];
    let by = |source: LocalSources| Pods { sources: [source, LocalSources::Unknown], prefixes: Vec::new() };
    let bridges = |pods: &Pods| judge(&host, pods).len();
    assert_eq!(bridges(&by(LocalSources::Interface("cni0".into()))), 1);
    assert_eq!(bridges(&by(LocalSources::Interface("eth0".into()))), 0);
    assert_eq!(bridges(&by(LocalSources::InterfacePrefix("cni".into()))), 1);
    assert_eq!(bridges(&by(LocalSources::InterfacePrefix("cali".into()))), 0);
    assert_eq!(bridges(&Pods::default()), 0);
    let of_the_node = Pods { prefixes: vec!["10.244.1.0/24".parse().unwrap()], ..Pods::default() };
    assert_eq!(bridges(&of_the_node), 1);
}

#[test]
fn each_finding_is_told_once_and_not_before_all_is_known() {
    let mut prerequisites = Prerequisites::default();
    let mut host = healthy();
    link(&mut host, 5).port_of = Some(Port { bridge: 3, hairpin: false });
    prerequisites.host_is(host.clone());
    assert_eq!(prerequisites.news(), None);
    prerequisites.pods_are(by_prefix());
    let news = prerequisites.news().unwrap();
    assert_eq!((news.found.len(), news.mended.len(), news.open), (1, 0, 1));
    // One more port of the same kind is no new finding.
    link(&mut host, 4).port_of = Some(Port { bridge: 3, hairpin: false });
    prerequisites.host_is(host);
    assert_eq!(prerequisites.news(), Some(News { open: 1, ..News::default() }));
    assert_eq!(prerequisites.news(), None);
    prerequisites.host_is(healthy());
    let news = prerequisites.news().unwrap();
    assert_eq!((news.found.len(), news.mended.len(), news.open), (0, 1, 0));
}

#[test]
fn what_could_not_be_set_is_found_until_somebody_has_set_it() {
    let unset = |path| Unset { write: Write { path, value: 100 }, why: "Read-only file system".into() };
    let host = |path, is: Option<i64>| move |host: &mut Host| host.unset = vec![(unset(path), is)];
    let other = "net/netfilter/nf_conntrack_udp_timeout";
    let name = "net.netfilter.nf_conntrack_udp_timeout";
    check(
        host(other, Some(30)),
        &[&format!(
            "{name}=100 is not set, {name} is 30 (Read-only file system): run `kubeweir --init-only`"
        )],
    );
    check(host(other, Some(101)), &["is 101"]);
    check(host(other, None), &[&format!("{name}=100 is not set (Read-only")]);
    check(host(other, Some(100)), &[]);
    check(host(MAX, Some(99)), &["net.netfilter.nf_conntrack_max=100 is not set"]);
    check(host(MAX, Some(101)), &[]);
}
