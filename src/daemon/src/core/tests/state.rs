use tokio::sync::oneshot;

use super::*;
use crate::state::{Absence, Answer, Asked, Question, ServiceState, Summary};

fn ask(core: &mut Sut, question: Question) -> Answer {
    let (answer, mut answered) = oneshot::channel();
    core.take(Event::State(Box::new(Asked { question, answer })), Instant::now());
    answered.try_recv().unwrap()
}

fn of(core: &mut Sut, name: &str) -> Result<ServiceState, Absence> {
    match ask(core, Question::Service(ObjectName::new("default", name))) {
        Answer::Service(state) => Ok(*state),
        Answer::Absent(absence) => Err(absence),
        other => panic!("{other:?}"),
    }
}

fn summary(core: &mut Sut) -> Summary {
    match ask(core, Question::Summary) {
        Answer::Summary(summary) => *summary,
        other => panic!("{other:?}"),
    }
}

fn at(version: &str, event: ClusterEvent) -> Event {
    let version = Version::new(version);
    Event::Cluster(match event {
        ClusterEvent::Service(service, _) => ClusterEvent::Service(service, version),
        ClusterEvent::Slice(slice, _, trigger) => ClusterEvent::Slice(slice, version, trigger),
        other => other,
    })
}

/// The version in force and the one seen, of the Service and of its only slice.
fn versions(state: &ServiceState) -> [Option<(String, String)>; 2] {
    let pair = |of: &crate::state::Versions| {
        of.service
            .clone()
            .map(|service| (service, of.endpoint_slices.values().next().cloned().unwrap_or_default()))
    };
    [state.in_force.as_ref().and_then(pair), pair(&state.seen)]
}

fn pair(service: &str, slice: &str) -> (String, String) {
    (service.to_owned(), slice.to_owned())
}

/// A Service `a` in version 1 with a slice in version 2, in force.
fn in_force() -> (Sut, Instant) {
    let (mut core, now) = (core(), Instant::now());
    complete(&mut core, now, vec![]);
    core.take(at("1", service("a", 1)), now);
    core.take(at("2", slice_over(Protocol::Tcp, "a", 1)), now);
    assert!(sync(&mut core).outcome.is_ok());
    (core, now)
}

#[test]
fn a_service_is_programmed_from_the_versions_of_its_objects() {
    let (mut core, now) = (core(), Instant::now());
    assert_eq!(of(&mut core, "a"), Err(Absence::NotYet));
    complete(&mut core, now, vec![]);
    core.take(at("1", service("a", 1)), now);
    core.take(at("2", slice_over(Protocol::Tcp, "a", 1)), now);
    let waiting = of(&mut core, "a").unwrap();
    assert_eq!((waiting.programmed, waiting.pending, waiting.since.clone()), (false, true, None));
    assert_eq!(versions(&waiting), [None, Some(pair("1", "2"))]);
    assert!(sync(&mut core).outcome.is_ok());
    let state = of(&mut core, "a").unwrap();
    assert_eq!((state.programmed, state.pending, state.since.is_some()), (true, false, true));
    assert_eq!(versions(&state), [Some(pair("1", "2")), Some(pair("1", "2"))]);
    let port = &state.ports[0];
    assert_eq!(
        (&*port.protocol, &*port.family, port.endpoints[0].address),
        ("TCP", "IPv4", ([10, 244, 0, 1], 80).into())
    );
    let frontend = &port.frontends[0];
    assert_eq!((&*frontend.address, frontend.port, frontend.kind), ("10.96.0.1", 80, "ClusterIP"));
    assert_eq!(of(&mut core, "b"), Err(Absence::Unknown));
}

