//! The loop's state and its one pass: fold, plan, difference, commit, report.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use kubeweir_cluster::{Event as ClusterEvent, Kind, Store, Trigger};
use kubeweir_plan::{
    Changed, Facts, Finding, FlowCheck, ObjectName, Options, Plan, Planner, Unserved, Update,
};

use crate::Event;
use crate::checks::Checks;
use crate::counters::Counters;
use crate::healthports::ledger::{Difference, Ledger};
use crate::mode::{Applied, Complaint, Failure, Loss, Mode};
use crate::pace::Pace;
use crate::prerequisites::{News, Pods, Prerequisites};
use crate::question::Question;
use crate::settings::Settings;
use crate::state::{self, Tracker};
use crate::told::{LookedAt, Told};

/// Shortest pause between two times that a mode is tended.
const SHORTEST_TENDING: Duration = Duration::from_millis(100);

/// How often to look whether what was programmed is still there.
const GLANCE: Duration = Duration::from_secs(5);

/// All mutable state of the daemon.
pub struct Core<M> {
    store: Store,
    facts: Option<Facts>,
    planner: Planner,
    mode: M,
    pace: Pace,
    waiting: Waiting,
    checks: Checks,
    /// Triggers from before this are not counted: we were not there to react.
    born: SystemTime,
    /// Retries of tending have a pace of their own: the pass after a failed one may well succeed.
    tending: Pace,
    told: Told,
    /// What findings about the Node are told of.
    node: ObjectName,
    prerequisites: Prerequisites,
    tracker: Tracker,
    follower: Option<Counters>,
    health_ports: Ledger,
    glances: Glances,
}

/// When was looked whether what was programmed is still there.
#[derive(Debug, Default)]
struct Glances {
    last: Option<Instant>,
    /// What was found, if that goes on.
    found: Option<Loss>,
}

/// What has happened since the last successful pass.
#[derive(Debug, Default)]
struct Waiting {
    changed: Changed,
    triggers: Vec<Trigger>,
    /// When the first of it happened.
    since: Option<Instant>,
    counts: Counts,
    /// Flows that must not go on once it is in force.
    flows: FlowCheck,
}

/// Events that changed something, by what they were about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// About Services.
    pub services: u64,
    /// About EndpointSlices.
    pub slices: u64,
}

/// How many findings and complaints stand, by their reason. A reason that once had some stays, with none.
pub type Reasons = BTreeMap<&'static str, u64>;

/// What came of a pass.
#[derive(Debug)]
#[must_use]
pub struct SyncReport {
    /// How long it took, planning included.
    pub took: Duration,
    /// Whether everything was read and compared, or only what had changed.
    pub whole: bool,
    /// What was done, or why nothing was.
    pub outcome: Result<Applied, Failure>,
    /// Findings that were not there before. Those about the Node have no namespace.
    pub findings: Vec<(ObjectName, Finding)>,
    /// Complaints of the mode that were not there before.
    pub complaints: Vec<Complaint>,
    /// How many of both stand.
    pub standing: Reasons,
    /// Changes that are now in force, by when they happened in the cluster.
    pub triggers: Vec<Trigger>,
    /// Services in the plan.
    pub services: usize,
    /// What changes for balancers that ask for endpoints; nothing if the pass failed.
    pub health_ports: Difference,
    /// Ports of the plan that are served elsewhere only.
    pub unserved: Unserved,
}

/// What came of tending the mode.
#[derive(Debug)]
#[must_use]
pub struct TendReport {
    /// How long it took.
    pub took: Duration,
    /// What was done, or why not.
    pub outcome: Result<Applied, Failure>,
    /// Complaints of the mode that were not there before.
    pub complaints: Vec<Complaint>,
    /// How many findings and complaints stand.
    pub standing: Reasons,
}

/// How things stand, for health and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Since when a change has been waiting to be programmed.
    pub waiting_since: Option<Instant>,
    /// Kinds whose initial list is still awaited.
    pub awaited: Vec<Kind>,
    /// Whether balancers may send traffic to this node; unknown nodes may not get any.
    pub eligible: bool,
    /// Events that wait to be programmed.
    pub pending: Counts,
}

impl<M: Mode> Core<M> {
    /// A core that has seen nothing.
    pub fn new(options: Options, mode: M, pace: Pace, born: SystemTime) -> Core<M> {
        let tending = Pace::new(SHORTEST_TENDING, pace.longest_retry());
        Core {
            store: Store::default(),
            facts: None,
            node: ObjectName::new("", &options.node_name),
            planner: Planner::new(options),
            mode,
            checks: Checks::new(pace.longest_retry()),
            pace,
            waiting: Waiting::default(),
            born,
            tending,
            told: Told::default(),
            prerequisites: Prerequisites::default(),
            tracker: Tracker::default(),
            follower: None,
            health_ports: Ledger::default(),
            glances: Glances::default(),
        }
    }

