//! How often an element is contributed, where several Services may contribute the same, and which sets are used at all.

use std::collections::BTreeMap;

use kubeweir_netfilter::{Element, Family, Key};

use crate::elements::Placed;
use crate::layout::Used;
use crate::names::SetId;

/// Counts over all Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// By the key's bytes alone where there are very many: one for each ClusterIP.
    shared: BTreeMap<(Family, SetId), Counts<Box<[u8]>>>,
    /// Frontends in each set that exists only while something is in it.
    frontends: Counts<(Family, SetId)>,
}

/// A tally's change: what comes minus what goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TallyChange(Tally);

type Counts<K> = BTreeMap<K, i32>;

impl TallyChange {
    /// Counts elements that come (`1`) or go (`-1`).
    pub(crate) fn count(&mut self, elements: &Placed, by: i32) {
        for ((family, set), elements) in elements {
            if set.is_shared() {
                self.count_shared((*family, *set), elements, by);
            }
            if matches!(set, SetId::Slots(..) | SetId::Sticky(..)) {
                let change = by * i32::try_from(elements.len()).unwrap_or(i32::MAX);
                *self.0.frontends.entry((*family, *set)).or_default() += change;
            }
        }
    }

    fn count_shared(&mut self, place: (Family, SetId), elements: &[Element], by: i32) {
        let counts = self.0.shared.entry(place).or_default();
        for element in elements {
            *counts.entry(element.key.as_slice().into()).or_default() += by;
        }
    }
}

impl Tally {
    /// Carries out a change.
    pub(crate) fn apply(&mut self, change: TallyChange) {
        for (place, changes) in change.0.shared {
            add(self.shared.entry(place).or_default(), changes);
        }
        add(&mut self.frontends, change.0.frontends);
    }

    /// Shared elements that appear (`true`) or disappear by a change.
    pub(crate) fn turns(&self, change: &TallyChange) -> Vec<((Family, SetId), Key, bool)> {
        let mut turns = Vec::new();
        for (place, changes) in &change.0.shared {
            let counts = self.shared.get(place);
            for (key, by) in changes {
                let now = counts.and_then(|counts| counts.get(key)).copied().unwrap_or(0);
                let (had, has) = (now > 0, now + by > 0);
                if let (true, Some(key)) = (had != has, Key::from_bytes(key)) {
                    turns.push((*place, key, has));
                }
            }
        }
        turns
    }

    /// What the layout of a family follows after a change.
    pub(crate) fn used(&self, change: &TallyChange, family: Family) -> Used {
        let mut frontends = self.frontends.clone();
        add(&mut frontends, change.0.frontends.clone());
        let mut used = Used::default();
        for (_, set) in frontends.into_keys().filter(|(of, _)| *of == family) {
            match set {
                SetId::Slots(place, list, class) => drop(used.classes.insert((place, list, class))),
                SetId::Sticky(place, seconds) => drop(used.affinities.insert((place, seconds))),
                _ => {}
            }
        }
        used
    }
}

fn add<K: Ord>(counts: &mut Counts<K>, changes: Counts<K>) {
    for (key, by) in changes {
        match counts.entry(key) {
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                *entry.get_mut() += by;
                if *entry.get() <= 0 {
                    entry.remove();
                }
            }
            std::collections::btree_map::Entry::Vacant(entry) if by > 0 => drop(entry.insert(by)),
            std::collections::btree_map::Entry::Vacant(_) => {}
        }
    }
}
