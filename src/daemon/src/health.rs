//! Health: what `/healthz` and `/livez` say, and why.
//!
//! `/livez` is about this process: it fails when a change has been waiting to be programmed for twice the sync period, the
//! very first one included. It does not fail for what the API server does not say: to start this process again would not
//! make the lists come, and the rules that are in force serve on meanwhile.
//!
//! `/healthz` is for load balancers: it fails also as long as this process has not brought anything into force yet, be it
//! that lists have not come or that the first passes failed, and when the node is about to go or does not exist.

use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::core::Standing;

/// The time that Go has for none.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What the loop last published.
#[derive(Clone, Debug)]
pub struct Health {
    /// When a sync last succeeded; `None` before the first.
    pub last_sync: Option<SystemTime>,
    /// How things stand.
    pub standing: Standing,
    /// How long a change may wait.
    pub patience: Duration,
}

/// An answer to a probe.
#[derive(Debug, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub code: u16,
    /// JSON, in kube-proxy's shape.
    pub body: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    last_updated: String,
    current_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Families>,
}

#[derive(Serialize)]
struct Families {
    #[serde(rename = "IPv4")]
    v4: FamilyStatus,
    #[serde(rename = "IPv6")]
    v6: FamilyStatus,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyStatus {
    last_updated: String,
    healthy: bool,
}

impl Health {
    /// Whether changes become programmed in time, in all families: they are programmed together.
    pub fn is_live(&self, now: Instant) -> bool {
        let waited = self.standing.waiting_since.map(|since| now.saturating_duration_since(since));
        waited.is_none_or(|waited| waited < 2 * self.patience)
    }

    /// The answer of `/livez`.
    pub fn livez(&self, now: Instant, clock: SystemTime) -> Answer {
        self.answer(self.is_live(now), None, now, clock)
    }

    /// The answer of `/healthz`.
    pub fn healthz(&self, now: Instant, clock: SystemTime) -> Answer {
        let eligible = self.standing.eligible && self.last_sync.is_some();
        self.answer(self.is_live(now) && eligible, Some(eligible), now, clock)
    }

    /// Families have a status from the first list of everything on. A good answer says that it was updated now, as older load balancers expect.
    fn answer(&self, good: bool, node_eligible: Option<bool>, now: Instant, clock: SystemTime) -> Answer {
        let last = self.last_sync.map_or_else(|| NEVER.to_owned(), timestamp);
        let family = FamilyStatus { last_updated: last.clone(), healthy: self.is_live(now) };
        let is_known = self.last_sync.is_some() || self.standing.waiting_since.is_some();
        let body = Body {
            last_updated: if good { timestamp(clock) } else { last },
            current_time: timestamp(clock),
            node_eligible,
            healthy: self.is_live(now),
            status: is_known.then(|| Families { v4: family.clone(), v6: family }),
        };
        let body = serde_json::to_string(&body).unwrap_or_default();
        Answer { code: if good { 200 } else { 503 }, body }
    }
}

fn timestamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map(|time| time.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Counts;

    fn health(waiting: Option<Instant>, eligible: bool) -> Health {
        let standing =
            Standing { waiting_since: waiting, awaited: vec![], eligible, pending: Counts::default() };
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        Health { last_sync: Some(at), standing, patience: Duration::from_secs(30) }
    }

    #[test]
    fn a_change_that_waits_too_long_is_unhealthy_and_an_unwanted_node_is_only_ineligible() {
        let (start, clock) = (Instant::now(), SystemTime::now());
        let codes = |health: &Health, now| (health.livez(now, clock).code, health.healthz(now, clock).code);
        let soon = start + Duration::from_secs(59);
        let late = start + Duration::from_secs(60);
        assert_eq!(codes(&health(None, true), late), (200, 200));
        assert_eq!(codes(&health(Some(start), true), soon), (200, 200));
        assert_eq!(codes(&health(Some(start), true), late), (503, 503));
        assert_eq!(codes(&health(None, false), late), (200, 503));
    }

    #[test]
    fn bodies_have_the_shape_of_kube_proxy() {
        let clock = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_100);
        let (good, bad) = (health(None, true), health(None, false));
        let now = Instant::now();
        let families = "{\"IPv4\":{\"lastUpdated\":\"2026-01-02T03:04:05Z\",\"healthy\":true},\
            \"IPv6\":{\"lastUpdated\":\"2026-01-02T03:04:05Z\",\"healthy\":true}}";
        let body = |updated: &str, eligible: &str| {
            format!(
                "{{\"lastUpdated\":\"{updated}\",\"currentTime\":\"2026-01-02T03:05:00Z\",{eligible}\"healthy\":true,\"status\":{families}}}"
            )
        };
        assert_eq!(good.livez(now, clock).body, body("2026-01-02T03:05:00Z", ""));
        assert_eq!(good.healthz(now, clock).body, body("2026-01-02T03:05:00Z", "\"nodeEligible\":true,"));
        assert_eq!(bad.healthz(now, clock).body, body("2026-01-02T03:04:05Z", "\"nodeEligible\":false,"));
    }

    #[test]
    fn before_the_first_success_no_balancer_may_send_anything_and_no_family_was_ever_updated() {
        let (start, clock) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_100));
        let nothing_known = Health { last_sync: None, ..health(None, false) };
        let tail = "\"currentTime\":\"2026-01-02T03:05:00Z\"";
        let never = |rest: &str| format!("{{\"lastUpdated\":\"{NEVER}\",{tail},{rest}}}");
        let answer = |code, body| Answer { code, body };
        let ineligible = answer(503, never("\"nodeEligible\":false,\"healthy\":true"));
        assert_eq!(nothing_known.healthz(start, clock), ineligible);
        let alive = format!("{{\"lastUpdated\":\"2026-01-02T03:05:00Z\",{tail},\"healthy\":true}}");
        assert_eq!(nothing_known.livez(start, clock), answer(200, alive));
        let failing = Health { last_sync: None, ..health(Some(start), true) };
        assert_eq!((failing.livez(start, clock).code, failing.healthz(start, clock).code), (200, 503));
        let family = format!("{{\"lastUpdated\":\"{NEVER}\",\"healthy\":false}}");
        let status = format!("\"healthy\":false,\"status\":{{\"IPv4\":{family},\"IPv6\":{family}}}");
        assert_eq!(failing.livez(start + Duration::from_secs(60), clock), answer(503, never(&status)));
    }
}
