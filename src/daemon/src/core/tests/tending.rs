//! Tending, with a mode that does what it is told and a clock that stands still.

use std::cell::Cell;
use std::collections::VecDeque;

use kubeweir_netfilter::CommitError;

use super::*;

/// A mode without a kernel.
#[derive(Default)]
struct Fake {
    known: bool,
    due: Option<Instant>,
    /// What comes of tending, one after the other; then nothing.
    outcomes: VecDeque<Result<Applied, Failure>>,
    /// What passes complain about.
    complaints: Vec<Complaint>,
    observed: usize,
    /// When passes and tending took place.
    passes: Cell<Option<Instant>>,
    tended: Vec<Instant>,
}

impl Mode for Fake {
    type Difference = ();

    fn is_known(&self) -> bool {
        self.known
    }

    fn forget(&mut self) {
        self.known = false;
    }

    fn observe(&mut self) -> Result<(), Failure> {
        self.observed += 1;
        Ok(())
    }

    fn difference(&self, _: &Plan, _: &Update, now: Instant) {
        self.passes.set(Some(now));
    }

    fn apply(&mut self, (): ()) -> Result<Applied, Failure> {
        self.known = true;
        Ok(Applied { complaints: self.complaints.clone(), ..Applied::default() })
    }

    fn due(&self) -> Option<Instant> {
        self.due
    }

    fn glance(&mut self) -> Result<Option<Loss>, Failure> {
        Ok(None)
    }

    fn tend(&mut self, now: Instant) -> Result<Applied, Failure> {
        self.tended.push(now);
        self.outcomes.pop_front().unwrap_or_else(|| Ok(Applied::default()))
    }
}

/// A core with nothing in it that has had its first pass at this time.
fn synced() -> (Core<Fake>, Instant) {
    let pace = Pace::new(Duration::ZERO, SECOND);
    let mut core = Core::new(Options::for_node("node"), Fake::default(), pace, SystemTime::UNIX_EPOCH);
    let now = Instant::now();
    complete(&mut core, now, vec![service("a", 1), service("b", 2)]);
    assert!(core.sync(|| now).unwrap().outcome.is_ok());
    (core, now)
}

fn failure() -> Failure {
    Failure::Commit(CommitError::Outdated)
}

fn complaint(about: Option<&str>, text: &str) -> Complaint {
    let about = about.map(|name| ObjectName::new("default", name));
    Complaint { about, reason: "Test", text: text.to_owned() }
}

#[test]
fn a_mode_is_tended_when_it_wants_to_be_and_not_before() {
    let (mut core, now) = synced();
    assert!(core.tend_due(now).is_none() && core.tend(|| now).is_none());
    core.mode().due = Some(now + SECOND);
    assert_eq!(core.tend_due(now), Some(now + SECOND));
    assert!(core.tend(|| now).is_none());
    core.mode().outcomes.push_back(Ok(Applied { requests: 3, ..Applied::default() }));
    let later = now + SECOND;
    assert_eq!(core.tend(|| later).unwrap().outcome.unwrap().requests, 3);
    assert_eq!(core.mode().tended, [later]);
    assert_eq!(core.mode().passes.get(), Some(now), "no pass was needed for it");
}

#[test]
fn a_mode_that_is_always_due_does_not_keep_the_loop_from_waiting() {
    let (mut core, now) = synced();
    core.mode().due = Some(now);
    assert!(core.tend(|| now).is_some());
    assert!(core.tend(|| now).is_none());
    assert_eq!(core.tend_due(now), Some(now + SHORTEST_TENDING));
}

