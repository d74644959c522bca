//! The API server as a source.
//!
//! One watch for each kind, with the selectors of kube-proxy, so that a `ClusterRole` made for kube-proxy is enough. Initial
//! lists are streamed where the server offers that. Errors are logged and retried with growing delays for ever; what
//! was delivered before stays in force meanwhile. ServiceCIDRs are done without where the server does not offer or grant them.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config as WatchConfig, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use kubeweir_plan::ObjectName;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;
use tracing::{debug, info, warn};

use crate::convert::{self, Converted, HEADLESS, SERVICE_PROXY_NAME, Strings};
use crate::event::{Event, Kind};
use crate::version::Version;

/// How long to wait before asking again for a kind that the server does not offer: at first, then twice as long each time, and
/// at most. Rights are often granted soon after the proxy has come; a server is not upgraded that often.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(600);
/// How long the server may take to tell its version, which nothing depends on but how lists are asked for.
const VERSION_PATIENCE: Duration = Duration::from_secs(10);
/// The first minor version of Kubernetes 1 that refuses a streaming list it does not support instead of
/// starting one that never says that it is complete.
const STREAMING_MINOR: u32 = 27;

/// What to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Name of the node we are on.
    pub node: Arc<str>,
    /// Whether to watch all Nodes, for their addresses. Otherwise only the Node we are on is watched.
    pub all_nodes: bool,
}

/// Watches everything until the receiver is gone.
pub async fn watch(client: Client, options: Options, events: Sender<Event>) {
    let streaming = may_stream(&client, VERSION_PATIENCE).await;
    let watch = |labels: &str, fields: &str| {
        let mut config = WatchConfig::default();
        if !labels.is_empty() {
            config = config.labels(labels);
        }
        if !fields.is_empty() {
            config = config.fields(fields);
        }
        Watch { config, streaming, events: events.clone() }
    };
    let services = watch(&format!("!{SERVICE_PROXY_NAME}"), "spec.clusterIP!=None");
    let slices = watch(&format!("!{HEADLESS}"), "");
    let this_node = format!("metadata.name={}", options.node);
    let nodes = watch("", if options.all_nodes { "" } else { &this_node });
    let cidrs = watch("", "");
    futures::join!(
        services.run(Kind::Service, Api::all(client.clone()), of_service(Strings::default())),
        slices.run(Kind::EndpointSlice, Api::all(client.clone()), of_slice(Strings::default())),
        nodes.run(Kind::Node, Api::all(client.clone()), of_node(options.node)),
        cidrs.run(Kind::ServiceCidr, Api::all(client.clone()), of_service_cidr),
    );
}

/// Whether streaming lists can be asked for. A server that has them switched off refuses, and we fall back then.
async fn may_stream(client: &Client, patience: Duration) -> bool {
    // Watches have no limit of this kind: theirs is that of the connection.
    let asked = tokio::time::timeout(patience, client.apiserver_version());
    let Ok(Ok(version)) = asked.await else { return false };
    let minor = version.minor.trim_end_matches(|c: char| !c.is_ascii_digit());
    info!(server = version.git_version, "API server answers");
    minor.parse().is_ok_and(|minor: u32| minor >= STREAMING_MINOR)
}

/// One kind's watch.
struct Watch {
    config: WatchConfig,
    streaming: bool,
    events: Sender<Event>,
}

/// What has come of a watch so far.
#[derive(Default)]
struct Progress {
    /// Whether there was a list, perhaps one of nothing.
    listed: bool,
    /// How long was waited last since the server does not offer the kind; nothing if it does.
    waited: Option<Duration>,
    /// Since when there are lists again, after there were none.
    back: Option<Instant>,
}

impl Progress {
    /// A list is complete.
    fn lists(&mut self, kind: Kind) {
        self.listed = true;
        if self.waited.is_some() && self.back.is_none() {
            info!(%kind, "the API server offers this kind now");
            self.back = Some(Instant::now());
        }
    }

