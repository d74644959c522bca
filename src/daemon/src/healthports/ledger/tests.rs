use std::sync::Arc;

use kubeweir_plan::{NodePlan, ServicePlan};

use super::*;

/// Plans in steps, and the ledger of them.
#[derive(Default)]
struct Bench {
    plan: Plan,
    ledger: Ledger,
}

impl Bench {
    /// At all addresses of IPv4 and one of IPv6.
    fn new() -> Bench {
        let mut bench = Bench::default();
        bench.answer_at(NodePortAddresses::AllLocal, only(&["2001:db8::1"]));
        bench
    }

    fn answer_at(&mut self, v4: NodePortAddresses, v6: NodePortAddresses) {
        self.plan.node = Arc::new(NodePlan { node_port_addresses: [v4, v6], ..NodePlan::default() });
    }

    /// A Service appears, changes or goes, and the ledger hears of it.
    fn put(&mut self, name: &str, check: Option<(u16, [Option<u32>; 2])>) {
        let check = check.map(|(port, ready)| Box::new(HealthCheck { port, ready }));
        self.put_plan(name, Some(ServicePlan { health_check: check, ..ServicePlan::default() }));
    }

    fn put_plan(&mut self, name: &str, plan: Option<ServicePlan>) {
        let name = ObjectName::new("shop", name);
        match plan {
            Some(plan) => self.plan.services.insert(name.clone(), Arc::new(plan)),
            None => self.plan.services.remove(&name),
        };
        let update = Update { services: [name].into(), ..Update::default() };
        self.ledger.planned(&self.plan, &update);
    }

    /// What is closed, opened and told.
    fn in_force(&mut self) -> (Vec<String>, Vec<String>, Vec<String>) {
        let difference = self.ledger.in_force(&self.plan);
        let opened = |(socket, check): (&SocketAddr, &Check)| {
            format!("{socket} {} {}", check.service.name, check.ready)
        };
        (
            difference.close.iter().map(ToString::to_string).collect(),
            difference.open.iter().map(opened).collect(),
            difference.tell.iter().map(|(socket, ready)| format!("{socket} {ready}")).collect(),
        )
    }
}

fn only(addresses: &[&str]) -> NodePortAddresses {
    NodePortAddresses::Only(addresses.iter().map(|address| address.parse().unwrap()).collect())
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

const BOTH: Option<(u16, [Option<u32>; 2])> = Some((30100, [Some(1), Some(2)]));

#[test]
fn sockets_come_change_and_go_with_health_checks() {
    let steps = [
        ("new", BOTH, vec![], vec!["0.0.0.0:30100 web 1", "[2001:db8::1]:30100 web 2"], vec![]),
        ("the same", BOTH, vec![], vec![], vec![]),
        ("counts", Some((30100, [Some(0), Some(2)])), vec![], vec![], vec!["0.0.0.0:30100 0"]),
        ("one family less", Some((30100, [None, Some(2)])), vec!["0.0.0.0:30100"], vec![], vec![]),
        (
            "renumbered",
            Some((30101, [None, Some(2)])),
            vec!["[2001:db8::1]:30100"],
            vec!["[2001:db8::1]:30101 web 2"],
            vec![],
        ),
        ("nobody asks any more", None, vec!["[2001:db8::1]:30101"], vec![], vec![]),
    ];
    let mut bench = Bench::new();
    for (what, check, close, open, tell) in steps {
        bench.put("web", check);
        assert_eq!(bench.in_force(), (strings(&close), strings(&open), strings(&tell)), "{what}");
    }
    bench.put("web", BOTH);
    let _ = bench.in_force();
    bench.put_plan("web", None);
    assert_eq!(bench.in_force().0, ["0.0.0.0:30100", "[2001:db8::1]:30100"]);
    assert_eq!(bench.in_force(), (vec![], vec![], vec![]));
}

#[test]
fn a_port_passes_from_one_service_to_another() {
    let mut bench = Bench::new();
    bench.put("old", Some((30100, [Some(3), None])));
    let _ = bench.in_force();
    bench.put("new", Some((30100, [Some(3), None])));
    bench.put_plan("old", None);
    assert_eq!(bench.in_force(), (strings(&["0.0.0.0:30100"]), strings(&["0.0.0.0:30100 new 3"]), vec![]));
}

#[test]
fn sockets_follow_the_addresses_of_node_ports() {
    let mut bench = Bench::new();
    bench.put("web", Some((30100, [Some(1), None])));
    bench.put("api", Some((30200, [Some(0), None])));
    let _ = bench.in_force();
    bench.answer_at(only(&["192.0.2.1"]), only(&[]));
    assert_eq!(
        bench.in_force(),
        (
            strings(&["0.0.0.0:30100", "0.0.0.0:30200"]),
            strings(&["192.0.2.1:30100 web 1", "192.0.2.1:30200 api 0"]),
            vec![]
        )
    );
    bench.answer_at(only(&["192.0.2.1", "192.0.2.2"]), only(&[]));
    bench.put("web", Some((30100, [Some(4), None])));
    assert_eq!(
        bench.in_force(),
        (
            vec![],
            strings(&["192.0.2.2:30100 web 4", "192.0.2.2:30200 api 0"]),
            strings(&["192.0.2.1:30100 4"])
        )
    );
}

#[test]
fn what_was_planned_and_failed_is_not_lost_and_never_half_told() {
    let mut bench = Bench::new();
    bench.put("web", BOTH);
    bench.put("api", Some((30200, [Some(1), None])));
    // Had the pass succeeded, it would have been told; the next one finds something else.
    bench.put("api", None);
    assert_eq!(
        bench.in_force(),
        (vec![], strings(&["0.0.0.0:30100 web 1", "[2001:db8::1]:30100 web 2"]), vec![])
    );
}
