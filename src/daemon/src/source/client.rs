//! The connection to the API server.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use hyper::body::Incoming;
use hyper::{Request, Response, Uri};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::retry::RetryLayer;
use tower::util::BoxService;
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tracing::info;

use super::environment::{self, Environment};
use crate::metrics::Requests;

/// In place of a proxy that a kubeconfig does not name: with one, the library does not look for it in the environment, where
/// it would compare `NO_PROXY` with the proxy's own name, and end at entries that it does not understand.
const NO_PROXY_NAMED: &str = "http://none.invalid/";

/// A client by the kubeconfig or, without one, by what a pod is given. A `master` replaces the server's address.
pub(super) async fn connect(
    kubeconfig: Option<&Path>,
    master: Option<&str>,
    requests: &Requests,
) -> anyhow::Result<Client> {
    let mut config = match kubeconfig {
        Some(path) => of_file(path).await?,
        None if master.is_some() => Config::new(Uri::default()),
        None => Config::incluster().context("no kubeconfig given, and not running in a pod")?,
    };
    if let Some(master) = master {
        config.cluster_url =
            master.parse().with_context(|| format!("--master {master} is not an address"))?;
    }
    let proxy = proxy_of(&mut config, &Environment::read())?;
    let counting = requests.to(&config.cluster_url.authority().map(ToString::to_string).unwrap_or_default());
    let failed = "cannot set up the connection to the API server";
    Ok(match proxy {
        None => ClientBuilder::try_from(config).context(failed)?.with_layer(&counting).build(),
        Some(proxy) => {
            info!(proxy = %proxy.uri(), "the API server is reached through a proxy");
            through(&proxy, config).context(failed)?.with_layer(&counting).build()
        }
    })
}

/// The library is shown a proxy where the file names none.
async fn of_file(path: &Path) -> anyhow::Result<Config> {
    let mut file = Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
    for cluster in file.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        let named = cluster.proxy_url.take().filter(|url| !url.is_empty());
        cluster.proxy_url = Some(named.unwrap_or_else(|| NO_PROXY_NAMED.to_owned()));
    }
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    config.with_context(|| format!("{} is not usable", path.display()))
}

/// What the kubeconfig names counts for every server, what the environment names for some. Left in the configuration the
/// library would refuse it, having been built without proxies: see [`NO_PROXY_NAMED`].
fn proxy_of(config: &mut Config, environment: &Environment) -> anyhow::Result<Option<Intercept>> {
    let named = config.proxy_url.take().filter(|url| *url != NO_PROXY_NAMED);
    let proxy = match &named {
        None => environment.proxy_to(&config.cluster_url),
        Some(url) => {
            let proxy = environment::named(&url.to_string(), &config.cluster_url);
            Some(proxy.ok_or_else(|| anyhow!("the kubeconfig's proxy-url {url} is no proxy's address"))?)
        }
    };
    match proxy {
        Some(proxy) if !matches!(proxy.uri().scheme_str(), Some("http" | "https")) => {
            bail!("the proxy {} cannot be used: only http and https are known", proxy.uri())
        }
        proxy => Ok(proxy),
    }
}

type Service = BoxService<Request<Body>, Response<Incoming>, BoxError>;

/// What the library builds of a configuration, with a tunnel through the proxy inside.
fn through(proxy: &Intercept, config: Config) -> kube::Result<ClientBuilder<Service>> {
    let mut plain = HttpConnector::new();
    plain.enforce_http(false);
    let mut tunnel = Tunnel::new(proxy.uri().clone(), config.rustls_https_connector_with_connector(plain)?);
    if let Some(credentials) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(credentials.clone());
    }
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tunnel)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(RetryLayer::new(RetryPolicy::server_retry()))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(Http::builder(TokioExecutor::new()).build(connector));
    Ok(ClientBuilder::new(service.boxed(), config.default_namespace))
}