#[test]
fn after_tending_failed_everything_is_read_again_soon_and_health_knows() {
    let (mut core, now) = synced();
    core.mode().due = Some(now);
    core.mode().outcomes.push_back(Err(failure()));
    assert!(core.tend(|| now).unwrap().outcome.is_err());
    assert!(!core.mode().known);
    assert_eq!(core.tend_due(now), None, "nothing is known that could be tended");
    assert_eq!(core.standing().waiting_since, Some(now));
    let due = core.due(now).unwrap();
    assert!(due > now && due <= now + SECOND);
    let report = core.sync(|| due).unwrap();
    assert!(report.whole && report.outcome.is_ok());
    assert_eq!((core.mode().observed, core.mode().passes.get()), (2, Some(due)));
    assert_eq!(core.standing().waiting_since, None);
}

#[test]
fn tending_that_fails_again_and_again_waits_ever_longer_though_passes_succeed() {
    let (mut core, mut now) = synced();
    core.mode().due = Some(now);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        core.mode().outcomes.push_back(Err(failure()));
        assert!(core.tend(|| now).unwrap().outcome.is_err());
        assert!(core.sync(|| now).unwrap().outcome.is_ok());
        let due = core.tend_due(now).unwrap();
        pauses.push(due - now);
        now = due;
    }
    assert!(pauses.is_sorted() && pauses[0] < pauses[7], "{pauses:?}");
    assert_eq!(pauses[7], SECOND);
}

#[test]
fn a_complaint_is_told_once_until_its_object_was_looked_at_without_one() {
    let (mut core, now) = synced();
    let texts = |report: SyncReport| report.complaints.into_iter().map(|c| c.text).collect::<Vec<_>>();
    let change = |core: &mut Core<Fake>, name: &str, last| {
        core.take(Event::Cluster(service(name, last)), now);
        core.sync(|| now).unwrap()
    };
    core.mode().complaints = vec![complaint(Some("a"), "a"), complaint(None, "node")];
    let report = change(&mut core, "a", 3);
    assert_eq!(report.standing["Test"], 2);
    assert_eq!(texts(report), ["node", "a"]);
    assert!(texts(change(&mut core, "a", 4)).is_empty(), "still the same");
    core.mode().complaints.clear();
    assert_eq!(change(&mut core, "b", 5).standing["Test"], 2, "a pass about b says nothing about others");
    assert_eq!(change(&mut core, "a", 6).standing["Test"], 1);
    core.mode().complaints = vec![complaint(Some("a"), "a")];
    assert_eq!(texts(change(&mut core, "a", 7)), ["a"], "again, after it was well");
    core.mode().forget();
    let report = core.sync(|| now).unwrap();
    assert!(report.whole && report.complaints.is_empty());
    assert_eq!(report.standing["Test"], 1, "the whole was read, and the node is well");
}

#[test]
fn what_tending_complains_about_is_told_and_mends_nothing() {
    let (mut core, now) = synced();
    core.mode().complaints = vec![complaint(Some("a"), "a")];
    core.take(Event::Cluster(service("a", 3)), now);
    assert_eq!(core.sync(|| now).unwrap().complaints.len(), 1);
    core.mode().due = Some(now);
    let complaints = vec![complaint(Some("b"), "b")];
    core.mode().outcomes.push_back(Ok(Applied { complaints, ..Applied::default() }));
    let report = core.tend(|| now).unwrap();
    assert_eq!(report.complaints, [complaint(Some("b"), "b")]);
    assert_eq!(report.standing["Test"], 2);
}

#[test]
fn findings_that_stand_are_counted_by_their_reason() {
    let (mut core, now) = synced();
    let standing = |core: &mut Core<Fake>, event| {
        core.take(Event::Cluster(event), now);
        core.sync(|| now).unwrap().standing.get("FrontendTaken").copied()
    };
    assert_eq!(standing(&mut core, service("c", 1)), Some(1));
    assert_eq!(standing(&mut core, service("d", 2)), Some(2));
    assert_eq!(standing(&mut core, service("c", 3)), Some(1));
    assert_eq!(standing(&mut core, ClusterEvent::ServiceGone(ObjectName::new("default", "d"))), Some(0));
}
