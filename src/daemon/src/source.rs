//! Where objects come from: the API server, or a directory.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
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
                match client(kubeconfig.as_deref(), master.as_deref(), &requests).await {
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

async fn client(
    kubeconfig: Option<&Path>,
    master: Option<&str>,
    requests: &Requests,
) -> anyhow::Result<kube::Client> {
    let mut config = match kubeconfig {
        Some(path) => {
            let file =
                Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("{} is not usable", path.display()))?
        }
        None if master.is_some() => kube::Config::new(hyper::Uri::default()),
        None => kube::Config::incluster().context("no kubeconfig given, and not running in a pod")?,
    };
    if let Some(master) = master {
        config.cluster_url =
            master.parse().with_context(|| format!("--master {master} is not an address"))?;
    }
    let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
    let builder =
        ClientBuilder::try_from(config).context("cannot set up the connection to the API server")?;
    Ok(builder.with_layer(&requests.to(&host)).build())
}
