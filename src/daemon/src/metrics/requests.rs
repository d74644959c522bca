//! Requests to the API server, counted on their way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::{Request, Response, StatusCode, Uri};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tower::{Layer, Service};
use tracing::warn;

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

/// Counts requests by the status of their answers, and times those that are no watches until their answer begins. Cheap to
/// clone. A watch is counted when it begins. What the client repeats by itself after an answer of 429 or 5xx is a request each
/// time, as in client-go, and said: nobody else hears of it.
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

/// A client whose requests are counted.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    client: S,
    counting: Counting,
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
    fn took(&self, verb: String, time: Duration) {
        let timed = Timed { verb, host: Arc::clone(&self.host) };
        self.requests.durations.get_or_create(&timed).observe(time.as_secs_f64());
    }

    fn answered(&self, code: String, method: String) {
        let kind = Kind { code, method, host: Arc::clone(&self.host) };
        self.requests.answers.get_or_create(&kind).inc();
    }
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, client: S) -> Counted<S> {
        Counted { client, counting: self.clone() }
    }
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.client.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let counting = self.counting.clone();
        let method = request.method().to_string();
        let timed = (!is_watch(request.uri())).then(Instant::now);
        let path = request.uri().path().to_owned();
        let answer = self.client.call(request);
        Box::pin(async move {
            let answer = answer.await;
            // As client-go has it where there is no answer.
            let code =
                answer.as_ref().map_or_else(|_| "<error>".to_owned(), |a| a.status().as_u16().to_string());
            if let Some(begun) = timed {
                counting.took(method.clone(), begun.elapsed());
            }
            if let Ok(answer) = &answer {
                tell_trouble(answer.status(), &path);
            }
            counting.answered(code, method);
            answer
        })
    }
}

fn tell_trouble(status: StatusCode, path: &str) {
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        warn!(%status, path, "the API server is in trouble, and will be asked again");
    }
}

/// Its answer begins at once and ends whenever.
fn is_watch(uri: &Uri) -> bool {
    uri.query()
        .is_some_and(|query| query.split('&').any(|part| part.starts_with("watch=") && part != "watch=false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_are_told_from_other_requests() {
        for (uri, watch) in [
            ("/api/v1/services?watch=true&allowWatchBookmarks=true", true),
            ("/api/v1/services?limit=500&watch=1", true),
            ("/api/v1/services?watch=false", false),
            ("/api/v1/watchers?limit=500", false),
            ("/api/v1/services", false),
        ] {
            assert_eq!(is_watch(&uri.parse().unwrap()), watch, "{uri}");
        }
    }
}