    /// A watch goes on. Only then the kind is really offered: some list it and refuse to have it watched, such as two servers of
    /// different versions behind one address.
    fn watches(&mut self) {
        *self = Progress { listed: self.listed, ..Progress::default() };
    }

    /// The server does not offer the kind. Says so the first time, and returns for how long to leave it alone.
    fn lacks(&mut self, kind: Kind, reason: &str) -> Duration {
        if self.back.is_some_and(|back| back.elapsed() > LONGEST_DELAY) {
            self.watches();
        }
        let delay = match self.waited {
            None => {
                warn!(%kind, reason, "the API server does not offer this kind: going on without it, asking again now and then");
                FIRST_DELAY
            }
            Some(waited) => {
                debug!(%kind, reason, "the API server still does not offer this kind");
                (waited * 2).min(LONGEST_DELAY)
            }
        };
        *self.waited.insert(delay)
    }
}

/// Why a watch has to be set up anew.
enum Again {
    /// With lists in pages.
    Paged,
    /// As it is, from the beginning.
    FromStart,
    /// Later, for this reason.
    Unknown(String),
    /// Not at all: nobody listens.
    Never,
}

impl Watch {
    /// `event` turns an object into an event; `gone` says that it has disappeared or is not for us.
    async fn run<K>(mut self, kind: Kind, api: Api<K>, mut event: impl FnMut(&K, bool) -> Event)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let mut progress = Progress::default();
        loop {
            let config = self.config.clone();
            let config = if self.streaming { config.streaming_lists() } else { config };
            let stream = watcher(api.clone(), config).default_backoff();
            match self.follow(kind, stream, &mut event, &mut progress).await {
                Again::Paged => {
                    info!(%kind, "the API server does not stream lists: listing in pages");
                    self.streaming = false;
                }
                Again::FromStart => {}
                Again::Unknown(reason) => {
                    let delay = progress.lacks(kind, &reason);
                    // What an earlier list said stays in force.
                    let nothing = [Event::ListBegins(kind), Event::ListEnds(kind)];
                    for event in nothing.into_iter().filter(|_| !progress.listed) {
                        let _ = self.events.send(event).await;
                    }
                    progress.listed = true;
                    tokio::time::sleep(delay).await;
                }
                Again::Never => return,
            }
        }
    }

    async fn follow<K>(
        &self,
        kind: Kind,
        stream: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>>,
        event: &mut impl FnMut(&K, bool) -> Event,
        progress: &mut Progress,
    ) -> Again {
        pin_mut!(stream);
        while let Some(next) = stream.next().await {
            let event = match next {
                Ok(watcher::Event::Init) => Event::ListBegins(kind),
                Ok(watcher::Event::InitDone) => {
                    progress.lists(kind);
                    Event::ListEnds(kind)
                }
                Ok(watcher::Event::InitApply(object)) => event(&object, false),
                Ok(watcher::Event::Apply(object)) => {
                    progress.watches();
                    event(&object, false)
                }
                Ok(watcher::Event::Delete(object)) => {
                    progress.watches();
                    event(&object, true)
                }
                Err(error) => match self.verdict(kind, &error) {
                    Some(again) => return again,
                    None => continue,
                },
            };
            if self.events.send(event).await.is_err() {
                return Again::Never;
            }
        }
        Again::FromStart
    }

    /// What to do about an error; `None` is to go on, which the watcher does after a pause.
    fn verdict(&self, kind: Kind, error: &watcher::Error) -> Option<Again> {
        let status = |error: &kube::Error| match error {
            kube::Error::Api(status) => Some(status.code),
            _ => None,
        };
        let code = match error {
            watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
                status(error)
            }
            watcher::Error::WatchError(status) => Some(status.code),
            _ => None,
        };
        match (code, error) {
            // Not known before Kubernetes 1.33, and not in the ClusterRole made for older kube-proxies.
            (Some(403 | 404), _) if kind == Kind::ServiceCidr => return Some(Again::Unknown(chain(error))),
            (Some(400 | 404 | 405 | 422), watcher::Error::WatchStartFailed(_)) if self.streaming => {
                return Some(Again::Paged);
            }
            (Some(410), watcher::Error::WatchStartFailed(_)) => return Some(Again::FromStart),
            (Some(410), _) => debug!(%kind, "the watch is too far behind: listing again"),
            _ => warn!(%kind, error = chain(error), "watch failed, will be retried"),
        }
        None
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn of_service(mut strings: Strings) -> impl FnMut(&Service, bool) -> Event {
    move |object, deleted| {
        let name = convert::name(&object.metadata, &mut strings);
        match convert::service(object, &mut strings).filter(|_| !deleted) {
            Some(converted) => {
                let version = Version::of(&object.metadata);
                Event::Service(Arc::new(take("Service", &name, converted)), version)
            }
            None => Event::ServiceGone(name),
        }
    }
}

