//! Health: what `/healthz` and `/livez` say, and why.
//!
//! `/livez` is about this process: it fails when a change has been waiting to be programmed for twice the sync period.
//! `/healthz` is for load balancers: it fails also when the node is about to go or not known yet.

use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::core::Standing;

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
    /// Whether changes become programmed in time.
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
        let eligible = self.standing.eligible;
        self.answer(self.is_live(now) && eligible, Some(eligible), now, clock)
    }

    /// A good answer says that it was updated now, as older load balancers expect.
    fn answer(&self, good: bool, node_eligible: Option<bool>, now: Instant, clock: SystemTime) -> Answer {
        let last = self.last_sync.unwrap_or(SystemTime::UNIX_EPOCH);
        let family = FamilyStatus { last_updated: timestamp(last), healthy: self.is_live(now) };
        let body = Body {
            last_updated: timestamp(if good { clock } else { last }),
            current_time: timestamp(clock),
            node_eligible,
            healthy: self.is_live(now),
            status: self.last_sync.map(|_| Families { v4: family.clone(), v6: family }),
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
}
