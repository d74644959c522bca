use std::net::IpAddr;
use std::sync::Arc;

use kubeweir_cluster::Version;
use kubeweir_netfilter::sim::Simulated;
use kubeweir_netfilter::{Commit, Family, Kernel, Operation};
use kubeweir_nftables::names::TABLE;
use kubeweir_plan::Facts;
use kubeweir_plan::flows::Flow;
use kubeweir_plan::input::{
    Endpoint, EndpointSlice, Service, ServiceKind, ServicePort, SlicePort, TrafficPolicy,
};
use kubeweir_plan::{ObjectName, Protocol};

use super::*;

mod losses;
mod state;
mod tending;

type Sut = Core<kubeweir_nftables::Mode<Simulated>>;

const SECOND: Duration = Duration::from_secs(1);

fn core() -> Sut {
    let mode = kubeweir_nftables::Mode::new(Simulated::default(), kubeweir_nftables::Options::rules(1));
    Core::new(Options::for_node("node"), mode, Pace::new(Duration::ZERO, SECOND), SystemTime::UNIX_EPOCH)
}

fn service(name: &str, last: u8) -> ClusterEvent {
    service_over(Protocol::Tcp, name, last)
}

fn service_over(protocol: Protocol, name: &str, last: u8) -> ClusterEvent {
    ClusterEvent::Service(
        Arc::new(Service {
            name: ObjectName::new("default", name),
            created: 0,
            kind: ServiceKind::ClusterIp,
            cluster_ips: [IpAddr::from([10, 96, 0, last])].into(),
            external_ips: [].into(),
            ingress: [].into(),
            source_ranges: [].into(),
            ports: [ServicePort { name: "".into(), protocol, port: 80, node_port: 0 }].into(),
            external_policy: TrafficPolicy::Cluster,
            internal_policy: TrafficPolicy::Cluster,
            affinity: None,
            health_check_node_port: 0,
            scheduler: None,
        }),
        Version::Unknown,
    )
}

/// The slice of a Service with one endpoint.
fn slice_over(protocol: Protocol, name: &str, pod: u8) -> ClusterEvent {
    let endpoint = Endpoint {
        address: IpAddr::from([10, 244, 0, pod]),
        node: None,
        ready: true,
        serving: true,
        terminating: false,
        hints: None,
    };
    let slice = EndpointSlice {
        name: ObjectName::new("default", name),
        service: ObjectName::new("default", name),
        family: Some(kubeweir_plan::Family::V4),
        ports: [SlicePort { name: "".into(), protocol, port: 80 }].into(),
        endpoints: [endpoint].into(),
        weight: None,
    };
    ClusterEvent::Slice(Arc::new(slice), Version::Unknown, None)
}

/// Whether a check ends flows to this pod through the Service with this address.
fn ends(check: &FlowCheck, last: u8, pod: u8) -> bool {
    check.ends(&Flow {
        protocol: Protocol::Udp,
        destination: ([10, 96, 0, last], 80).into(),
        answered_by: ([10, 244, 0, pod], 80).into(),
        is_zoned: false,
    })
}

/// A UDP Service `a` with one endpoint, programmed, and its flows checked.
fn checked() -> (Sut, Instant) {
    let (mut core, now) = (core(), Instant::now());
    let udp = Protocol::Udp;
    complete(&mut core, now, vec![service_over(udp, "a", 1), slice_over(udp, "a", 1), service("tcp", 9)]);
    assert!(sync(&mut core).outcome.is_ok());
    let check = core.take_check(now).unwrap();
    assert!(ends(&check, 1, 2) && !ends(&check, 1, 1), "at the start everything is checked");
    core.take(Event::FlowsChecked(Ok(())), now);
    (core, now + SECOND)
}

