//! Requests to the API server, counted.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    code: String,
    method: String,
    host: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Timed {
    verb: String,
    host: Arc<str>,
}

/// Upper bounds in seconds (`k8s.io/component-base/metrics/prometheus/restclient`).
const BUCKETS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

/// Counts requests by the status of their answers, and how long these take to begin. Cheap to clone. A watch is counted when it
/// begins.
#[derive(Clone, Debug)]
pub struct Requests {
    answers: Family<Kind, Counter>,
    durations: Family<Timed, Histogram>,
}

impl Default for Requests {
    fn default() -> Requests {
        let durations = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        Requests { answers: Family::default(), durations }
    }
}

/// Counts the requests to one server.
#[derive(Clone, Debug)]
pub struct Counting {
    requests: Requests,
    host: Arc<str>,
}

impl Requests {
    /// Registers the counter.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests to the API server, by status code, method and host";
        registry.register("rest_client_requests", help, self.answers.clone());
        let help = "Seconds until the API server answered, by verb and host; without watches";
        registry.register("rest_client_request_duration_seconds", help, self.durations.clone());
    }

    /// Counts those to a server: requests themselves do not name it as yet.
    pub fn to(&self, host: &str) -> Counting {
        Counting { requests: self.clone(), host: host.into() }
    }
}

impl Counting {
    /// An answer of this status, or none, began so long after the request; nothing is said of how long it takes watches.
    pub fn answered(&self, method: &str, status: Option<u16>, took: Option<Duration>) {
        // As client-go has it where there is no answer.
        let code = status.map_or_else(|| "<error>".to_owned(), |status| status.to_string());
        let kind = Kind { code, method: method.to_owned(), host: Arc::clone(&self.host) };
        self.requests.answers.get_or_create(&kind).inc();
        if let Some(took) = took {
            let timed = Timed { verb: method.to_owned(), host: Arc::clone(&self.host) };
            self.requests.durations.get_or_create(&timed).observe(took.as_secs_f64());
        }
    }
}
