//! What is done about each request to the API server on its way: it is counted, and a server in trouble is said.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::{Request, Response, StatusCode, Uri};
use tower::{Layer, Service};
use tracing::warn;

use crate::metrics::Counting;

/// What the client repeats by itself after an answer of 429 or 5xx is an attempt each time, as in client-go: nobody else hears
/// of it.
#[derive(Clone, Debug)]
pub(super) struct Attempts(pub(super) Counting);

/// A client whose attempts are looked at.
#[derive(Clone, Debug)]
pub(super) struct Observed<S> {
    client: S,
    counting: Counting,
}

impl<S> Layer<S> for Attempts {
    type Service = Observed<S>;

    fn layer(&self, client: S) -> Observed<S> {
        Observed { client, counting: self.0.clone() }
    }
}

impl<S, A, B> Service<Request<A>> for Observed<S>
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
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let begun = Instant::now();
        let answer = self.client.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let status = answer.as_ref().ok().map(Response::status);
            let took = (!is_watch(&uri)).then(|| begun.elapsed());
            counting.answered(method.as_str(), status.map(|status| status.as_u16()), took);
            if let Some(status) = status.filter(|status| is_trouble(*status)) {
                warn!(%status, path = uri.path(), "the API server is in trouble, and will be asked again");
            }
            answer
        })
    }
}

fn is_trouble(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
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
