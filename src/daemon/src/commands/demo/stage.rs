//! The demo's cluster: a client, a node and three pods, each in a network namespace of its own.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use ipnet::{IpNet, Ipv4Net};
use kubeweir_playground::{Answer, Namespace, Probe, Server, Transport, Veth};
use tokio::sync::oneshot;

use super::listing;
use crate::cli::Flags;
use crate::settings::ProxyMode;
use crate::{run, settings};

/// The Service's address.
pub(super) const SERVICE: &str = "10.96.0.10:80";
/// The demo's pods, all on the one node.
pub(super) const PODS: [Pod; 3] = [Pod::new("pod-a", 2), Pod::new("pod-b", 3), Pod::new("pod-c", 4)];
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
pub(super) const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const POD_PORT: u16 = 8080;
const POD_PREFIX: &str = "10.244.0.0/24";
const SERVICE_PREFIX: &str = "10.96.0.0/16";
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);

/// A pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) name: &'static str,
    pub(super) address: Ipv4Addr,
}

impl Pod {
    const fn new(name: &'static str, last: u8) -> Pod {
        Pod { name, address: Ipv4Addr::new(10, 244, 0, last) }
    }
}

/// The built cluster. Dropping it takes it down.
pub(super) struct Stage {
    client: Namespace,
    node: Namespace,
    manifests: PathBuf,
    mode: ProxyMode,
    service: SocketAddr,
    _servers: Vec<Server>,
}

/// The running daemon; dropping it stops it.
pub(super) struct Daemon {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Stage {
    pub(super) fn build(manifests: &Path, mode: ProxyMode) -> anyhow::Result<Stage> {
        let (client, node) = (Namespace::new("client")?, Namespace::new("node")?);
        Veth { here: &node, name: "eth0", there: &client, peer: "eth0" }.make()?;
        node.address("eth0", net(NODE, 24)?)?;
        client.address("eth0", net(CLIENT, 24)?)?;
        client.route(POD_PREFIX.parse()?, NODE.into())?;
        client.route(SERVICE_PREFIX.parse()?, NODE.into())?;
        node.sysctl("ipv4/ip_forward", "1")?;
        let servers = PODS.iter().map(|pod| add_pod(&node, *pod)).collect::<anyhow::Result<_>>()?;
        let service = SERVICE.parse()?;
        Ok(Stage { client, node, manifests: manifests.to_owned(), mode, service, _servers: servers })
    }

    /// Writes the Service and its endpoints, in one step.
    pub(super) fn write_endpoints(&self, pods: &[Pod]) -> anyhow::Result<()> {
        let hidden = self.manifests.join(".next");
        fs::write(&hidden, objects(pods)).context("cannot write the manifests")?;
        fs::rename(hidden, self.manifests.join("web.yaml")).context("cannot write the manifests")
    }

    /// Starts the real daemon inside the node.
    pub(super) fn start_daemon(&self) -> anyhow::Result<Daemon> {
        let flags = Flags {
            manifests: Some(self.manifests.clone()),
            hostname_override: Some("node".to_owned()),
            proxy_mode: Some(self.mode.to_string()),
            cluster_cidr: Some(POD_PREFIX.to_owned()),
            ..Flags::default()
        };
        let settings = settings::Settings::from_flags(&flags)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn({
            let node = self.node.clone();
            move || {
                if let Err(error) = node.run(|| daemon(settings, stopped)) {
                    eprintln!("{error}");
                }
            }
        });
        Ok(Daemon { stop: Some(stop), thread: Some(thread) })
    }

    /// One connection from the client to the Service.
    pub(super) fn connect(&self) -> anyhow::Result<Answer> {
        self.connect_within(Duration::from_secs(1))
    }

    /// One connection that may take only so long.
    pub(super) fn connect_within(&self, patience: Duration) -> anyhow::Result<Answer> {
        let probe = Probe { transport: Transport::Tcp, to: self.service, patience };
        Ok(kubeweir_playground::probe(&self.client, &probe)?)
    }

    /// What another program lists.
    pub(super) fn witness(&self, program: &Path) -> anyhow::Result<()> {
        listing::witness(&self.node, self.mode, program)
    }

    /// What we list ourselves.
    pub(super) fn own_listing(&self) -> anyhow::Result<()> {
        listing::own(&self.node, self.mode)
    }
}

fn daemon(settings: settings::Settings, stopped: oneshot::Receiver<()>) {
    let stop = async {
        let _ = stopped.await;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let ended = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let ended = runtime.block_on(run::run(settings, stop));
        runtime.shutdown_background();
        ended
    });
    if let Err(error) = ended {
        eprintln!("the daemon ended: {error:#}");
    }
}

/// A pod behind a veth pair, routed to by the node.
fn add_pod(node: &Namespace, pod: Pod) -> anyhow::Result<Server> {
    let namespace = Namespace::new(pod.name)?;
    let interface = format!("veth-{}", pod.name);
    Veth { here: node, name: &interface, there: &namespace, peer: "eth0" }.make()?;
    node.address(&interface, net(GATEWAY, 32)?)?;
    node.route_to_link(net(pod.address, 32)?, &interface)?;
    namespace.address("eth0", net(pod.address, 32)?)?;
    namespace.route_to_link(net(GATEWAY, 32)?, "eth0")?;
    namespace.route("0.0.0.0/0".parse()?, GATEWAY.into())?;
    let server = Server::start(&namespace, pod.name, &[IpAddr::from(pod.address)], &[POD_PORT])?;
    Ok(server.with_namespace(namespace))
}

fn net(address: Ipv4Addr, length: u8) -> anyhow::Result<IpNet> {
    Ok(Ipv4Net::new(address, length)?.into())
}

fn objects(pods: &[Pod]) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: node}}\n\
         status: {{addresses: [{{type: InternalIP, address: {NODE}}}]}}\n\
         ---\napiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: demo}}\n\
         spec: {{clusterIP: 10.96.0.10, ports: [{{name: http, port: 80}}]}}\n\
         ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web-1, namespace: demo, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: {POD_PORT}}}]\nendpoints:\n"
    );
    for pod in pods {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "- {{addresses: [{}], nodeName: node}}", pod.address);
    }
    text
}
