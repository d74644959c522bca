use super::*;
use crate::scenario::parse;

/// Knows fates by node and destination; leaves everything else alone.
struct Fixed(Vec<(&'static str, &'static str, Fate)>);

impl Judge for Fixed {
    fn judge(&self, node: &str, packet: &Packet) -> Fate {
        let is_it = |(at, to, _): &&(&str, &str, Fate)| *at == node && packet.destination.to_string() == *to;
        self.0.iter().find(is_it).map_or(Fate::Untouched, |(_, _, fate)| fate.clone())
    }
}

fn to(targets: &[(&str, Source)]) -> Fate {
    Fate::Forwarded(targets.iter().map(|(target, source)| (target.parse().unwrap(), *source)).collect())
}

fn check(judge: &Fixed, row: &str) -> Result<(), String> {
    let further = [("node-1".to_owned(), "203.0.113.50".parse().unwrap())];
    World::new(Network::Routed, &further).check(judge, &parse("x", row)[0])
}

const SERVICE: &str = "10.96.0.1:80";

#[test]
fn what_nobody_touches_arrives_where_the_address_lives() {
    let nobody = Fixed(vec![]);
    for row in [
        "n1-a -> tcp 10.244.1.3:8080 : n1-b as client",
        "n1-a -> udp 10.244.2.2:8053 : n2-a as client",
        "node-1 -> tcp [fd00:244:2::3]:8080 : n2-b as node-1",
        "outside -> tcp 192.0.2.2:9090 : node-2 as client",
        "outside -> tcp 10.244.2.2:8080 : n2-a as client",
        "n1-a -> tcp 192.0.2.100:9090 : outside as client",
        "n1-a -> tcp 192.0.2.2:30080 : refused",
        "outside -> tcp 203.0.113.50:80 : refused",
        "n1-a -> tcp 203.0.113.50:80 : refused",
        "n2-a -> tcp 203.0.113.50:80 : silence",
        "node-1 -> tcp 127.0.0.1:9090 : refused",
        "outside -> tcp 10.96.0.1:80 : silence",
        "n2-b -> tcp [2001:db8:113::7]:80 : silence",
        "n1-a -> sctp 10.244.1.3:1 : silence",
    ] {
        assert_eq!(check(&nobody, row), Ok(()), "{row}");
    }
    assert!(check(&nobody, "outside -> tcp 192.0.2.77:80 : silence").is_err());
}

#[test]
fn every_node_on_the_way_is_asked() {
    let from_node_2 = Fixed(vec![
        ("node-2", SERVICE, to(&[("10.244.1.2:8080", Source::Replaced)])),
        ("node-1", "10.244.1.2:8080", Fate::Dropped),
    ]);
    assert_eq!(check(&from_node_2, "n2-a -> tcp 10.96.0.1:80 : silence"), Ok(()));
    assert_eq!(check(&from_node_2, "n1-a -> tcp 10.96.0.1:80 : silence"), Ok(()), "node-1 knows no Service");
    let refusing = Fixed(vec![("node-2", "192.0.2.2:30080", Fate::Rejected)]);
    assert_eq!(check(&refusing, "n1-a -> tcp 192.0.2.2:30080 : refused"), Ok(()));
    let circle = Fixed(vec![
        ("node-1", SERVICE, to(&[("192.0.2.2:80", Source::Kept)])),
        ("node-2", "192.0.2.2:80", to(&[("192.0.2.1:80", Source::Kept)])),
        ("node-1", "192.0.2.1:80", to(&[("192.0.2.2:80", Source::Kept)])),
    ]);
    assert!(check(&circle, "n1-a -> tcp 10.96.0.1:80 : silence").unwrap_err().contains("circles"));
}

#[test]
fn all_that_can_be_reached_must_be_in_the_row_and_under_the_right_address() {
    let kept_and_replaced = Fixed(vec![(
        "node-1",
        SERVICE,
        to(&[("10.244.1.2:8080", Source::Replaced), ("10.244.2.2:8080", Source::Kept)]),
    )]);
    let row = |servers: &str| check(&kept_and_replaced, &format!("n1-a -> tcp 10.96.0.1:80 : {servers}"));
    assert_eq!(row("n1-a as node-1, n2-a as client"), Ok(()));
    assert_eq!(row("one of n1-a as node-1, n2-a as client"), Ok(()));
    for wrong in ["n1-a as node-1", "n1-a n2-a as client", "n1-a n2-a as node-1", "refused", "silence"] {
        assert!(row(wrong).is_err(), "{wrong}");
    }
    assert!(row("n1-a as node-1, n2-a n2-b as client").is_err());
    let mixed = Fixed(vec![(
        "node-1",
        SERVICE,
        to(&[("10.244.1.2:8080", Source::Kept), ("10.244.1.2:1", Source::Kept)]),
    )]);
    let reason = check(&mixed, "n1-b -> tcp 10.96.0.1:80 : n1-a as client").unwrap_err();
    assert!(reason.contains("either"), "{reason}");
}

#[test]
fn what_comes_in_and_stays_keeps_its_source() {
    let to_host = Fixed(vec![(
        "node-1",
        SERVICE,
        to(&[("192.0.2.1:9090", Source::Replaced), ("192.0.2.2:9090", Source::Replaced)]),
    )]);
    let row = "outside -> tcp 10.96.0.1:80 : node-1 as client, node-2 as node-1";
    assert_eq!(check(&to_host, row), Ok(()));
    assert_eq!(check(&to_host, "node-1 -> tcp 10.96.0.1:80 : node-1 node-2 as node-1"), Ok(()));
}

/// What a judge is asked, as `source -> destination in interface`.
struct Curious(std::cell::RefCell<Vec<String>>);

impl Judge for Curious {
    fn judge(&self, node: &str, packet: &Packet) -> Fate {
        let interface = packet.interface.as_deref().unwrap_or("-");
        let own = [(packet.from_node, "from"), (packet.to_node, "to")]
            .map(|(is, word)| if is { word } else { "-" });
        let question = format!("{node}: {} {interface} {}", packet.source, own.join(" "));
        self.0.borrow_mut().push(question);
        Fate::Untouched
    }
}

#[test]
fn a_judge_learns_source_interface_and_whose_addresses_they_are() {
    for (row, asked) in [
        (
            "n1-a -> tcp 192.0.2.2:1 : refused",
            &["node-1: 10.244.1.2 veth-n1-a - -", "node-2: 10.244.1.2 eth0 - to"][..],
        ),
        ("node-1 -> tcp 10.244.1.1:1 : refused", &["node-1: 10.244.1.1 - from to"]),
        ("node-1 -> tcp 10.244.1.2:1 : refused", &["node-1: 10.244.1.1 - from -"]),
        ("node-1 -> tcp 127.0.0.1:1 : refused", &["node-1: 127.0.0.1 - from to"]),
        ("node-2 -> tcp 10.96.0.1:1 : silence", &["node-2: 192.0.2.2 - from -"]),
        ("outside -> tcp 203.0.113.50:1 : refused", &["node-1: 192.0.2.100 eth0 - to"]),
    ] {
        let judge = Curious(std::cell::RefCell::default());
        let further = [("node-1".to_owned(), "203.0.113.50".parse().unwrap())];
        World::new(Network::Routed, &further).check(&judge, &parse("x", row)[0]).unwrap();
        assert_eq!(*judge.0.borrow(), asked, "{row}");
    }
}