    /// The same, telling somebody which Services are in force.
    #[must_use]
    pub fn followed_by(self, follower: Option<Counters>) -> Core<M> {
        Core { follower, ..self }
    }

    /// Takes an event in. Returns what kind of change it was, for the counters.
    pub fn take(&mut self, event: Event, now: Instant) -> Counts {
        let counts = match event {
            Event::Cluster(event) => self.take_from_cluster(event),
            Event::Settings(settings) => {
                self.reconfigure(&settings);
                Counts::default()
            }
            // Whoever drives the core looks at this one.
            Event::Stop => return Counts::default(),
            Event::Explain(asked) => {
                // Whoever asked may be gone.
                let _ = asked.answer.send(self.explain(&asked.question));
                return Counts::default();
            }
            Event::State(asked) => {
                let _ = asked.answer.send(state::answer(&asked.question, &self.sight()));
                return Counts::default();
            }
            Event::Host(facts) => {
                self.waiting.changed.node |= self.facts.as_ref() != Some(&facts);
                self.facts = Some(facts);
                Counts::default()
            }
            Event::FlowsChecked(outcome) => {
                self.checks.finished(outcome, now);
                Counts::default()
            }
            Event::Wiring(host) => {
                self.prerequisites.host_is(host);
                Counts::default()
            }
        };
        if self.has_work() {
            self.waiting.since.get_or_insert(now);
        }
        counts
    }

    /// Plans anew by other settings, and paces by them. The Node's name, and whatever else needs a restart, has not changed.
    fn reconfigure(&mut self, settings: &Settings) {
        self.planner.set_options(settings.plan.clone());
        self.mode.reconfigure(settings);
        self.pace.set(settings.min_sync_period, settings.sync_period);
        self.tending.set(SHORTEST_TENDING, settings.sync_period);
        self.checks.set_pause(settings.sync_period);
        self.waiting.changed.node = true;
    }

    fn take_from_cluster(&mut self, event: ClusterEvent) -> Counts {
        let mut counts = Counts::default();
        let mut trigger = None;
        match &event {
            ClusterEvent::Service(..) | ClusterEvent::ServiceGone(_) => counts.services = 1,
            ClusterEvent::Slice(_, _, at) => (counts.slices, trigger) = (1, *at),
            ClusterEvent::SliceGone(_) => counts.slices = 1,
            _ => {}
        }
        let changed = self.store.apply(event);
        if !changed.is_empty() {
            self.waiting.triggers.extend(trigger.filter(|trigger| trigger.0 >= self.born));
            self.waiting.counts.services += counts.services;
            self.waiting.counts.slices += counts.slices;
        }
        self.waiting.changed.merge(changed);
        counts
    }

    /// Whether a pass would have anything to do. Not before everything is known.
    fn has_work(&self) -> bool {
        let complete = self.store.snapshot().is_some() && self.facts.is_some();
        complete && (!self.mode.is_known() || !self.waiting.changed.is_empty())
    }

