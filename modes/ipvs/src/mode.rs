//! The mode's door to the kernel: read, carry out, tend what drains.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kubeweir_netlink::ipvs::{Identity, Request};
use kubeweir_nftables::handover;
use kubeweir_nftables::programmed::Difference as TablesDifference;
use kubeweir_plan::{ObjectName, Plan};

use crate::carry::{Carried, Failed, carry_out};
use crate::drain::{Change, Draining};
use crate::glance::{Loss, Remembered};
use crate::kernel::{Kernel, Observed};
use crate::programmed::{self, Programmed, Seen, Settings};
use crate::schedulers::{Lacking, Schedulers};

/// IPVS mode on one kernel.
pub struct Mode<K, S> {
    tables: kubeweir_nftables::Mode<K>,
    kernel: S,
    settings: Settings,
    /// As the settings want them, without what the kernel lacks.
    schedulers: Schedulers,
    known: Known,
    draining: Draining,
    retry: Retry,
    glances: Remembered,
}

/// When what was refused is tried again: by reading everything, less and less often.
#[derive(Debug)]
struct Retry {
    at: Option<Instant>,
    pause: Duration,
}

/// Until what was refused is tried again: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(1800)];

/// What is known of the kernel's virtual servers.
enum Known {
    /// Nothing: at the start, and after anything went wrong.
    Nothing,
    /// As read, and what the tables say is ours.
    Observed(Box<Observed>, BTreeSet<Identity>),
    /// As last carried out.
    Programmed(Box<Programmed>),
}

/// What separates the kernel from a plan.
#[derive(Debug)]
#[must_use]
pub struct Difference {
    /// Virtual servers and addresses.
    pub servers: programmed::Difference,
    /// The tables beside them.
    pub tables: TablesDifference,
    now: Instant,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Objects touched: virtual servers, real servers, addresses, and whatever a table consists of.
    pub operations: usize,
    /// Batches sent to `nf_tables`.
    pub batches: usize,
    /// Other requests sent.
    pub requests: u64,
    /// Schedulers that the kernel lacks, for all that was looked at.
    pub lacking: Vec<Lacking>,
    /// What the kernel does not take. All else is in force, and this is tried again later.
    pub refused: Vec<Failed>,
}

