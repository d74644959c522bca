//! Where objects come from: the API server, or a directory.

mod attempts;
mod client;
mod environment;

use std::sync::Arc;
use std::thread;

use anyhow::Context;
use kubeweir_cluster::{api, manifests};
use tokio::sync::{mpsc, oneshot};

use crate::Event;
use crate::metrics::Requests;
use crate::recorder::Waiting;
use crate::settings::{Settings, Source};

/// Events that may wait to be taken over by the loop's queue.
const QUEUE: usize = 4096;

/// Starts the source. Resolves only when it fails for good. Notices go where objects come from.
pub(crate) fn start(
    settings: &Settings,
    events: mpsc::Sender<Event>,
    notices: Option<Waiting>,
    requests: Requests,
) -> anyhow::Result<oneshot::Receiver<anyhow::Result<()>>> {
    let (end, ended) = oneshot::channel();
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        while let Some(event) = receiver.recv().await {
            if events.send(Event::Cluster(event)).await.is_err() {
                return;
            }
        }
    });
    let node = Arc::clone(&settings.plan.node_name);
    match settings.source.clone() {
        Source::Manifests(directory) => {
            let work = move || {
                let followed = manifests::follow(&directory, &node, &sender).map_err(anyhow::Error::from);
                drop(end.send(followed));
            };
            thread::Builder::new()
                .name("manifests".to_owned())
                .spawn(work)
                .context("cannot start a thread")?;
        }
        Source::Api { kubeconfig, master } => {
            let options = api::Options { node: Arc::clone(&node), all_nodes: settings.all_nodes };
            tokio::spawn(async move {
                match client::connect(kubeconfig.as_deref(), master.as_deref(), &requests).await {
                    Ok(client) => {
                        if let Some(notices) = notices {
                            tokio::spawn(notices.post_all(client.clone(), Arc::clone(&node)));
                        }
                        Box::pin(api::watch(client, options, sender)).await;
                    }
                    Err(error) => drop(end.send(Err(error))),
                }
            });
        }
    }
    Ok(ended)
}
