//! Requests to the API server, counted on their way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::{Request, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tower::{Layer, Service};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    code: String,
    method: String,
    host: Arc<str>,
}

/// Counts requests by the status of their answers. Cheap to clone. A watch is counted when it begins. What the client repeats
/// by itself after an answer of 5xx is one request, with the last answer.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    answers: Family<Kind, Counter>,
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
    }

    /// Counts those to a server: requests themselves do not name it as yet.
    pub fn to(&self, host: &str) -> Counting {
        Counting { requests: self.clone(), host: host.into() }
    }
}

impl Counting {
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
        let answer = self.client.call(request);
        Box::pin(async move {
            let answer = answer.await;
            // As client-go has it where there is no answer.
            let code =
                answer.as_ref().map_or_else(|_| "<error>".to_owned(), |a| a.status().as_u16().to_string());
            counting.answered(code, method);
            answer
        })
    }
}
