//! Plain HTTP for probes, metrics, and whoever wants to know what this process is and does.

mod accept;
mod listener;
mod ping;
mod reply;
pub mod version;
mod zpages;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hyper::header::ACCEPT;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};

use crate::Event;
use crate::counters::{self, Counters, Reading};
use crate::health::{Answer, Health};
use crate::metrics::{Checks, Metrics};
use crate::question::{Asked, Question};
use crate::settings::ProxyMode;
use crate::shown::Shown;
use crate::state;

pub use listener::BindError;
use reply::{JSON, Reply, TEXT, json, not_found, reply, text};
use version::Info;

/// Paths of the metrics port that are worth a look.
const PATHS: [&str; 10] = [
    "/configz",
    "/explain",
    "/flagz",
    "/healthz",
    "/metrics",
    "/metrics/slis",
    "/proxyMode",
    "/state",
    "/statusz",
    "/version",
];

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
    /// The configuration in effect.
    pub shown: watch::Receiver<Arc<Shown>>,
    /// Checks of the metrics port itself.
    pub checks: Checks,
}

/// What is asked: no page reads a body, and most answer every method alike.
pub(crate) struct Asking(Parts);

impl Asking {
    pub(crate) fn path(&self) -> &str {
        self.0.uri.path()
    }

    pub(crate) fn query(&self) -> &str {
        self.0.uri.query().unwrap_or_default()
    }

    /// All that the client accepts, on one line.
    pub(crate) fn accepted(&self) -> String {
        let values = self.0.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        values.collect::<Vec<_>>().join(",")
    }
}

impl Pages {
    /// Serves `/healthz` and `/livez` for ever; without an address nothing, for ever.
    pub async fn serve_health(
        self,
        address: impl Into<Option<SocketAddr>>,
        hard_fail: bool,
    ) -> Result<Infallible, BindError> {
        listener::serve(address.into(), hard_fail, self, Pages::health_page).await
    }

    /// Serves metrics and all other pages for ever; without an address nothing, for ever.
    pub async fn serve_metrics(
        self,
        address: impl Into<Option<SocketAddr>>,
        hard_fail: bool,
    ) -> Result<Infallible, BindError> {
        listener::serve(address.into(), hard_fail, self, Pages::metrics_page).await
    }

    #[expect(clippy::unused_async, reason = "pages are asked for alike, and others wait")]
    async fn health_page(self, asking: Asking) -> Reply {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let health = self.health.borrow().clone();
        match asking.path() {
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

    async fn metrics_page(self, asking: Asking) -> Reply {
        match asking.path() {
            "/metrics" => self.all_metrics(&asking).await,
            "/metrics/slis" => self.indicators(&asking),
            "/healthz" => ping::all(&self.checks, asking.query()),
            "/healthz/ping" => ping::one(),
            "/proxyMode" => text(self.mode.to_string()),
            "/configz" => zpages::configz(&self.shown.borrow()),
            "/flagz" => zpages::flagz(&self.shown.borrow(), &asking.accepted()),
            "/statusz" => zpages::statusz(&PATHS, &asking.accepted()),
            "/version" => json(StatusCode::OK, &Info::ours()),
            "/state" => {
                let (status, text) = state::page::page(asking.query(), &self.events).await;
                reply(status, JSON, text)
            }
            "/explain" => self.explanation(asking.query()).await,
            _ => not_found(),
        }
    }

    async fn all_metrics(&self, asking: &Asking) -> Reply {
        let reading = match &self.counters {
            Some(counters) => counters.read().await,
            None => None,
        };
        exposition(&self.registry, reading.as_ref(), asking)
    }

    fn indicators(&self, asking: &Asking) -> Reply {
        if asking.0.method == Method::DELETE {
            self.checks.reset();
            return text("metrics reset\n".to_owned());
        }
        exposition(self.checks.registry(), None, asking)
    }

    async fn explanation(self, query: &str) -> Reply {
        let question = match Question::from_query(query) {
            Ok(question) => question,
            Err(complaint) => return reply(StatusCode::BAD_REQUEST, TEXT, format!("{complaint}\n")),
        };
        let (answer, answered) = oneshot::channel();
        let asked = self.events.send(Event::Explain(Box::new(Asked { question, answer }))).await;
        match (asked, answered.await) {
            (Ok(()), Ok(Some(answer))) => text(answer),
            _ => reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, "there is no plan yet\n".to_owned()),
        }
    }
}

fn exposition(registry: &Registry, counted: Option<&Reading>, asking: &Asking) -> Reply {
    let format = accept::format(&asking.accepted());
    match format.encode(registry) {
        Ok(mut page) => {
            if let Some(reading) = counted {
                counters::append(&mut page, reading);
            }
            reply(StatusCode::OK, format.content_type(), page)
        }
        Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
    }
}

fn probe_reply(answer: Answer) -> Reply {
    reply(StatusCode::from_u16(answer.code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE), JSON, answer.body)
}
