//! How often an element is contributed, where several Services may contribute the same, and which classes are used.

use std::collections::BTreeMap;

use kubeweir_netfilter::{Element, Family, Key};

use crate::elements::Placed;
use crate::layout::Classes;
use crate::names::SetId;

/// Counts over all Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// By the key's bytes alone where there are very many: one for each ClusterIP.
    shared: BTreeMap<(Family, SetId), Counts<Box<[u8]>>>,
    /// Frontends in each class.
    slots: Counts<(Family, SetId)>,
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
            if matches!(set, SetId::Slots(..)) {
                let change = by * i32::try_from(elements.len()).unwrap_or(i32::MAX);
                *self.0.slots.entry((*family, *set)).or_default() += change;
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
        add(&mut self.slots, change.0.slots);
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

    /// The classes in use in a family after a change.
    pub(crate) fn classes(&self, change: &TallyChange, family: Family) -> Classes {
        let mut slots = self.slots.clone();
        add(&mut slots, change.0.slots.clone());
        let mine = slots.into_keys().filter(|(of, _)| *of == family);
        let class = |(_, set)| match set {
            SetId::Slots(place, list, class) => Some((place, list, class)),
            _ => None,
        };
        mine.filter_map(class).collect()
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
