//! When to act: at once, but not too often; again after a failure, with growing pauses; and once in a while to make
//! sure. Time is an argument.

use std::time::{Duration, Instant};

/// Shortest pause after a failure; doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// How often everything is read again and compared although nothing is known to have changed.
const AUDIT: Duration = Duration::from_secs(3600);

/// Decides when the next pass is due.
#[derive(Clone, Debug)]
pub struct Pace {
    shortest: Duration,
    longest_retry: Duration,
    last: Option<Instant>,
    audited: Option<Instant>,
    failures: u32,
}

impl Pace {
    /// With the shortest pause between passes and the longest one before a retry.
    pub fn new(shortest: Duration, longest_retry: Duration) -> Pace {
        Pace { shortest, longest_retry, last: None, audited: None, failures: 0 }
    }

    /// Changes the pauses; what is under way goes on.
    pub fn set(&mut self, shortest: Duration, longest_retry: Duration) {
        (self.shortest, self.longest_retry) = (shortest, longest_retry);
    }

    /// The longest pause before a retry.
    pub fn longest_retry(&self) -> Duration {
        self.longest_retry
    }

    /// When the next pass is due, given whether anything waits to be done. `None` is not before something happens.
    pub fn due(&self, waiting: bool, now: Instant) -> Option<Instant> {
        let Some(last) = self.last else { return waiting.then_some(now) };
        if self.failures > 0 {
            return Some(last + self.shortest.max(self.retry_pause()));
        }
        if waiting {
            return Some(last + self.shortest);
        }
        self.audited.map(|audited| audited + AUDIT)
    }

    /// Whether it is time to read everything again.
    pub fn audit_due(&self, now: Instant) -> bool {
        self.audited.is_some_and(|audited| now >= audited + AUDIT)
    }

    /// A pass ended. `whole` if it read everything.
    pub fn finished(&mut self, succeeded: bool, whole: bool, now: Instant) {
        self.last = Some(now);
        self.failures = if succeeded { 0 } else { self.failures.saturating_add(1) };
        if succeeded && whole {
            self.audited = Some(now);
        }
    }

    fn retry_pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        (FIRST_RETRY * 2_u32.pow(doublings)).min(self.longest_retry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace() -> (Pace, Instant) {
        (Pace::new(SECOND, 30 * SECOND), Instant::now())
    }

    #[test]
    fn the_first_pass_is_at_once_and_the_next_not_before_the_pause() {
        let (mut pace, start) = pace();
        assert_eq!(pace.due(false, start), None);
        assert_eq!(pace.due(true, start), Some(start));
        pace.finished(true, true, start);
        assert_eq!(pace.due(true, start), Some(start + SECOND));
        assert_eq!(pace.due(false, start), Some(start + AUDIT));
    }

    #[test]
    fn failures_are_retried_even_if_nothing_else_happens_and_ever_later() {
        let (mut pace, start) = pace();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            pace.finished(false, true, start);
            pauses.push(pace.due(false, start).unwrap() - start);
        }
        assert!(pauses.is_sorted());
        assert_eq!((pauses[0], pauses[11]), (SECOND, 30 * SECOND));
        pace.finished(true, true, start);
        assert_eq!(pace.due(false, start), Some(start + AUDIT));
    }

    #[test]
    fn an_audit_comes_an_hour_after_the_last_full_pass() {
        let (mut pace, start) = pace();
        pace.finished(true, true, start);
        pace.finished(true, false, start + SECOND);
        assert!(!pace.audit_due(start + AUDIT / 2));
        assert!(pace.audit_due(start + AUDIT));
    }
}
