//! An API server stand-in: real HTTP over real TLS, in this process.
//!
//! It knows the kinds that a Service proxy deals with, and speaks discovery, get, list in pages, watch with bookmarks, streaming
//! lists, create, update, patch (merge, strategic merge, apply) and delete, well enough for `kube` and `kubectl`. With
//! `fieldValidation=Strict` it refuses fields that nobody knows, and when told to it grants no more than a role does. What
//! a real server does rarely it does when told to: forget old versions, cut connections, refuse streaming lists, hold lists
//! back.

mod body;
mod event;
mod handler;
mod openapi;
mod patch;
mod resource;
mod rights;
mod selector;
mod store;
mod strict;
mod tls;
mod validation;
mod watch;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use kubeweir_playground::Namespace;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch as channel;
use tokio_rustls::TlsAcceptor;

pub use resource::{RESOURCES, Resource};
pub use rights::Right;
use store::Store;

/// The bearer token that clients must show.
pub const TOKEN: &str = "stand-in-token";

/// What is around the server's address in kubeconfigs.
const SERVER: (&str, &str) = ("server: 'https://", "'");

/// A running stand-in. Dropping it closes all connections.
pub struct StandIn {
    shared: Arc<Shared>,
    runtime: Runtime,
    directory: TempDir,
    acceptor: TlsAcceptor,
}

/// What all connections share.
pub(crate) struct Shared {
    store: Mutex<Store>,
    /// Moves with every change of the store.
    version: channel::Sender<u64>,
    /// Moves when connections are to be cut.
    cut: channel::Sender<u64>,
    faults: Mutex<Faults>,
}

/// What goes wrong on purpose.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    refuse_streaming: bool,
    hold: Option<&'static str>,
    forbid: Option<&'static str>,
    withheld: Option<(&'static str, u16)>,
    unwatchable: Option<&'static str>,
    unavailable: bool,
    guard: rights::Guard,
    requests: Vec<String>,
}

impl Shared {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }

    /// Tells watches that the store has changed.
    pub(crate) fn changed(&self) {
        let version = self.store().version();
        self.version.send_replace(version);
    }
}

impl StandIn {
    /// Starts with an empty cluster.
    pub fn start() -> StandIn {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let directory = TempDir::with_prefix("kubeweir-api-").unwrap();
        let acceptor = tls::acceptor(directory.path());
        // Written once: a client that reads it while it is written would go on with half of it for a minute.
        std::fs::write(token_file(directory.path()), TOKEN).unwrap();
        let shared = Arc::new(Shared {
            store: Mutex::new(Store::default()),
            version: channel::Sender::new(0),
            cut: channel::Sender::new(0),
            faults: Mutex::default(),
        });
        StandIn { shared, runtime, directory, acceptor }
    }

    /// Listens on loopback inside a namespace and returns a kubeconfig for clients there.
    pub fn listen_in(&self, namespace: &Namespace) -> PathBuf {
        let listener =
            namespace.run(|| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).unwrap();
        self.accept(listener, namespace.name())
    }

