//! The thread that reads.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use kubeweir_netfilter::Client;
use kubeweir_netlink::ipvs;
use kubeweir_nftables::counters::{self, Counts};
use kubeweir_plan::{ObjectName, ServicePlan};
use tokio::sync::oneshot;
use tracing::warn;

use super::{Totals, totals};
use crate::settings::{ProxyMode, Settings};

/// Shortest pause between two readings.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
/// How many times as long as it took the thread rests after reading.
const REST: u32 = 10;

/// Asks the thread. Cheap to clone.
#[derive(Clone)]
pub struct Counters(mpsc::Sender<Message>);

/// Services that came into force, changed or are gone.
pub type Changes = Vec<(ObjectName, Option<Arc<ServicePlan>>)>;

/// What was read last.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What was counted.
    pub totals: Arc<Totals>,
    /// When it was read.
    pub at: SystemTime,
}

enum Message {
    Changed(Changes),
    Read(oneshot::Sender<Option<Reading>>),
}

impl Counters {
    /// These Services came into force. Never waits.
    pub(crate) fn changed(&self, changes: Changes) {
        // Without the thread there is nobody to tell.
        let _ = self.0.send(Message::Changed(changes));
    }

    /// What has been counted; `None` if it could never be read.
    pub async fn read(&self) -> Option<Reading> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Message::Read(answer)).ok()?;
        answered.await.ok()?
    }
}

/// Starts the thread; `None` where counting is off.
pub fn start(settings: &Settings) -> anyhow::Result<Option<Counters>> {
    if !settings.service_counters {
        return Ok(None);
    }
    let reader = Reader::open(settings)?;
    let (sender, messages) = mpsc::channel();
    let work = move || work(reader, &messages);
    thread::Builder::new().name("counters".to_owned()).spawn(work).context("cannot start a thread")?;
    Ok(Some(Counters(sender)))
}

fn work(mut reader: Reader, messages: &mpsc::Receiver<Message>) {
    let mut services = BTreeMap::new();
    let (mut last, mut due, mut failing) = (None, Instant::now(), false);
    for message in messages {
        match message {
            Message::Changed(changes) => take(&mut services, changes),
            Message::Read(answer) => {
                let begun = Instant::now();
                if begun >= due {
                    match reader.read() {
                        Ok(counts) => {
                            let totals = Arc::new(totals(&services, counts));
                            (last, failing) = (Some(Reading { totals, at: SystemTime::now() }), false);
                        }
                        Err(error) => {
                            if !failing {
                                warn!(reason = format!("{error:#}"), "what Services count cannot be read");
                            }
                            failing = true;
                        }
                    }
                    due = Instant::now() + SHORTEST_PAUSE.max(begun.elapsed() * REST);
                }
                // Whoever asked may be gone.
                let _ = answer.send(last.clone());
            }
        }
    }
}

fn take(services: &mut BTreeMap<ObjectName, Arc<ServicePlan>>, changes: Changes) {
    for (name, service) in changes {
        match service {
            Some(service) => services.insert(name, service),
            None => services.remove(&name),
        };
    }
}

/// Sockets to where counting is done.
struct Reader {
    tables: Client,
    table: &'static str,
    servers: Option<ipvs::Client>,
}

impl Reader {
    fn open(settings: &Settings) -> anyhow::Result<Reader> {
        let tables = Client::open().context("nf_tables cannot be reached")?;
        Ok(match settings.mode {
            ProxyMode::Nftables => Reader { tables, table: settings.nftables().table(), servers: None },
            ProxyMode::Ipvs => {
                let servers = ipvs::Client::open().context("IPVS cannot be reached")?;
                Reader { tables, table: settings.servers().0.tables.table(), servers: Some(servers) }
            }
        })
    }

    fn read(&mut self) -> anyhow::Result<Counts> {
        let mut counts = Counts::new();
        let read = self.read_into(&mut counts);
        // A listing that was given up leaves its socket in the middle of it.
        if read.is_err() {
            self.tables = Client::open()?;
            if self.servers.is_some() {
                self.servers = Some(ipvs::Client::open()?);
            }
        }
        read.map(|()| counts)
    }

    fn read_into(&mut self, counts: &mut Counts) -> anyhow::Result<()> {
        counters::read(&mut self.tables, self.table, counts)?;
        if let Some(servers) = &mut self.servers {
            kubeweir_ipvs::counters::read(servers, counts)?;
        }
        Ok(())
    }
}
