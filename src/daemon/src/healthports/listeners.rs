use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;

use kubeweir_cluster::notice::{About, Notice, Reach, Severity};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, error, info};

use super::connection::accept;
use super::ledger::{Check, Difference};
use super::page::Page;
use crate::health::Health;
use crate::recorder::Recorder;
use crate::socket;

/// The sockets: those that answer and those that are awaited.
pub(super) struct Listeners {
    open: BTreeMap<SocketAddr, Listener>,
    awaited: BTreeMap<SocketAddr, Awaited>,
    health: watch::Receiver<Health>,
    recorder: Recorder,
}

struct Listener {
    ready: watch::Sender<u32>,
    task: JoinHandle<()>,
}

struct Awaited {
    check: Check,
    /// Why it is not open, if that was told.
    told: Option<String>,
}

impl Listeners {
    pub(super) fn new(health: watch::Receiver<Health>, recorder: Recorder) -> Listeners {
        Listeners { open: BTreeMap::new(), awaited: BTreeMap::new(), health, recorder }
    }

    /// How many answer.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// How many should and do not.
    pub(super) fn failed(&self) -> usize {
        self.awaited.len()
    }

    /// Does what must be done, and tries again what failed before.
    pub(super) async fn carry_out(&mut self, difference: Difference) {
        self.close(&difference.close).await;
        for (socket, ready) in difference.tell {
            self.tell(socket, ready);
        }
        let awaited = difference.open.into_iter();
        self.awaited.extend(awaited.map(|(socket, check)| (socket, Awaited { check, told: None })));
        self.open_awaited();
    }

    /// Tries to open what is not. One that fails does not keep others from it.
    pub(super) fn open_awaited(&mut self) {
        for (socket, mut awaited) in std::mem::take(&mut self.awaited) {
            match socket::of_one_family(socket) {
                Ok(listener) => {
                    let service = &awaited.check.service;
                    if awaited.told.is_some() {
                        info!(%service, %socket, "answers health checks now");
                    } else {
                        debug!(%service, %socket, "answers health checks");
                    }
                    self.open.insert(socket, self.serve(listener, awaited.check));
                }
                Err(error) => {
                    self.complain(socket, &mut awaited, &error);
                    self.awaited.insert(socket, awaited);
                }
            }
        }
    }

    /// When this returns, the sockets are closed: somebody else may have them.
    async fn close(&mut self, sockets: &BTreeSet<SocketAddr>) {
        for socket in sockets {
            self.awaited.remove(socket);
            if let Some(Listener { ready, task }) = self.open.remove(socket) {
                task.abort();
                let _ = task.await;
                // Connections end with it.
                drop(ready);
                debug!(%socket, "answers no health checks any more");
            }
        }
    }

    fn tell(&mut self, socket: SocketAddr, ready: u32) {
        if let Some(listener) = self.open.get(&socket) {
            listener.ready.send_replace(ready);
        }
        if let Some(awaited) = self.awaited.get_mut(&socket) {
            awaited.check.ready = ready;
        }
    }

    fn serve(&self, listener: TcpListener, check: Check) -> Listener {
        let (ready, receiver) = watch::channel(check.ready);
        let page = Page { service: check.service, ready: receiver, health: self.health.clone() };
        Listener { ready, task: tokio::spawn(accept(listener, page)) }
    }

    /// Once for each reason, as long as it stands.
    fn complain(&self, socket: SocketAddr, awaited: &mut Awaited, error: &io::Error) {
        let reason = Some(error.to_string());
        if awaited.told == reason {
            return;
        }
        awaited.told = reason;
        let service = &awaited.check.service;
        error!(%service, %socket, %error, "cannot answer health checks, will be retried");
        self.recorder.tell(notice(&awaited.check, socket, error));
    }
}

/// As kube-proxy calls it.
fn notice(check: &Check, socket: SocketAddr, error: &io::Error) -> Notice {
    Notice {
        about: About::Service(check.service.clone()),
        severity: Severity::Warning,
        reach: Reach::Node,
        reason: "FailedToStartServiceHealthcheck",
        action: "Listen",
        note: format!("health checks on {socket} are not answered: {error}"),
    }
}