    /// When the next pass is due.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let complete = self.store.snapshot().is_some() && self.facts.is_some();
        complete.then(|| self.pace.due(self.has_work(), now)).flatten()
    }

    /// When the mode is to be tended.
    pub fn tend_due(&self, now: Instant) -> Option<Instant> {
        let wanted = self.mode.is_known().then(|| self.mode.due()).flatten()?;
        Some(wanted.max(self.tending.due(true, now)?))
    }

    /// When to look whether what was programmed is still there.
    pub fn glance_due(&self, now: Instant) -> Option<Instant> {
        self.mode.is_known().then(|| self.glances.last.map_or(now, |last| last + GLANCE))
    }

    /// Looks whether what was programmed is still there, if that is due. A pass that looks at everything is due if it is not, unless
    /// another daemon has taken over, which is not fought with. Returns what is gone, once.
    pub fn glance(&mut self, now: Instant) -> Result<Option<Loss>, Failure> {
        if self.glance_due(now).is_none_or(|due| due > now) {
            return Ok(None);
        }
        self.glances.last = Some(now);
        let found = self.mode.glance()?;
        if matches!(found, Some(Loss::Removed(_))) {
            self.mode.forget();
            self.waiting.since.get_or_insert(now);
        }
        let before = std::mem::replace(&mut self.glances.found, found.clone());
        Ok(found.filter(|loss| *loss != Loss::TakenOver || before != Some(Loss::TakenOver)))
    }

    /// When a check of tracked flows is due.
    pub fn check_due(&self, now: Instant) -> Option<Instant> {
        self.checks.due(now)
    }

    /// The check to carry out now, if one is due: about plans that are in force. An [`Event`] tells what came of it.
    pub fn take_check(&mut self, now: Instant) -> Option<FlowCheck> {
        self.checks.take(now)
    }

    /// How things stand.
    pub fn standing(&self) -> Standing {
        let node = self.store.snapshot().and_then(|snapshot| snapshot.node());
        Standing {
            waiting_since: self.waiting.since,
            awaited: self.store.awaited().collect(),
            // Without pod prefixes where pods are told by them, it is no node for traffic yet.
            eligible: node.is_some_and(|node| !node.leaving)
                && !self.planner.plan().node.findings.contains(&Finding::PodPrefixesUnknown),
            pending: self.waiting.counts,
        }
    }

    /// The latest plan.
    pub fn plan(&self) -> &Plan {
        self.planner.plan()
    }

    /// Where a packet would go, by the latest plan.
    fn explain(&self, question: &Question) -> Option<String> {
        self.store.snapshot()?;
        Some(question.answer(self.planner.plan(), self.facts.as_ref()?))
    }

    /// What questions about the state are answered from.
    fn sight(&self) -> state::Sight<'_> {
        state::Sight {
            store: &self.store,
            plan: self.planner.plan(),
            tracker: &self.tracker,
            told: &self.told,
            node: &self.node,
        }
    }

    /// The mode.
    pub fn mode(&mut self) -> &mut M {
        &mut self.mode
    }

    /// What is new about the host's prerequisites. Nothing before the first pass, which knows how pods are told.
    pub fn host_news(&mut self) -> Option<News> {
        self.prerequisites.news()
    }

    /// One pass. `None` as long as there is no complete snapshot.
    pub fn sync(&mut self, now: impl Fn() -> Instant) -> Option<SyncReport> {
        let (snapshot, facts) = (self.store.snapshot()?, self.facts.as_ref()?);
        let started = now();
        if self.pace.audit_due(started) {
            self.mode.forget();
        }
        let whole = !self.mode.is_known();
        let changed = std::mem::take(&mut self.waiting.changed);
        let mut update = self.planner.update(snapshot, facts, &changed);
        self.waiting.flows.merge(std::mem::take(&mut update.flows));
        self.tracker.planned(&update.services);
        self.health_ports.planned(self.planner.plan(), &update);
        self.prerequisites.pods_are(Pods {
            sources: self.planner.plan().node.local_sources.clone(),
            prefixes: snapshot.node().map(|node| node.pod_cidrs.to_vec()).unwrap_or_default(),
        });
        let mut outcome = program(&mut self.mode, self.planner.plan(), &update, started);
        let looked_at = if whole { LookedAt::All } else { LookedAt::Changed(&update) };
        let findings = self.told.news(self.planner.plan(), &update, &self.node);
        let mut report = SyncReport {
            took: now() - started,
            whole,
            findings,
            complaints: new_complaints(&mut self.told, &mut outcome, looked_at),
            standing: self.told.standing().clone(),
            triggers: Vec::new(),
            services: self.planner.plan().services.len(),
            health_ports: Difference::default(),
            unserved: self.planner.unserved(),
            outcome,
        };
        if report.outcome.is_ok() {
            let done = std::mem::take(&mut self.waiting);
            report.triggers = done.triggers;
            self.checks.add(done.flows);
            self.store.settle();
            report.health_ports = self.health_ports.in_force(self.planner.plan());
        }
        let settled = self.tracker.ended(&report.outcome, self.planner.plan(), SystemTime::now());
        if let (Some(follower), Some(settled)) = (&self.follower, settled) {
            follower.changed(settled.services(self.planner.plan()));
        }
        self.pace.finished(report.outcome.is_ok(), whole, now());
        Some(report)
    }

    /// Tends the mode, if that is due. After a failure a pass is due, which reads everything.
    pub fn tend(&mut self, now: impl Fn() -> Instant) -> Option<TendReport> {
        let started = now();
        self.tend_due(started).filter(|due| *due <= started)?;
        let mut outcome = self.mode.tend(started);
        let ended = now();
        self.tending.finished(outcome.is_ok(), false, ended);
        if outcome.is_err() {
            self.mode.forget();
            self.pace.finished(false, false, ended);
            self.waiting.since.get_or_insert(ended);
        }
        Some(TendReport {
            took: ended - started,
            complaints: new_complaints(&mut self.told, &mut outcome, LookedAt::Nothing),
            standing: self.told.standing().clone(),
            outcome,
        })
    }
}

/// Takes the complaints out of an outcome. A pass that failed has looked at nothing to its end.
fn new_complaints(
    told: &mut Told,
    outcome: &mut Result<Applied, Failure>,
    looked_at: LookedAt<'_>,
) -> Vec<Complaint> {
    match outcome {
        Ok(applied) => told.complaints(std::mem::take(&mut applied.complaints), looked_at),
        Err(_) => Vec::new(),
    }
}

/// Reads first where nothing is known, then commits the difference.
fn program<M: Mode>(mode: &mut M, plan: &Plan, update: &Update, now: Instant) -> Result<Applied, Failure> {
    if !mode.is_known() {
        mode.observe()?;
    }
    let difference = mode.difference(plan, update, now);
    mode.apply(difference)
}

#[cfg(test)]
mod tests;
