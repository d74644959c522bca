//! How often an element is contributed, where several Services may contribute the same, and which classes are used.

use std::collections::BTreeMap;

use kubeweir_netfilter::{Family, Key};

use crate::elements::Placed;
use crate::layout::Classes;
use crate::names::SetId;

/// Counts over all Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    shared: Counts<(Family, SetId, Key)>,
    /// Frontends in each class.
    slots: Counts<(Family, SetId)>,
}

/// A tally's change: what comes minus what goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TallyChange(Tally);

type Counts<K> = BTreeMap<K, i64>;

impl TallyChange {
    /// Counts elements that come (`1`) or go (`-1`).
    pub(crate) fn count(&mut self, elements: &[Placed], by: i64) {
        for (family, set, element) in elements {
            if set.is_shared() {
                *self.0.shared.entry((*family, *set, element.key)).or_default() += by;
            }
            if matches!(set, SetId::Slots(..)) {
                *self.0.slots.entry((*family, *set)).or_default() += by;
            }
        }
    }

    /// Shared elements whose count changes.
    pub(crate) fn shared(&self) -> impl Iterator<Item = &(Family, SetId, Key)> {
        self.0.shared.iter().filter(|(_, change)| **change != 0).map(|(key, _)| key)
    }
}

impl Tally {
    /// Carries out a change.
    pub(crate) fn apply(&mut self, change: &TallyChange) {
        add(&mut self.shared, &change.0.shared);
        add(&mut self.slots, &change.0.slots);
    }

    /// Whether a shared element is held now, and whether it will be after a change.
    pub(crate) fn held(&self, change: &TallyChange, key: &(Family, SetId, Key)) -> (bool, bool) {
        let now = self.shared.get(key).copied().unwrap_or(0);
        (now > 0, now + change.0.shared.get(key).copied().unwrap_or(0) > 0)
    }

    /// The classes in use in a family after a change.
    pub(crate) fn classes(&self, change: &TallyChange, family: Family) -> Classes {
        let mut slots = self.slots.clone();
        add(&mut slots, &change.0.slots);
        let mine = slots.into_keys().filter(|(of, _)| *of == family);
        let class = |(_, set)| match set {
            SetId::Slots(place, list, class) => Some((place, list, class)),
            _ => None,
        };
        mine.filter_map(class).collect()
    }
}

fn add<K: Ord + Clone>(counts: &mut Counts<K>, change: &Counts<K>) {
    for (key, by) in change {
        let count = counts.entry(key.clone()).or_default();
        *count += by;
        if *count <= 0 {
            counts.remove(key);
        }
    }
}
