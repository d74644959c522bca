use std::net::IpAddr;
use std::sync::Arc;

use kubeweir_netfilter::sim::Simulated;
use kubeweir_netfilter::{Commit, Family, Kernel, Operation};
use kubeweir_nftables::names::TABLE;
use kubeweir_plan::Facts;
use kubeweir_plan::input::{Service, ServiceKind, ServicePort, TrafficPolicy};
use kubeweir_plan::{ObjectName, Protocol};

use super::*;

type Sut = Core<kubeweir_nftables::Mode<Simulated>>;

const SECOND: Duration = Duration::from_secs(1);

fn core() -> Sut {
    let mode =
        kubeweir_nftables::Mode::new(Simulated::default(), kubeweir_nftables::Options { masquerade_mark: 1 });
    Core::new(Options::for_node("node"), mode, Pace::new(Duration::ZERO, SECOND), SystemTime::UNIX_EPOCH)
}

fn service(name: &str, last: u8) -> ClusterEvent {
    ClusterEvent::Service(Arc::new(Service {
        name: ObjectName::new("default", name),
        created: 0,
        kind: ServiceKind::ClusterIp,
        cluster_ips: [IpAddr::from([10, 96, 0, last])].into(),
        external_ips: [].into(),
        ingress: [].into(),
        source_ranges: [].into(),
        ports: [ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port: 0 }].into(),
        external_policy: TrafficPolicy::Cluster,
        internal_policy: TrafficPolicy::Cluster,
        affinity: None,
        health_check_node_port: 0,
    }))
}

/// All initial lists, with these objects in them.
fn complete(core: &mut Sut, now: Instant, objects: Vec<ClusterEvent>) {
    let begins = Kind::ALL.map(ClusterEvent::ListBegins).into_iter();
    for event in begins.chain(objects).chain(Kind::ALL.map(ClusterEvent::ListEnds)) {
        core.take(Event::Cluster(event), now);
    }
    core.take(Event::Host(Facts::default()), now);
}

fn sync(core: &mut Sut) -> SyncReport {
    core.sync(Instant::now).unwrap()
}

fn rejected(core: &mut Sut) -> usize {
    let table = core.mode().kernel().table(Family::Ip, TABLE).cloned();
    table.map_or(0, |table| table.sets["rejected-services"].elements.len())
}

#[test]
fn nothing_is_programmed_before_everything_is_known() {
    let (mut core, now) = (core(), Instant::now());
    core.take(Event::Cluster(service("a", 1)), now);
    for kind in Kind::ALL {
        core.take(Event::Cluster(ClusterEvent::ListBegins(kind)), now);
        core.take(Event::Cluster(ClusterEvent::ListEnds(kind)), now);
        assert!(core.due(now).is_none() && core.sync(Instant::now).is_none());
    }
    assert_eq!(core.mode().kernel().commits, 0);
    core.take(Event::Host(Facts::default()), now);
    assert_eq!(core.due(now), Some(now));
}

#[test]
fn a_refused_commit_is_retried_and_loses_nothing() {
    let (mut core, now) = (core(), Instant::now());
    complete(&mut core, now, vec![]);
    assert!(sync(&mut core).outcome.is_ok());
    core.take(Event::Cluster(service("a", 1)), now);
    core.mode().kernel().refuse_next = 2;
    for _ in 0..2 {
        assert!(matches!(sync(&mut core).outcome, Err(Failure::Commit(_))));
        assert_eq!(rejected(&mut core), 0);
        assert!(core.due(now).is_some(), "a retry is due although nothing else happened");
    }
    assert!(core.standing().waiting_since.is_some());
    let report = sync(&mut core);
    assert!(report.whole && report.outcome.is_ok());
    assert_eq!(rejected(&mut core), 1);
    assert!(core.standing().waiting_since.is_none());
}

#[test]
fn a_foreign_change_is_found_by_the_next_commit_it_spoils() {
    let (mut core, now) = (core(), Instant::now());
    complete(&mut core, now, vec![service("a", 1)]);
    assert!(sync(&mut core).outcome.is_ok());
    let mut foreign = Commit::new(Family::Ip, TABLE);
    foreign.push(Operation::DeleteTable);
    core.mode().kernel().commit(&[foreign], None).unwrap();
    core.take(Event::Cluster(service("b", 2)), now);
    assert!(sync(&mut core).outcome.is_err());
    assert!(sync(&mut core).outcome.is_ok());
    assert_eq!(rejected(&mut core), 2);
}

#[test]
fn a_finding_is_told_once() {
    let (mut core, now) = (core(), Instant::now());
    complete(&mut core, now, vec![service("a", 1), service("b", 1)]);
    let about =
        |report: &SyncReport| report.findings.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
    assert_eq!(about(&sync(&mut core)), ["default/b", "/node"]);
    core.take(Event::Cluster(service("c", 3)), now);
    assert!(about(&sync(&mut core)).is_empty());
    core.take(Event::Cluster(ClusterEvent::ServiceGone(ObjectName::new("default", "a"))), now);
    assert!(about(&sync(&mut core)).is_empty());
    core.take(Event::Cluster(service("a", 1)), now);
    assert_eq!(about(&sync(&mut core)), ["default/b"]);
}

#[test]
fn a_restart_over_what_is_there_does_nothing() {
    let (mut first, now) = (core(), Instant::now());
    complete(&mut first, now, vec![service("a", 1)]);
    assert!(sync(&mut first).outcome.unwrap().operations > 0);
    let mut second = core();
    *second.mode().kernel() = first.mode().kernel().clone();
    complete(&mut second, now, vec![service("a", 1)]);
    assert_eq!(sync(&mut second).outcome.unwrap(), Applied::default());
}