#[test]
fn a_new_version_alone_is_in_force_at_once_and_asks_for_no_pass() {
    let (mut core, now) = in_force();
    let since = of(&mut core, "a").unwrap().since;
    core.take(at("7", service("a", 1)), now);
    core.take(at("8", slice_over(Protocol::Tcp, "a", 1)), now);
    assert!(core.standing().waiting_since.is_none(), "nothing is to be programmed");
    assert!(core.due(now).is_none_or(|due| due > now + 60 * SECOND), "only the audit");
    let state = of(&mut core, "a").unwrap();
    assert_eq!((state.pending, versions(&state)), (false, [Some(pair("7", "8")), Some(pair("7", "8"))]));
    assert_eq!(state.since, since);
    assert_eq!(core.mode().kernel().commits, 1);
}

#[test]
fn while_a_change_is_pending_both_versions_are_told_and_why() {
    let (mut core, now) = in_force();
    let since = of(&mut core, "a").unwrap().since;
    core.take(at("3", slice_over(Protocol::Tcp, "a", 2)), now);
    core.take(at("4", slice_over(Protocol::Tcp, "a", 3)), now);
    core.mode().kernel().refuse_next = 1;
    assert!(sync(&mut core).outcome.is_err());
    let state = of(&mut core, "a").unwrap();
    assert_eq!((state.programmed, state.pending), (true, true));
    assert_eq!(versions(&state), [Some(pair("1", "2")), Some(pair("1", "4"))]);
    assert_eq!(state.since, since);
    assert!(state.error.unwrap().contains("an injected refusal"));
    assert_eq!(summary(&mut core).pending, 1);
    assert!(sync(&mut core).outcome.is_ok());
    let state = of(&mut core, "a").unwrap();
    assert_eq!((state.pending, state.error.clone()), (false, None));
    assert_eq!(versions(&state), [Some(pair("1", "4")), Some(pair("1", "4"))]);
    assert!(state.since >= since);
    assert_eq!(summary(&mut core).pending, 0);
}

#[test]
fn a_service_that_is_gone_is_told_of_until_it_is_out_of_force() {
    let (mut core, now) = in_force();
    core.take(Event::Cluster(ClusterEvent::ServiceGone(ObjectName::new("default", "a"))), now);
    let state = of(&mut core, "a").unwrap();
    assert_eq!((state.programmed, state.pending, state.seen.service.clone()), (true, true, None));
    assert_eq!(versions(&state)[0], Some(pair("1", "2")));
    assert!(sync(&mut core).outcome.is_ok());
    assert_eq!(of(&mut core, "a"), Err(Absence::Unknown));
    assert_eq!(summary(&mut core).services, 0);
}

#[test]
fn a_list_that_leaves_a_service_out_and_a_slice_that_moves_are_changes_too() {
    let (mut core, now) = in_force();
    core.take(at("1", service("b", 2)), now);
    assert!(sync(&mut core).outcome.is_ok());
    let ClusterEvent::Slice(slice, ..) = slice_over(Protocol::Tcp, "a", 1) else { panic!() };
    let moved = EndpointSlice { service: ObjectName::new("default", "b"), ..(*slice).clone() };
    core.take(at("5", ClusterEvent::Slice(Arc::new(moved), Version::Unknown, None)), now);
    assert_eq!(versions(&of(&mut core, "a").unwrap()), [Some(pair("1", "2")), Some(pair("1", ""))]);
    assert_eq!(versions(&of(&mut core, "b").unwrap()), [Some(pair("1", "")), Some(pair("1", "5"))]);
    assert!(sync(&mut core).outcome.is_ok());
    core.take(Event::Cluster(ClusterEvent::ListBegins(Kind::Service)), now);
    core.take(Event::Cluster(ClusterEvent::ListEnds(Kind::Service)), now);
    assert_eq!(summary(&mut core).pending, 2);
}

#[test]
fn a_service_without_an_address_is_not_for_us() {
    let (mut core, now) = (core(), Instant::now());
    let ClusterEvent::Service(service, _) = service("a", 1) else { panic!() };
    let without = Service { cluster_ips: [].into(), ..(*service).clone() };
    complete(&mut core, now, vec![ClusterEvent::Service(Arc::new(without), Version::Unknown)]);
    assert!(sync(&mut core).outcome.is_ok());
    assert_eq!(of(&mut core, "a"), Err(Absence::NotForUs));
}
