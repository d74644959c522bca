use super::*;
use crate::input::SlicePort;
use crate::names::ObjectName;

/// An endpoint in a line: the last octet of its address, then words. `node-1` and other nodes are where it runs, `@zone` and
/// `@node-2` are hints; `leaving` serves while it terminates, `dead` does not, `unready` is neither, `serving` only serves.
fn endpoint(text: &str) -> Endpoint {
    let mut words = text.split_whitespace();
    let last: u8 = words.next().unwrap().parse().unwrap();
    let (mut hints, mut found) = (Hints::default(), None);
    let mut conditions = (true, true, false);
    for word in words {
        match word {
            "leaving" => conditions = (false, true, true),
            "dead" => conditions = (false, false, true),
            "unready" => conditions = (false, false, false),
            "serving" => conditions = (false, true, false),
            hint if hint.starts_with("@node") => hints.nodes.push(hint[1..].into()),
            hint if hint.starts_with('@') => hints.zones.push(hint[1..].into()),
            node => found = Some(node.into()),
        }
    }
    Endpoint {
        address: [10, 0, 0, last].into(),
        node: found,
        ready: conditions.0,
        serving: conditions.1,
        terminating: conditions.2,
        hints: (hints != Hints::default()).then(|| Arc::new(hints)),
    }
}

fn slice(name: &str, endpoints: &[&str]) -> EndpointSlice {
    EndpointSlice {
        name: ObjectName::new("default", name),
        service: ObjectName::new("default", "web"),
        family: Some(Family::V4),
        ports: [SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: 80 }].into(),
        endpoints: endpoints.iter().map(|text| endpoint(text)).collect(),
        weight: None,
    }
}

fn here(zone: Option<&str>) -> Here {
    Here { node: "node-1".into(), zone: zone.map(Arc::from) }
}

fn chosen(slices: &[EndpointSlice], zone: Option<&str>) -> Chosen {
    let here = here(zone);
    choose(&candidates(slices.iter(), Family::V4, "http", Protocol::Tcp, &here), &here)
}

fn last_octets(targets: &[Target]) -> Vec<u8> {
    let octet = |target: &Target| match target.address {
        std::net::IpAddr::V4(v4) => v4.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    };
    targets.iter().map(octet).collect()
}

