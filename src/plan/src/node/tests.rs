use super::*;

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn node(addresses: &[&str], pod_cidrs: &[&str]) -> Node {
    Node {
        addresses: ips(addresses).into(),
        pod_cidrs: pod_cidrs.iter().map(|text| text.parse().unwrap()).collect(),
        ..Node::default()
    }
}

fn planned(node: Option<Node>, options: &Options) -> NodePlan {
    let mut snapshot = Snapshot::default();
    let _ = snapshot.set_node(node.map(Arc::new));
    let facts = Facts { addresses: ips(&["192.0.2.1", "198.51.100.1", "2001:db8::1"]).into_iter().collect() };
    plan(&snapshot, &facts, options)
}

/// The cases of kube-proxy's `Test_detectNodeIPs`: what the Node has, what is given, and what comes of it, IPv4 first.
#[test]
fn the_node_is_known_by_its_first_addresses_and_by_the_given_one() {
    type Case = (&'static [&'static str], Option<&'static str>, [Option<&'static str>; 2], Family);
    let (v4, v6) = (Family::V4, Family::V6);
    let cases: &[Case] = &[
        (&[], None, [None, None], v4),
        (&[], Some("10.0.0.1"), [Some("10.0.0.1"), None], v4),
        (&[], Some("fd00:4321::2"), [None, Some("fd00:4321::2")], v6),
        (&["192.0.2.1"], None, [Some("192.0.2.1"), None], v4),
        (&["2001:db8::1"], None, [None, Some("2001:db8::1")], v6),
        (&["192.0.2.1", "2001:db8::1"], None, [Some("192.0.2.1"), Some("2001:db8::1")], v4),
        (&["2001:db8::1", "192.0.2.1"], None, [Some("192.0.2.1"), Some("2001:db8::1")], v6),
        (&["192.0.2.1", "192.0.2.2", "2001:db8::1"], None, [Some("192.0.2.1"), Some("2001:db8::1")], v4),
        (&["192.0.2.1"], Some("10.0.0.1"), [Some("10.0.0.1"), None], v4),
        (&["192.0.2.1"], Some("fd00::2"), [Some("192.0.2.1"), Some("fd00::2")], v6),
        (&["2001:db8::1"], Some("fd00::2"), [None, Some("fd00::2")], v6),
        (&["2001:db8::1", "192.0.2.1"], Some("10.0.0.1"), [Some("10.0.0.1"), Some("2001:db8::1")], v4),
        (&["192.0.2.1", "2001:db8::1"], Some("fd00::2"), [Some("192.0.2.1"), Some("fd00::2")], v6),
        (&["127.0.0.1", "::1", "192.0.2.1"], None, [Some("192.0.2.1"), None], v4),
        (&["192.0.2.1"], Some("127.0.0.1"), [None, None], v4),
    ];
    for (addresses, given, expected, primary) in cases {
        let known = known(Some(&node(addresses, &[])), given.map(|text| text.parse().unwrap()));
        let expected = expected.map(|text| text.map(|text| text.parse().unwrap()));
        assert_eq!((known.addresses, known.primary), (expected, *primary), "{addresses:?}, given {given:?}");
    }
    assert_eq!(known(None, None), Known { addresses: [None, None], primary: v4 });
}

#[test]
fn primary_node_ports_answer_on_the_given_address_and_where_the_node_is_not_known_everywhere() {
    let only = |text: &str| NodePortAddresses::Only(ips(&[text]).into_iter().collect());
    let nowhere = NodePortAddresses::Only(BTreeSet::new());
    let given = |text: Option<&str>| Options {
        node_address: text.map(|text| text.parse().unwrap()),
        ..Options::for_node("node-1")
    };
    let dual = || Some(node(&["192.0.2.1", "2001:db8::1"], &[]));
    let cases = [
        (dual(), None, [only("192.0.2.1"), only("2001:db8::1")], vec![]),
        (dual(), Some("198.51.100.1"), [only("198.51.100.1"), only("2001:db8::1")], vec![]),
        (
            Some(node(&["192.0.2.1"], &[])),
            None,
            [only("192.0.2.1"), nowhere],
            vec![Finding::NoNodePortAddress(Family::V6)],
        ),
        (
            None,
            Some("198.51.100.1"),
            [only("198.51.100.1"), NodePortAddresses::AllLocal],
            vec![Finding::NodeAddressesUnknown],
        ),
        (
            None,
            None,
            [NodePortAddresses::AllLocal, NodePortAddresses::AllLocal],
            vec![Finding::NodeAddressesUnknown],
        ),
    ];
    for (node, address, expected, findings) in cases {
        let planned = planned(node.clone(), &given(address));
        assert_eq!(planned.node_port_addresses, expected, "{node:?}, given {address:?}");
        assert_eq!(planned.findings, findings, "{node:?}, given {address:?}");
    }
}

#[test]
fn without_pod_prefixes_nobody_is_masqueraded_for_being_no_pod() {
    let options = Options { detect_local: DetectLocal::NodeCidr, ..Options::for_node("node-1") };
    let addresses = ["192.0.2.1", "2001:db8::1"];
    for unknown in [None, Some(node(&addresses, &[]))] {
        let planned = planned(unknown, &options);
        assert_eq!(planned.internal_masquerade, [Clients::NONE; 2]);
        assert_eq!(planned.local_sources, [LocalSources::Unknown, LocalSources::Unknown]);
        assert!(planned.findings.contains(&Finding::PodPrefixesUnknown));
    }
    // One family is enough: a cluster may have no other.
    let planned = planned(Some(node(&addresses, &["10.244.1.0/24"])), &options);
    assert_eq!(planned.internal_masquerade, [Clients::NOT_PODS, Clients::NONE]);
    assert_eq!(planned.findings, []);
}