fn of_slice(mut strings: Strings) -> impl FnMut(&EndpointSlice, bool) -> Event {
    move |object, deleted| {
        let name = convert::name(&object.metadata, &mut strings);
        match convert::endpoint_slice(object, &mut strings).filter(|_| !deleted) {
            Some((converted, trigger)) => {
                let version = Version::of(&object.metadata);
                Event::Slice(Arc::new(take("EndpointSlice", &name, converted)), version, trigger)
            }
            None => Event::SliceGone(name),
        }
    }
}

/// Of other Nodes only name and addresses are kept. What makes no sense about them is told on their side.
fn of_node(this: Arc<str>) -> impl FnMut(&Node, bool) -> Event {
    move |object, deleted| {
        let name = object.name_any();
        match (name == *this, deleted) {
            (true, true) => Event::NodeGone,
            (true, false) => {
                let name = ObjectName::new("", &name);
                Event::Node(Arc::new(take("Node", &name, convert::node(object))))
            }
            (false, true) => Event::OtherNodeGone(name.into()),
            (false, false) => Event::OtherNode(name.into(), convert::node_addresses(object).object),
        }
    }
}

fn of_service_cidr(object: &ServiceCIDR, deleted: bool) -> Event {
    let name = object.name_any();
    if deleted {
        return Event::ServiceCidrGone(name.into());
    }
    let prefixes = take("ServiceCIDR", &ObjectName::new("", &name), convert::service_cidr(object));
    Event::ServiceCidr(name.into(), prefixes)
}

/// Logs complaints and hands the object on.
fn take<T>(kind: &str, name: &ObjectName, converted: Converted<T>) -> T {
    for complaint in converted.complaints {
        warn!(kind, %name, complaint, "part of an object is ignored");
    }
    converted.object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_tell_its_version_is_not_waited_for() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let asked = runtime.block_on(async {
            let client = Client::try_from(kube::Config::new(server)).unwrap();
            let asked = may_stream(&client, Duration::from_millis(50));
            tokio::time::timeout(Duration::from_secs(60), asked).await
        });
        assert_eq!(asked, Ok(false));
    }

    #[test]
    fn a_kind_that_is_not_offered_is_asked_for_less_and_less_often_until_it_is() {
        let mut progress = Progress::default();
        let mut seconds =
            |n| (0..n).map(|_| progress.lacks(Kind::ServiceCidr, "").as_secs()).collect::<Vec<_>>();
        assert_eq!(seconds(5), [1, 2, 4, 8, 16]);
        assert_eq!(seconds(7), [32, 64, 128, 256, 512, 600, 600]);
        progress.lists(Kind::ServiceCidr);
        assert_eq!(progress.lacks(Kind::ServiceCidr, ""), LONGEST_DELAY, "it was listed and not watched");
        progress.lists(Kind::ServiceCidr);
        progress.watches();
        assert!(progress.listed && progress.lacks(Kind::ServiceCidr, "") == FIRST_DELAY);
    }
}