/// Endpoints, the cluster list, the local list. The node is node-1 in zone a.
type Case = (&'static str, &'static [&'static str], &'static [u8], &'static [u8]);

fn hold(zone: Option<&str>, cases: &[Case]) {
    for (what, endpoints, cluster, local) in cases {
        let chosen = chosen(&[slice("s", endpoints)], zone);
        assert_eq!(last_octets(&chosen.cluster), *cluster, "{what}: cluster");
        assert_eq!(last_octets(&chosen.local), *local, "{what}: local");
        assert_eq!(chosen.any, !cluster.is_empty(), "{what}: any");
    }
}

/// Upstream's `TestCategorizeEndpoints`, the part about topology.
#[test]
fn hints_narrow_the_cluster_list_when_all_have_them_and_one_is_for_here() {
    hold(
        Some("a"),
        &[
            ("zones", &["1 @a", "2 @b", "3 @c", "4 @a"], &[1, 4], &[]),
            ("zones, and local ones", &["1 node-1 @b", "2 node-2 @a"], &[2], &[1]),
            ("local and narrowed overlap", &["1 node-1 @a", "2 node-1 @b", "3 @a"], &[1, 3], &[1, 2]),
            ("no hint for here", &["1 @b", "2 @c"], &[1, 2], &[]),
            ("one without a hint", &["1 @a", "2 @b", "3"], &[1, 2, 3], &[]),
            ("no hints", &["1", "2"], &[1, 2], &[]),
            ("several zones", &["1 @a @b @c", "2 @b @c", "3 @b @d", "4 @c"], &[1], &[]),
            ("unready ones need none", &["1 @a", "2 @b", "3 unready", "4 unready @a"], &[1], &[]),
            ("those that leave need none", &["1 @a", "2 @b", "3 leaving"], &[1], &[]),
            ("only unready ones for here", &["1 @b", "2 unready @a"], &[1], &[]),
            ("nodes", &["1 @node-1 @b", "2 @node-2 @a", "3 @node-1 @c"], &[1, 3], &[]),
            ("nodes without zones", &["1 @node-1", "2 @node-2"], &[1], &[]),
            ("nodes partly, zones", &["1 @node-1 @b", "2 @a", "3 @node-2 @a"], &[2, 3], &[]),
            ("nodes partly, zones partly", &["1 @node-1", "2 @a"], &[1, 2], &[]),
            ("nodes elsewhere, zones", &["1 @node-2 @a", "2 @node-3 @b"], &[1], &[]),
            ("nodes elsewhere, no zones", &["1 @node-2", "2 @node-3"], &[1, 2], &[]),
            ("several nodes", &["1 @node-1 @node-2", "2 @node-2"], &[1], &[]),
        ],
    );
    for no_zone in [None, Some("")] {
        let zoned = [slice("s", &["1 @a", "2 @b"])];
        assert_eq!(last_octets(&chosen(&zoned, no_zone).cluster), [1, 2]);
        let by_node = [slice("s", &["1 @node-1 @a", "2 @node-2 @b"])];
        assert_eq!(last_octets(&chosen(&by_node, no_zone).cluster), [1]);
    }
}

/// Upstream's `TestCategorizeEndpoints`, the part about conditions.
#[test]
fn each_list_falls_back_on_its_own_to_those_that_serve_while_they_leave() {
    hold(
        Some("a"),
        &[
            ("nothing", &[], &[], &[]),
            ("none local", &["1 node-2", "2"], &[1, 2], &[]),
            ("some local", &["1 node-1", "2 node-2"], &[1, 2], &[1]),
            ("all local", &["1 node-1", "2 node-1"], &[1, 2], &[1, 2]),
            ("unready", &["1 node-1 unready", "2 node-2"], &[2], &[]),
            ("all unready", &["1 node-1 unready", "2 unready"], &[], &[]),
            ("serving only", &["1 node-1 serving", "2 serving"], &[], &[]),
            ("dead", &["1 node-1 dead", "2 dead"], &[], &[]),
            ("ready before leaving", &["1 node-1", "2 node-1 leaving", "3", "4 leaving"], &[1, 3], &[1]),
            ("local leaving, others ready", &["1 node-1 leaving", "2 node-2"], &[2], &[1]),
            ("all leaving", &["1 node-1 leaving", "2 leaving", "3 dead"], &[1, 2], &[1]),
            ("others leaving", &["1 leaving", "2 node-1 dead"], &[1], &[]),
            ("local ready, others leaving", &["1 node-1", "2 leaving"], &[1], &[1]),
            ("leaving despite hints", &["1 leaving @a", "2 leaving @b"], &[1, 2], &[]),
        ],
    );
}

#[test]
fn of_several_with_one_address_the_better_one_counts_whatever_the_order() {
    let ranked = ["1 node-1", "1 node-1 serving", "1 node-1 unready", "1 node-1 leaving", "1 node-1 dead"];
    for (at, better) in ranked.iter().enumerate() {
        for worse in &ranked[at..] {
            for pair in [[better, worse], [worse, better]] {
                let slices = [slice("s1", &[pair[0]]), slice("s2", &[pair[1]])];
                let alone = chosen(&[slice("s", &[better])], None);
                assert_eq!(chosen(&slices, None), alone, "{pair:?}");
                assert_eq!(chosen(&[slice("s", &[pair[0], pair[1]])], None), alone, "{pair:?} in one slice");
            }
        }
    }
}

#[test]
fn a_port_is_matched_by_name_and_protocol_and_not_without_a_number() {
    let mut other = slice("other", &["1"]);
    other.ports = [("http", Protocol::Udp, 80), ("web", Protocol::Tcp, 80), ("http", Protocol::Tcp, 0)]
        .map(|(name, protocol, port)| SlicePort { name: name.into(), protocol, port })
        .into();
    assert!(!chosen(std::slice::from_ref(&other), None).any);
    let v6 = EndpointSlice { family: Some(Family::V6), ..slice("v6", &["1"]) };
    let fqdn = EndpointSlice { family: None, ..slice("fqdn", &["1"]) };
    assert!(!chosen(&[v6, fqdn], None).any);
    let mut two = slice("two", &["1"]);
    two.ports = [80, 81].map(|port| SlicePort { name: "http".into(), protocol: Protocol::Tcp, port }).into();
    assert_eq!(last_octets(&chosen(&[two], None).cluster), [1, 1], "two numbers of one name");
}
