//! Checks of tracked flows: what waits, what is under way, and when the next is due. Time is an argument.

use std::time::{Duration, Instant};

use kubeweir_plan::FlowCheck;

use crate::pace::Pace;

/// Shortest pause between checks. Each makes the kernel walk its whole table (some 0.3 µs a flow), so changes that come in
/// quick succession share one.
const SHORTEST: Duration = Duration::from_millis(100);

/// One check is under way at a time; what comes meanwhile waits and is merged.
#[derive(Debug)]
pub(crate) struct Checks {
    waiting: Option<FlowCheck>,
    under_way: bool,
    pace: Pace,
}

impl Checks {
    /// With the longest pause before a failed check is repeated.
    pub(crate) fn new(longest_retry: Duration) -> Checks {
        Checks { waiting: None, under_way: false, pace: Pace::new(SHORTEST, longest_retry) }
    }

    /// Changes the longest pause before a failed check is repeated.
    pub(crate) fn set_pause(&mut self, longest_retry: Duration) {
        self.pace.set(SHORTEST, longest_retry);
    }

    /// Adds what the plan that is now in force asks for. Kept even if it asks for nothing, as long as a check under way may fail and
    /// come back: it may be out of date then.
    pub(crate) fn add(&mut self, newer: FlowCheck) {
        match &mut self.waiting {
            Some(older) => older.merge(newer),
            None => self.waiting = Some(newer),
        }
    }

    /// When [`Checks::take`] would have something.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let ready = !self.under_way && self.waiting.as_ref().is_some_and(|check| !check.is_empty());
        ready.then(|| self.pace.due(true, now)).flatten()
    }

    /// The check to carry out now, if one is due.
    pub(crate) fn take(&mut self, now: Instant) -> Option<FlowCheck> {
        self.due(now).filter(|due| *due <= now)?;
        self.under_way = true;
        self.waiting.take()
    }

    /// The check under way ended. A failed one waits again, below what has come since.
    pub(crate) fn finished(&mut self, outcome: Result<(), Box<FlowCheck>>, now: Instant) {
        self.under_way = false;
        self.pace.finished(outcome.is_ok(), false, now);
        if let Err(mut failed) = outcome {
            if let Some(newer) = self.waiting.take() {
                failed.merge(newer);
            }
            self.waiting = Some(*failed);
        }
    }
}