/// A pass did not succeed. Nothing is known any more; the next pass reads the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tables could not be read.
    #[error("the kernel's tables could not be read")]
    Observe(#[from] kubeweir_netfilter::ObserveError),
    /// The tables were not committed.
    #[error("the change was not programmed")]
    Commit(#[from] kubeweir_netfilter::CommitError),
    /// Virtual servers could not be read or written at all.
    #[error("IPVS does not answer")]
    Ipvs(#[from] kubeweir_netlink::Error),
    /// The kernel did not have what it was thought to have; all other steps were carried out.
    #[error("the kernel refused {}", list(.0))]
    Surprised(Vec<Failed>),
}

impl<K: kubeweir_netfilter::Kernel, S: Kernel> Mode<K, S> {
    /// The mode; nothing is read yet.
    pub fn new(tables: K, kernel: S, settings: Settings, schedulers: Schedulers) -> Mode<K, S> {
        Mode {
            tables: kubeweir_nftables::Mode::new(tables, settings.tables),
            kernel,
            settings,
            schedulers,
            known: Known::Nothing,
            draining: Draining::default(),
            retry: Retry { at: None, pause: PAUSES[0] },
            glances: Remembered::default(),
        }
    }

    /// Replaces the settings. The masquerade mark, and whatever else tables are laid out by, stays as it was. Nothing is known any
    /// more, so that the next pass compares everything.
    pub fn reconfigure(&mut self, settings: Settings, schedulers: Schedulers) {
        self.settings = Settings { tables: self.settings.tables, ..settings };
        self.schedulers = schedulers;
        self.forget();
    }

    /// The kernel behind the mode.
    pub fn kernel(&mut self) -> &mut S {
        &mut self.kernel
    }

    /// The tables behind the mode.
    pub fn tables(&mut self) -> &mut kubeweir_nftables::Mode<K> {
        &mut self.tables
    }

    /// Whether the state is known; if not, [`Mode::observe`] comes first.
    pub fn is_known(&self) -> bool {
        !matches!(self.known, Known::Nothing) && self.tables.is_known()
    }

    /// Forgets what is known, so that the next pass reads the kernel: after a foreign change, or to make sure. What drains goes
    /// on draining, and the kernel may have got further schedulers.
    pub fn forget(&mut self) {
        self.known = Known::Nothing;
        self.tables.forget();
        self.schedulers.unavailable.clear();
        self.retry.at = None;
    }

    /// Reads the tables, the virtual servers and the addresses.
    pub fn observe(&mut self) -> Result<(), Error> {
        self.tables.observe()?;
        let recorded = self.tables.observed().into_iter().flat_map(handover::recorded);
        let recorded = recorded.map(|(protocol, at)| Identity::at(protocol, at)).collect();
        self.known = Known::Observed(Box::new(self.kernel.observe()?), recorded);
        self.glances = Remembered::default();
        Ok(())
    }

    /// Whether tables, the device and a virtual server, another one each time, are still there. Costs the same whatever is
    /// programmed. While nothing is, or it is not known what, nothing is missed.
    pub fn glance(&mut self) -> Result<Option<Loss>, Error> {
        let Known::Programmed(programmed) = &self.known else { return Ok(None) };
        if let Some(loss) = Loss::of_tables(self.tables.glance()?) {
            return Ok(Some(loss));
        }
        if programmed.has_addresses() && !self.glances.is_device(self.kernel.device_index()?) {
            return Ok(Some(Loss::Device));
        }
        // What was refused is not there, and is tried again anyway.
        let next = programmed.server_after(self.glances.asked.as_ref()).filter(|_| self.retry.at.is_none());
        let Some((_, identity)) = next else { return Ok(None) };
        self.glances.asked = next;
        Ok((!self.kernel.has(&identity)?).then_some(Loss::Server(identity)))
    }

    /// What separates the kernel from the plan. Pure. `changed` and `node` are an upper bound of what differs from the plan
    /// applied last; after [`Mode::observe`] everything is looked at. Drains that begin do so now.
    pub fn difference(
        &self,
        plan: &Plan,
        changed: &BTreeSet<ObjectName>,
        node: bool,
        now: Instant,
    ) -> Difference {
        let (settings, draining) = (&self.settings, &self.draining);
        let from = |kernel: &Observed, recorded: &BTreeSet<Identity>| {
            let seen = Seen { kernel, recorded };
            programmed::from_observed(seen, plan, &self.schedulers, settings, draining, now)
        };
        let servers = match &self.known {
            Known::Nothing => from(&Observed::default(), &BTreeSet::new()),
            Known::Observed(observed, recorded) => from(observed, recorded),
            Known::Programmed(programmed) => programmed.difference(plan, changed, settings, draining, now),
        };
        Difference { servers, tables: self.tables.difference(plan, changed, node), now }
    }

    /// Carries a difference out, in order. After an error nothing is known any more.
    pub fn apply(&mut self, difference: Difference) -> Result<Applied, Error> {
        let now = difference.now;
        let known = std::mem::replace(&mut self.known, Known::Nothing);
        let sent = self.kernel.sent();
        let carried = self.carry(difference.tables, &difference.servers);
        // Drains have begun, whatever else went wrong.
        for (identity, real, change) in &difference.servers.drains {
            self.draining.take(identity, *real, *change, now);
        }
        let (mut applied, carried) = carried.inspect_err(|_| self.tables.forget())?;
        self.forget_deleted(&difference.servers);
        self.schedulers.unavailable.extend(carried.lacking);
        if carried.failed.iter().any(Failed::is_surprise) {
            self.tables.forget();
            return Err(Error::Surprised(carried.failed));
        }
        self.retry.after(&carried.failed, matches!(known, Known::Observed(..)), now);
        applied.refused = carried.failed;
        let from = match known {
            Known::Programmed(programmed) => Some(*programmed),
            Known::Nothing | Known::Observed(..) => None,
        };
        applied.lacking = self.schedulers.lacking(difference.servers.services());
        let mut programmed = difference.servers.into_programmed(from);
        // The kernel has what took the place of schedulers that it lacks.
        programmed.context.schedulers = self.schedulers.clone();
        self.known = Known::Programmed(Box::new(programmed));
        applied.operations += self.tend(now)?.operations;
        applied.requests = self.kernel.sent() - sent;
        Ok(applied)
    }

    fn carry(
        &mut self,
        mut tables: TablesDifference,
        servers: &programmed::Difference,
    ) -> Result<(Applied, Carried), Error> {
        let mut carried = Carried::new(self.schedulers.clone());
        carry_out(&mut self.kernel, &servers.steps.before, &mut carried)?;
        let claims = std::mem::take(&mut tables.claims);
        let done = self.tables.apply(tables)?;
        carry_out(&mut self.kernel, &servers.steps.after, &mut carried)?;
        // Not before all are there that can be: others may still serve what is theirs.
        let is_ready = !carried.failed.iter().any(Failed::is_surprise);
        let claimed =
            if is_ready { self.tables.claim(&claims)? } else { kubeweir_nftables::Applied::default() };
        let operations = done.operations + claimed.operations + servers.steps.count();
        let batches = done.batches + claimed.batches;
        Ok((Applied { operations, batches, ..Applied::default() }, carried))
    }

    fn forget_deleted(&mut self, servers: &programmed::Difference) {
        for step in &servers.steps.before {
            if let crate::steps::Change::Server(Request::DeleteServer(identity)) = &step.change {
                self.draining.forget(identity);
            }
        }
    }

    /// When [`Mode::tend`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.is_known().then(|| [self.draining.due(), self.retry.at].into_iter().flatten().min()).flatten()
    }

    /// How many real servers drain.
    pub fn draining(&self) -> usize {
        self.draining.count()
    }

    /// Looks at the real servers that drain and are due, and deletes those that are done. After an error nothing is known any
    /// more.
    pub fn tend(&mut self, now: Instant) -> Result<Applied, Error> {
        if self.retry.at.is_some_and(|at| at <= now) {
            self.forget();
            return Ok(Applied::default());
        }
        let sent = self.kernel.sent();
        match self.delete_drained(now) {
            Ok(operations) => {
                let requests = self.kernel.sent() - sent;
                Ok(Applied { operations, requests, ..Applied::default() })
            }
            Err(error) => {
                self.known = Known::Nothing;
                Err(error.into())
            }
        }
    }

    fn delete_drained(&mut self, now: Instant) -> Result<usize, kubeweir_netlink::Error> {
        let mut over: Vec<(Identity, SocketAddr)> = Vec::new();
        for identity in self.draining.ripe(now) {
            let connections = self.kernel.connections(&identity)?;
            let gone = self.draining.judge(&identity, &connections, now);
            over.extend(gone.into_iter().map(|real| (identity, real)));
        }
        let requests: Vec<Request> =
            over.iter().map(|(identity, real)| Request::DeleteReal(*identity, *real)).collect();
        // Whether it was there or not: it is gone now.
        self.kernel.execute(&requests)?;
        for (identity, real) in &over {
            self.draining.take(identity, *real, Change::Over, now);
        }
        Ok(over.len())
    }
}

impl Retry {
    /// A pass refused this. One that looked at everything and met no refusal has nothing left to be tried.
    fn after(&mut self, failed: &[Failed], whole: bool, now: Instant) {
        if !failed.is_empty() {
            let at = now + self.pause;
            self.at = Some(self.at.map_or(at, |earlier| earlier.min(at)));
            self.pause = if whole { (self.pause * 2).min(PAUSES[1]) } else { self.pause };
        } else if whole {
            *self = Retry { at: None, pause: PAUSES[0] };
        }
    }
}

/// The first few of what was refused.
fn list(failed: &[Failed]) -> String {
    const FEW: usize = 3;
    let shown: Vec<String> = failed.iter().take(FEW).map(ToString::to_string).collect();
    let more = failed.len().saturating_sub(FEW);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join("; "))
}
