//! What the kernel has, and what separates it from a plan. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use kubeweir_netfilter::diff::{self, Changes, ElementChanges};
use kubeweir_netfilter::{Commit, Data, Element, Elements, Family, Key, Table};
use kubeweir_plan::{ObjectName, Plan, ServicePlan};

use crate::compile;
use crate::elements::{self, Placed};
use crate::frontends::{self, Bench};
use crate::handover::HandOver;
use crate::layout::Options;
use crate::names::{SERVICES, SetId};
use crate::seating::Seating;
use crate::tally::{Tally, TallyChange};

/// Tables as read from the kernel, IPv4 first; `None` for one that does not exist.
pub type Observed = [Option<Table>; 2];

/// What the kernel has after a clean commit: remembered as the plan it came from, not element by element.
#[derive(Clone, Debug)]
pub struct Programmed {
    services: BTreeMap<ObjectName, Seated>,
    tally: Tally,
    /// The tables without Services' elements.
    layouts: [Table; 2],
    /// What virtual servers do.
    hand_over: HandOver,
}

/// A Service's part of the plan with the slots of its endpoints.
#[derive(Clone, Debug)]
struct Seated {
    plan: Arc<ServicePlan>,
    /// `None` where all pools are in their own order, which is the rule.
    seating: Option<Box<Seating>>,
}

/// What to commit, and what will be known when it has succeeded.
#[derive(Debug)]
#[must_use]
pub struct Difference {
    /// One commit for each family that has something to do.
    pub commits: Vec<Commit>,
    /// What follows as soon as virtual servers are there, the same way: until then others may translate what is theirs.
    pub claims: Vec<Commit>,
    next: Next,
}

#[derive(Debug)]
enum Next {
    All(Box<Programmed>),
    Some(Box<Step>),
}

/// Changes to a [`Programmed`].
#[derive(Debug, Default)]
struct Step {
    services: Vec<(ObjectName, Option<Seated>)>,
    tally: TallyChange,
    /// `None` where they stay as they are.
    layouts: Option<[Table; 2]>,
    hand_over: HandOver,
}

impl Difference {
    /// Objects that the commits touch.
    pub fn operations(&self) -> usize {
        self.commits.iter().chain(&self.claims).map(Commit::count).sum()
    }

    /// What the kernel has once the commits have succeeded. A step needs the state that it was computed from.
    pub fn into_programmed(self, from: Option<Programmed>) -> Option<Programmed> {
        match self.next {
            Next::All(programmed) => Some(*programmed),
            Next::Some(step) => from.map(|mut programmed| {
                programmed.take(*step);
                programmed
            }),
        }
    }
}

/// From what was read in the kernel to a plan: looks at everything.
pub fn from_observed(observed: &Observed, plan: &Plan, options: Options) -> Difference {
    let hand_over = HandOver::new(&plan.node, options);
    let mut services = BTreeMap::new();
    let mut placed = Placed::new();
    for (name, service) in &plan.services {
        let seating = Seating::follow(service, &hand_over, &mut |bench, slot| seen(observed, bench, slot));
        elements::of_service(service, &seating, &hand_over, &mut placed);
        services.insert(name.clone(), Seated::new(service, seating));
    }
    let (mut contents, mut tally) = (TallyChange::default(), Tally::default());
    contents.count(&placed, 1);
    let layouts = compile::layouts(plan, &tally, &contents, options);
    let first = compile::layouts(plan, &tally, &contents, options.without_claims());
    let first = Family::ALL.map(|family| first_layout(observed, &layouts, &first, family).clone());
    tally.apply(contents);
    let claims = first.iter().zip(&layouts).map(|(first, last)| diff::diff_with(first, last, Changes::new()));
    let claims = claims.filter(|commit| !commit.is_empty()).collect();
    let desired = compile::fill(first, placed);
    let pairs = observed.iter().zip(desired);
    let commits = pairs.map(|(observed, desired)| diff::diff(observed.as_ref(), desired));
    Difference {
        commits: commits.filter(|commit| !commit.is_empty()).collect(),
        claims,
        next: Next::All(Box::new(Programmed { services, tally, layouts, hand_over })),
    }
}

