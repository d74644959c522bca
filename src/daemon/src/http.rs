//! Plain HTTP for probes and metrics.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info};

use crate::Event;
use crate::counters::{self, Counters};
use crate::health::{Answer, Health};
use crate::metrics::Metrics;
use crate::question::{Asked, Question};
use crate::settings::ProxyMode;
use crate::state;

/// How long to wait before an address is tried again.
const RETRY: Duration = Duration::from_secs(5);
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the servers show. Cheap to clone.
#[derive(Clone)]
pub struct Pages {
    /// What the loop published last.
    pub health: watch::Receiver<Health>,
    /// All metrics.
    pub registry: Arc<Registry>,
    /// For counting probes.
    pub metrics: Metrics,
    /// The mode in force.
    pub mode: ProxyMode,
    /// What Services count, if they do.
    pub counters: Option<Counters>,
    /// For questions to the loop.
    pub events: mpsc::Sender<Event>,
}

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub source: std::io::Error,
}

type Reply = Response<Full<Bytes>>;

impl Pages {
    /// Serves `/healthz` and `/livez` for ever.
    pub async fn serve_health(self, address: SocketAddr, hard_fail: bool) -> Result<Infallible, BindError> {
        serve(address, hard_fail, self, Pages::health_page).await
    }

    /// Serves `/metrics`, `/proxyMode`, `/explain`, `/state` and a trivial `/healthz` for ever.
    pub async fn serve_metrics(self, address: SocketAddr, hard_fail: bool) -> Result<Infallible, BindError> {
        serve(address, hard_fail, self, Pages::metrics_page).await
    }

    #[expect(clippy::unused_async, reason = "pages are asked for alike, and others wait")]
    async fn health_page(self, uri: Uri) -> Reply {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let health = self.health.borrow().clone();
        match uri.path() {
            "/healthz" => {
                let answer = health.healthz(now, clock);
                self.metrics.healthz_answered(answer.code);
                probe_reply(answer)
            }
            "/livez" => {
                let answer = health.livez(now, clock);
                self.metrics.livez_answered(answer.code);
                probe_reply(answer)
            }
            _ => not_found(),
        }
    }

    async fn metrics_page(self, uri: Uri) -> Reply {
        match uri.path() {
            "/metrics" => self.metrics_text().await,
            "/proxyMode" => reply(StatusCode::OK, TEXT, self.mode.to_string()),
            "/healthz" => reply(StatusCode::OK, TEXT, "ok".to_owned()),
            "/state" => {
                let (status, text) = state::page::page(uri.query().unwrap_or_default(), &self.events).await;
                reply(status, JSON, text)
            }
            "/explain" => self.explanation(uri.query().unwrap_or_default()).await,
            _ => not_found(),
        }
    }

    async fn metrics_text(self) -> Reply {
        let mut text = String::new();
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            return reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string());
        }
        if let Some(counters) = &self.counters
            && let Some(reading) = counters.read().await
        {
            counters::append(&mut text, &reading);
        }
        reply(StatusCode::OK, OPEN_METRICS, text)
    }

    async fn explanation(self, query: &str) -> Reply {
        let question = match Question::from_query(query) {
            Ok(question) => question,
            Err(complaint) => return reply(StatusCode::BAD_REQUEST, TEXT, format!("{complaint}\n")),
        };
        let (answer, answered) = oneshot::channel();
        let asked = self.events.send(Event::Explain(Box::new(Asked { question, answer }))).await;
        match (asked, answered.await) {
            (Ok(()), Ok(Some(text))) => reply(StatusCode::OK, TEXT, text),
            _ => reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, "there is no plan yet\n".to_owned()),
        }
    }
}

fn probe_reply(answer: Answer) -> Reply {
    reply(StatusCode::from_u16(answer.code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE), JSON, answer.body)
}

fn not_found() -> Reply {
    reply(StatusCode::NOT_FOUND, TEXT, "404 page not found\n".to_owned())
}

fn reply(status: StatusCode, kind: &'static str, body: String) -> Reply {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Listens, again and again if need be.
async fn serve<P, F>(
    address: SocketAddr,
    hard_fail: bool,
    pages: Pages,
    page: P,
) -> Result<Infallible, BindError>
where
    P: Fn(Pages, Uri) -> F + Copy + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                info!(%address, "listening");
                accept(&listener, &pages, page).await;
            }
            Err(source) if hard_fail => return Err(BindError { address, source }),
            Err(source) => error!(%address, error = %source, "cannot listen, will be retried"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn accept<P, F>(listener: &TcpListener, pages: &Pages, page: P)
where
    P: Fn(Pages, Uri) -> F + Copy + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                error!(%error, "cannot accept");
                return;
            }
        };
        let pages = pages.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let reply = page(pages.clone(), request.uri().clone());
                async move { Ok::<_, Infallible>(reply.await) }
            });
            if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await {
                debug!(%error, "connection ended");
            }
        });
    }
}