/// All initial lists, with these objects in them.
fn complete<M: Mode>(core: &mut Core<M>, now: Instant, objects: Vec<ClusterEvent>) {
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

/// A UDP Service's slice with one endpoint, and when the change that it reports happened.
fn slice_at(name: &str, pod: u8, at: SystemTime) -> ClusterEvent {
    match slice_over(Protocol::Udp, name, pod) {
        ClusterEvent::Slice(slice, version, _) => ClusterEvent::Slice(slice, version, Some(Trigger(at))),
        other => other,
    }
}

#[test]
fn a_trigger_is_reported_once_when_in_force_and_never_from_before_the_start() {
    let (mut core, now) = (core(), Instant::now());
    core.born = SystemTime::UNIX_EPOCH + 10 * SECOND;
    let at = |seconds: u32| SystemTime::UNIX_EPOCH + seconds * SECOND;
    let triggers = |report: SyncReport| report.triggers.iter().map(|Trigger(at)| *at).collect::<Vec<_>>();
    let [before, since] = [slice_at("a", 1, at(9)), slice_at("b", 1, at(10))];
    complete(&mut core, now, vec![before, since]);
    assert_eq!(triggers(sync(&mut core)), [at(10)]);
    // One after the other, of two slices; the same slice again is no change.
    for event in [slice_at("a", 2, at(11)), slice_at("b", 2, at(12)), slice_at("b", 2, at(13))] {
        core.take(Event::Cluster(event), now);
    }
    core.mode().kernel().refuse_next = 1;
    assert!(triggers(sync(&mut core)).is_empty(), "not in force yet");
    assert_eq!(triggers(sync(&mut core)), [at(11), at(12)]);
    core.take(Event::Cluster(service("c", 3)), now);
    assert!(triggers(sync(&mut core)).is_empty());
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

#[test]
fn flows_are_checked_after_a_service_change_alone_and_only_if_it_could_matter() {
    let (mut core, now) = checked();
    assert_eq!(core.check_due(now), None);
    for uninteresting in [service("tcp", 8), slice_over(Protocol::Tcp, "tcp", 3)] {
        core.take(Event::Cluster(uninteresting), now);
        assert!(sync(&mut core).outcome.is_ok());
        assert_eq!((core.check_due(now), core.take_check(now)), (None, None));
    }
    core.take(Event::Cluster(service_over(Protocol::Udp, "a", 7)), now);
    assert!(sync(&mut core).outcome.is_ok());
    let check = core.take_check(now).unwrap();
    assert!(ends(&check, 1, 1) && ends(&check, 7, 2) && !ends(&check, 7, 1));
    assert_eq!(core.take_check(now), None, "one at a time");
}

#[test]
fn flows_are_checked_after_a_failed_sync_was_repeated_and_not_before() {
    let (mut core, now) = checked();
    core.take(Event::Cluster(slice_over(Protocol::Udp, "a", 2)), now);
    core.mode().kernel().refuse_next = 2;
    for _ in 0..2 {
        assert!(sync(&mut core).outcome.is_err());
        assert_eq!(core.take_check(now), None);
    }
    assert!(sync(&mut core).outcome.is_ok());
    let check = core.take_check(now).unwrap();
    assert!(ends(&check, 1, 1) && !ends(&check, 1, 2));
}

#[test]
fn a_failed_check_is_repeated_with_what_has_come_since_on_top() {
    let (mut core, now) = checked();
    core.take(Event::Cluster(slice_over(Protocol::Udp, "a", 2)), now);
    assert!(sync(&mut core).outcome.is_ok());
    let failed = core.take_check(now).unwrap();
    // Meanwhile pod 1 is back, beside another Service.
    for event in [slice_over(Protocol::Udp, "a", 1), service_over(Protocol::Udp, "b", 2)] {
        core.take(Event::Cluster(event), now);
        assert!(sync(&mut core).outcome.is_ok());
    }
    core.take(Event::Cluster(slice_over(Protocol::Udp, "b", 3)), now);
    assert!(sync(&mut core).outcome.is_ok());
    assert_eq!(core.take_check(now), None, "one at a time");
    core.take(Event::FlowsChecked(Err(Box::new(failed))), now);
    assert_eq!(core.take_check(now), None, "not before a pause");
    let later = core.check_due(now).unwrap();
    assert!(later > now);
    let check = core.take_check(later).unwrap();
    assert!(!ends(&check, 1, 1) && ends(&check, 1, 2) && ends(&check, 2, 1) && !ends(&check, 2, 3));
    core.take(Event::FlowsChecked(Ok(())), later);
    assert_eq!(core.check_due(later), None);
}

#[test]
fn balancers_are_told_of_what_is_in_force_and_not_before() {
    let (mut core, now) = (core(), Instant::now());
    let ClusterEvent::Service(plain, _) = service("a", 1) else { panic!() };
    let asked = Service {
        kind: ServiceKind::LoadBalancer,
        external_policy: TrafficPolicy::Local,
        health_check_node_port: 30_100,
        ..Service::clone(&plain)
    };
    complete(&mut core, now, vec![service("tcp", 9)]);
    core.take(Event::Host(Facts { addresses: [[192, 0, 2, 1].into()].into() }), now);
    assert_eq!(sync(&mut core).health_ports, Difference::default());
    core.take(
        Event::Cluster(ClusterEvent::Service(Arc::new(asked), kubeweir_cluster::Version::default())),
        now,
    );
    core.mode().kernel().refuse_next = 1;
    let refused = sync(&mut core);
    assert_eq!((refused.outcome.is_err(), refused.health_ports), (true, Difference::default()));
    let opened = sync(&mut core).health_ports.open;
    assert!(opened.keys().eq(&["0.0.0.0:30100".parse().unwrap()]), "{opened:?}");
    core.take(Event::Cluster(ClusterEvent::ServiceGone(plain.name.clone())), now);
    assert_eq!(sync(&mut core).health_ports.close.len(), 1);
}

#[test]
fn other_settings_are_planned_by_at_once() {
    let (mut core, now) = (core(), Instant::now());
    let external = |service: ClusterEvent| match service {
        ClusterEvent::Service(service, version) => {
            let external_ips = [IpAddr::from([203, 0, 113, 1])].into();
            ClusterEvent::Service(Arc::new(Service { external_ips, ..(*service).clone() }), version)
        }
        other => other,
    };
    complete(&mut core, now, vec![external(service("a", 1))]);
    assert!(sync(&mut core).outcome.is_ok());
    assert_eq!((rejected(&mut core), core.due(now + SECOND) <= Some(now + SECOND)), (2, false));
    let flags = crate::cli::Flags {
        hostname_override: Some("node".into()),
        feature_gates: vec!["AllowServiceExternalIPs=false".into()],
        iptables_sync_period: Some("7s".into()),
        ..crate::cli::Flags::default()
    };
    let settings = Settings::from_flags(&flags).unwrap();
    core.take(Event::Settings(Box::new(settings)), now);
    assert!(core.due(now + SECOND).is_some_and(|due| due <= now + SECOND));
    assert!(sync(&mut core).outcome.is_ok());
    assert_eq!(rejected(&mut core), 1);
    assert_eq!(core.pace.longest_retry(), 7 * SECOND);
}
