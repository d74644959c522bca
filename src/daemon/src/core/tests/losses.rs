//! What somebody removes.

use kubeweir_nftables::names::TABLE_BESIDE_SERVERS;

use super::*;

/// A core with a Service in force that has looked once, and when it looks next.
fn looked() -> (Sut, Instant) {
    let (mut core, now) = (core(), Instant::now());
    complete(&mut core, now, vec![service("a", 1)]);
    assert_eq!(core.glance_due(now), None, "there is nothing to look at");
    assert!(sync(&mut core).outcome.is_ok());
    assert_eq!((core.glance_due(now), core.glance(now).unwrap()), (Some(now), None));
    (core, now + GLANCE)
}

fn commit(core: &mut Sut, table: &str, operation: Operation) {
    let mut foreign = Commit::new(Family::Ip, table);
    foreign.push(operation);
    core.mode().kernel().commit(&[foreign], None).unwrap();
}

#[test]
fn tables_that_somebody_removes_are_missed_at_the_next_glance_and_programmed_again() {
    let (mut core, due) = looked();
    commit(&mut core, TABLE, Operation::DeleteTable);
    assert_eq!(core.glance(due.checked_sub(SECOND).unwrap()).unwrap(), None, "not yet");
    assert!(matches!(core.glance(due).unwrap(), Some(Loss::Removed(_))));
    assert_eq!((core.standing().waiting_since, core.glance_due(due)), (Some(due), None));
    assert!(core.due(Instant::now()).is_some_and(|pass| pass <= Instant::now()));
    let report = sync(&mut core);
    assert!(report.whole && report.outcome.is_ok());
    assert_eq!(rejected(&mut core), 1);
    assert_eq!(core.glance(due + GLANCE).unwrap(), None);
    // As often as it happens.
    commit(&mut core, TABLE, Operation::DeleteTable);
    assert!(core.glance(due + 2 * GLANCE).unwrap().is_some());
}

#[test]
fn what_a_pass_has_mended_already_is_not_missed() {
    let (mut core, due) = looked();
    commit(&mut core, TABLE, Operation::DeleteTable);
    core.take(Event::Cluster(service("b", 2)), due);
    assert!(sync(&mut core).outcome.is_err());
    assert_eq!(core.glance(due).unwrap(), None, "a pass that looks at everything is due anyway");
    assert!(sync(&mut core).outcome.is_ok());
    assert_eq!(core.glance(due + GLANCE).unwrap(), None);
}

#[test]
fn another_daemon_that_has_taken_over_is_told_of_and_not_fought_with() {
    let (mut core, due) = looked();
    commit(&mut core, TABLE_BESIDE_SERVERS, Operation::AddTable);
    assert_eq!(core.glance(due).unwrap(), None, "they may be left over, and are about to be removed");
    commit(&mut core, TABLE, Operation::DeleteTable);
    assert_eq!(core.glance(due + GLANCE).unwrap(), Some(Loss::TakenOver));
    assert!(core.mode().is_known(), "no pass is due");
    assert_eq!(core.glance(due + 2 * GLANCE).unwrap(), None, "it has been told");
    commit(&mut core, TABLE_BESIDE_SERVERS, Operation::DeleteTable);
    assert!(matches!(core.glance(due + 3 * GLANCE).unwrap(), Some(Loss::Removed(_))));
}
