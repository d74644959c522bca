//! Which endpoint has which slot.
//!
//! Slots are given out so that a change moves as few endpoints as possible: who stays keeps its slot, who comes takes
//! one that became free. The plan knows no slots; only a difference to the pool's own order is remembered.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use kubeweir_plan::{Pool, ServicePlan, Target};

use crate::frontends::{self, Bench};
use crate::handover::HandOver;

/// The slots of a Service where they are not simply in the pool's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seating(BTreeMap<Bench, Box<[SocketAddr]>>);

impl Seating {
    /// Seats all pools of a Service. `before` tells who had a slot, if anybody did.
    pub fn follow(
        service: &ServicePlan,
        hand_over: &HandOver,
        before: &mut impl FnMut(&Bench, u32) -> Option<SocketAddr>,
    ) -> Seating {
        let mut seating = Seating::default();
        frontends::benches(service, hand_over, &mut |bench, pool| {
            let seats = seat(pool, |slot| before(&bench, slot));
            if !seats.iter().copied().eq(served(pool)) {
                seating.0.insert(bench, seats.into());
            }
        });
        seating
    }

    /// The targets of a pool by slot.
    pub fn order<'a>(&'a self, bench: &Bench, pool: &Pool) -> Cow<'a, [SocketAddr]> {
        match self.0.get(bench) {
            Some(seats) => Cow::Borrowed(seats),
            None => served(pool).collect(),
        }
    }

    /// Whether every pool is in its own order.
    pub fn is_plain(&self) -> bool {
        self.0.is_empty()
    }
}

/// The targets that get new connections. Rules know no other weights than none and some; where none has any, all are used.
fn served(pool: &Pool) -> impl Iterator<Item = SocketAddr> + '_ {
    let all_without = pool.targets.iter().all(|target| target.weight == 0);
    pool.targets.iter().filter(move |target| all_without || target.weight > 0).map(Target::socket)
}

/// Gives each target a slot below the number of targets.
fn seat(pool: &Pool, before: impl FnMut(u32) -> Option<SocketAddr>) -> Vec<SocketAddr> {
    let mut standing: BTreeSet<SocketAddr> = served(pool).collect();
    let slots = 0..u32::try_from(standing.len()).unwrap_or(u32::MAX);
    let kept: Vec<Option<SocketAddr>> =
        slots.map(before).map(|had| had.filter(|socket| standing.remove(socket))).collect();
    let mut standing = standing.into_iter();
    kept.into_iter().filter_map(|seat| seat.or_else(|| standing.next())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 80))
    }

    fn pool(members: &[u8]) -> Pool {
        let targets = members
            .iter()
            .map(|n| Target { address: socket(*n).ip(), port: 80, local: false, weight: 1 })
            .collect();
        Pool { targets, affinity: None }
    }

    fn check(before: &[u8], members: &[u8], after: &[u8]) {
        let seats = seat(&pool(members), |slot| before.get(slot as usize).map(|n| socket(*n)));
        assert_eq!(seats, after.iter().map(|n| socket(*n)).collect::<Vec<_>>());
    }

    #[test]
    fn who_stays_keeps_the_slot_and_who_comes_takes_a_free_one() {
        check(&[], &[1, 2, 3], &[1, 2, 3]);
        check(&[1, 2, 3], &[1, 3, 4], &[1, 4, 3]);
        check(&[1, 2, 3], &[0, 1, 2, 3], &[1, 2, 3, 0]);
        check(&[3, 1, 2], &[2, 3], &[3, 2]);
        check(&[1, 2, 3, 4], &[4], &[4]);
        check(&[1, 1, 2], &[1, 2, 3], &[1, 3, 2]);
    }

    #[test]
    fn who_has_no_weight_has_no_slot_unless_nobody_has_any() {
        let mut pool = pool(&[1, 2, 3]);
        pool.targets[1].weight = 0;
        assert_eq!(seat(&pool, |_| None), [socket(1), socket(3)]);
        pool.targets.iter_mut().for_each(|target| target.weight = 0);
        assert_eq!(seat(&pool, |_| None).len(), 3);
    }
}