/// What the table of a family is at first. One that keeps others from translating has virtual servers already, and goes on.
fn first_layout<'a>(
    observed: &'a Observed,
    last: &'a [Table; 2],
    first: &'a [Table; 2],
    family: Family,
) -> &'a Table {
    let (observed, last) = (observed[family as usize].as_ref(), &last[family as usize]);
    let claim = |table: &'a Table| table.chains.get(SERVICES)?.rules.last();
    let claims = observed.is_some_and(|observed| claim(observed).is_some() && claim(observed) == claim(last));
    if claims { last } else { &first[family as usize] }
}

impl Programmed {
    /// From here to a plan: looks at these Services, and at the layout if the node's part or what it follows changed.
    pub fn difference(
        &self,
        plan: &Plan,
        changed: &BTreeSet<ObjectName>,
        node: bool,
        options: Options,
    ) -> Difference {
        let hand_over = HandOver::new(&plan.node, options);
        let elsewhere = self.handed_over_elsewhere(&hand_over);
        let mut step = Step { hand_over, ..Step::default() };
        let (mut gone, mut come) = (Placed::new(), Placed::new());
        for name in changed.iter().chain(elsewhere.difference(changed)) {
            let (old, new) = (self.services.get(name), plan.services.get(name));
            let same = |old: &Seated| new.is_some_and(|new| Arc::ptr_eq(&old.plan, new));
            if old.is_some_and(same) && !elsewhere.contains(name) {
                continue;
            }
            let seated = new.map(|new| Seated::after(old, &self.hand_over, new, &step.hand_over));
            if let Some(old) = old {
                old.elements(&self.hand_over, &mut gone);
            }
            if let Some(seated) = &seated {
                seated.elements(&step.hand_over, &mut come);
            }
            step.services.push((name.clone(), seated));
        }
        step.tally.count(&gone, -1);
        step.tally.count(&come, 1);
        step.layouts = self.new_layouts(plan, &step.tally, node, options);
        let elements = element_changes(self.tally.turns(&step.tally), gone, come);
        Difference {
            commits: self.commits(step.layouts.as_ref(), elements),
            claims: Vec::new(),
            next: Next::Some(Box::new(step)),
        }
    }

    /// Services whose virtual servers move although they did not change: those with NodePorts, if the node's addresses did.
    fn handed_over_elsewhere(&self, new: &HandOver) -> BTreeSet<ObjectName> {
        if self.hand_over == *new {
            return BTreeSet::new();
        }
        let moves = |service: &ServicePlan| {
            let frontends = service.ports.iter().flat_map(|port| &port.frontends);
            frontends
                .into_iter()
                .any(|frontend| self.hand_over.addresses(frontend) != new.addresses(frontend))
        };
        let moving = self.services.iter().filter(|(_, seated)| moves(&seated.plan));
        moving.map(|(name, _)| name.clone()).collect()
    }

    fn new_layouts(
        &self,
        plan: &Plan,
        change: &TallyChange,
        node: bool,
        options: Options,
    ) -> Option<[Table; 2]> {
        let nothing = TallyChange::default();
        let used = |change| Family::ALL.map(|family| self.tally.used(change, family));
        let same = !node && used(change) == used(&nothing);
        (!same).then(|| compile::layouts(plan, &self.tally, change, options))
    }

    fn commits(&self, layouts: Option<&[Table; 2]>, mut elements: BTreeMap<Family, Changes>) -> Vec<Commit> {
        let new = layouts.unwrap_or(&self.layouts);
        let pairs = self.layouts.iter().zip(new);
        let commits = pairs.map(|(old, new)| {
            let further = elements.remove(&new.family).unwrap_or_default();
            diff::diff_with(old, new, further)
        });
        commits.filter(|commit| !commit.is_empty()).collect()
    }