    /// Listens on loopback of this process and returns a kubeconfig.
    pub fn listen(&self) -> PathBuf {
        self.accept(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), "host")
    }

    fn accept(&self, listener: std::net::TcpListener, name: &str) -> PathBuf {
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (shared, acceptor) = (Arc::clone(&self.shared), self.acceptor.clone());
        self.runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(handler::serve(stream, acceptor.clone(), Arc::clone(&shared)));
            }
        });
        self.write_kubeconfig(name, address)
    }

    fn write_kubeconfig(&self, name: &str, address: SocketAddr) -> PathBuf {
        let directory = self.directory.path();
        let token = token_file(directory);
        let path = directory.join(format!("{name}-{}.kubeconfig", address.port()));
        std::fs::write(&path, kubeconfig(address, &tls::ca_file(directory), &token)).unwrap();
        path
    }

    /// What speaks TLS as this server does, for whoever stands in front of it.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Creates or replaces objects, as `kubectl apply` of a file would. Returns the version after the last.
    pub fn apply(&self, yaml: &str) -> u64 {
        for object in documents(yaml) {
            self.put(object);
        }
        self.shared.store().version()
    }

    /// Creates or replaces an object.
    pub fn put(&self, object: Value) {
        self.shared.store().put(object).unwrap_or_else(|status| panic!("{status}"));
        self.shared.changed();
    }

    /// Makes these objects the only ones, leaving alone those that stay the same.
    pub fn replace_all(&self, yaml: &str) {
        let wanted = documents(yaml);
        let keys: Vec<_> = wanted.iter().map(store::key_of).collect();
        let surplus: Vec<_> = self.shared.store().keys().filter(|key| !keys.contains(key)).cloned().collect();
        for key in surplus {
            self.shared.store().delete(&key).unwrap_or_else(|status| panic!("{status}"));
        }
        for object in wanted {
            self.put(object);
        }
        self.shared.changed();
    }

    /// All objects of a kind.
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        self.shared.store().list(plural, "").map(|(_, object)| object.clone()).collect()
    }

    /// Deletes an object.
    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let key = (resource::by_plural(plural).plural, namespace.to_owned(), name.to_owned());
        self.shared.store().delete(&key).unwrap_or_else(|status| panic!("{status}"));
        self.shared.changed();
    }

    /// Forgets all history: a watch that has not seen the latest version gets 410.
    pub fn compact(&self) {
        self.shared.store().compact();
    }

    /// Breaks all connections that are watching.
    pub fn cut(&self) {
        self.shared.cut.send_modify(|epoch| *epoch += 1);
    }

    /// Refuses streaming lists from now on, as a server without that feature does.
    pub fn refuse_streaming(&self) {
        self.shared.faults().refuse_streaming = true;
    }

    /// Holds lists of one kind back until [`StandIn::release`].
    pub fn hold(&self, plural: &'static str) {
        self.shared.faults().hold = Some(plural);
    }

    /// Lets lists go.
    pub fn release(&self) {
        self.shared.faults().hold = None;
        self.shared.version.send_modify(|_| {});
    }

    /// Lets nobody change objects of one kind, as a role without those verbs would.
    pub fn forbid(&self, plural: &'static str) {
        self.shared.faults().forbid = Some(plural);
    }

    /// Lets everybody change everything again.
    pub fn permit(&self) {
        self.shared.faults().forbid = None;
    }

    /// Answers this status, 403 or 404, to whoever asks for objects of one kind, as a server that does not grant or not have it.
    pub fn withhold(&self, plural: &'static str, code: u16) {
        self.shared.faults().withheld = Some((plural, code));
    }

    /// Lets objects of one kind be listed but not watched.
    pub fn forbid_watching(&self, plural: &'static str) {
        self.shared.faults().unwatchable = Some(plural);
    }

    /// Has and grants all kinds again.
    pub fn offer(&self) {
        let mut faults = self.shared.faults();
        (faults.withheld, faults.unwatchable) = (None, None);
    }

    /// Grants nothing from now on but what rules of these `ClusterRole`s grant.
    pub fn authorize_by(&self, roles: &[Value]) {
        self.shared.faults().guard.authorize_by(roles);
    }

    /// All that was asked for so far, and was granted.
    pub fn granted(&self) -> BTreeSet<Right> {
        self.shared.faults().guard.granted.clone()
    }

    /// All that was asked for so far, and was not granted.
    pub fn denied(&self) -> BTreeSet<Right> {
        self.shared.faults().guard.denied.clone()
    }

    /// Answers 503 to everything, or not any more.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.shared.faults().unavailable = unavailable;
    }

    /// Paths and queries of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.faults().requests.clone()
    }
}

/// Where a kubeconfig of [`StandIn`] says that the server is.
pub fn server_of(kubeconfig: &Path) -> SocketAddr {
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    text.split(SERVER.0).nth(1).unwrap().split(SERVER.1).next().unwrap().parse().unwrap()
}

/// Puts another server, and perhaps more about the cluster, in the place of a kubeconfig's own: `server: 'https://192.0.2.1'`.
pub fn replace_server(kubeconfig: &Path, other: &str) {
    let server = format!("{}{}{}", SERVER.0, server_of(kubeconfig), SERVER.1);
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    std::fs::write(kubeconfig, text.replace(&server, other)).unwrap();
}

/// The objects of a YAML stream.
pub fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Option<Value>> =
        serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{error}"));
    documents.into_iter().flatten().filter(|object| !object.is_null()).collect()
}

fn token_file(directory: &Path) -> PathBuf {
    directory.join("token")
}

fn kubeconfig(address: SocketAddr, ca: &Path, token: &Path) -> String {
    let (before, after) = SERVER;
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: stand-in\n\
         clusters: [{{name: stand-in, cluster: {{{before}{address}{after}, certificate-authority: '{}'}}}}]\n\
         users: [{{name: proxy, user: {{tokenFile: '{}'}}}}]\n\
         contexts: [{{name: stand-in, context: {{cluster: stand-in, user: proxy}}}}]\n",
        ca.display(),
        token.display()
    )
}