    fn take(&mut self, step: Step) {
        for (name, seated) in step.services {
            match seated {
                Some(seated) => self.services.insert(name, seated),
                None => self.services.remove(&name),
            };
        }
        self.tally.apply(step.tally);
        self.hand_over = step.hand_over;
        if let Some(layouts) = step.layouts {
            self.layouts = layouts;
        }
    }
}

impl Seated {
    fn new(plan: &Arc<ServicePlan>, seating: Seating) -> Seated {
        let seating = (!seating.is_plain()).then(|| Box::new(seating));
        Seated { plan: Arc::clone(plan), seating }
    }

    /// Seats a new version of a Service around the old one.
    fn after(
        old: Option<&Seated>,
        old_hand_over: &HandOver,
        plan: &Arc<ServicePlan>,
        hand_over: &HandOver,
    ) -> Seated {
        let mut before = BTreeMap::new();
        if let Some(old) = old {
            frontends::benches(&old.plan, old_hand_over, &mut |bench, pool| {
                before.insert(bench, old.seating().order(&bench, pool).into_owned());
            });
        }
        let seat = |bench: &Bench, slot: u32| before.get(bench)?.get(slot as usize).copied();
        Seated::new(plan, Seating::follow(plan, hand_over, &mut |bench, slot| seat(bench, slot)))
    }

    fn seating(&self) -> Seating {
        self.seating.as_deref().cloned().unwrap_or_default()
    }

    fn elements(&self, hand_over: &HandOver, out: &mut Placed) {
        elements::of_service(&self.plan, &self.seating(), hand_over, out);
    }
}

/// Sorts what goes and what comes into additions, replacements and removals. Elements that Services share are
/// counted elsewhere and come as whether they appear.
fn element_changes(
    shared: Vec<((Family, SetId), Key, bool)>,
    mut gone: Placed,
    mut come: Placed,
) -> BTreeMap<Family, Changes> {
    gone.retain(|(_, set), _| !set.is_shared());
    come.retain(|(_, set), _| !set.is_shared());
    for (place, key, appears) in shared {
        let side = if appears { &mut come } else { &mut gone };
        side.entry(place).or_default().push(Element::of_set(key));
    }
    let places: BTreeSet<(Family, SetId)> = gone.keys().chain(come.keys()).copied().collect();
    let mut changes: BTreeMap<Family, Changes> = BTreeMap::new();
    for place in places {
        let list = |side: &mut Placed| side.remove(&place).unwrap_or_default().into_iter().collect();
        let (old, new): (Elements, Elements) = (list(&mut gone), list(&mut come));
        let difference = diff::elements(&old, new);
        if difference != ElementChanges::default() {
            changes.entry(place.0).or_default().insert(place.1.to_string(), difference);
        }
    }
    changes
}

/// Who has a slot in the kernel.
fn seen(observed: &Observed, bench: &Bench, slot: u32) -> Option<SocketAddr> {
    let sets = &observed[bench.family as usize].as_ref()?.sets;
    let data = |set: SetId, number| {
        let element = sets.get(&set.to_string())?.elements.get(&bench.key.number(number));
        element.map(|element| element.data)
    };
    let Bench { place, list, .. } = *bench;
    let plain = data(SetId::Endpoints(place, list), slot);
    let sticky =
        || data(SetId::StickyEndpoints(place, list), number(&data(SetId::StickySlots(place, list), slot)?)?);
    socket(&plain.or_else(sticky)?)
}

/// The number in a map's data.
fn number(data: &Data) -> Option<u32> {
    data.as_slice().try_into().ok().map(u32::from_ne_bytes)
}

/// The address and port in a map's data.
fn socket(data: &Data) -> Option<SocketAddr> {
    let (address, port) = data.as_slice().split_at_checked(data.as_slice().len().checked_sub(4)?)?;
    let address = match address.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
    };
    Some(SocketAddr::new(address, u16::from_be_bytes([port[0], port[1]])))
}
