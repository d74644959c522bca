//! The connection to the API server.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::{Request, Response, Uri};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
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

use super::attempts::Attempts;
use super::environment::{self, Environment};
use crate::metrics::{Counting, Requests};

/// In place of a proxy that a kubeconfig does not name: with one, the library does not look for it in the environment, where
/// it would compare `NO_PROXY` with the proxy's own name, and end at entries that it does not understand.
const NO_PROXY_NAMED: &str = "http://none.invalid/";

/// How long a connection may be silent before the other end is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A client by the kubeconfig or, without one, by what a pod is given. A `master` replaces the server's address.
pub(super) async fn connect(
    kubeconfig: Option<&Path>,
    master: Option<&str>,
    requests: &Requests,
) -> anyhow::Result<Client> {
    let mut config = match kubeconfig {
        Some(path) => of_file(path, master).await?,
        None => match master {
            Some(master) => Config::new(
                with_scheme(master, false)
                    .parse()
                    .with_context(|| format!("--master {master} is not an address"))?,
            ),
            None => Config::incluster().context("no kubeconfig given, and not running in a pod")?,
        },
    };
    let proxy = proxy_of(&mut config, &Environment::read())?;
    let counting = requests.to(&config.cluster_url.authority().map(ToString::to_string).unwrap_or_default());
    let failed = "cannot set up the connection to the API server";
    let builder = match proxy {
        None => stack(direct(), config, &counting),
        Some(proxy) => {
            info!(proxy = %proxy.uri(), "the API server is reached through a proxy");
            let to_proxy = config.rustls_https_connector_with_connector(direct());
            to_proxy.and_then(|to_proxy| stack(tunnel(&proxy, to_proxy), config, &counting))
        }
    };
    Ok(builder.context(failed)?.build())
}

async fn of_file(path: &Path, master: Option<&str>) -> anyhow::Result<Config> {
    let file = Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
    let config = Config::from_custom_kubeconfig(completed(file, master), &KubeConfigOptions::default()).await;
    config.with_context(|| format!("{} is not usable", path.display()))
}

/// A kubeconfig as the library is to see it, which is shown a proxy where the file names none. A `master` is in the place of the
/// file's server, and of the name that its certificate would have.
fn completed(mut file: Kubeconfig, master: Option<&str>) -> Kubeconfig {
    let mut users = file.auth_infos.iter().filter_map(|named| named.auth_info.as_ref());
    let with_certificate =
        users.any(|user| user.client_certificate.is_some() || user.client_certificate_data.is_some());
    for cluster in file.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        let named = cluster.proxy_url.take().filter(|url| !url.is_empty());
        cluster.proxy_url = Some(named.unwrap_or_else(|| NO_PROXY_NAMED.to_owned()));
        if let Some(master) = master {
            cluster.server = Some(master.to_owned());
            cluster.tls_server_name = None;
        }
        let is_secure = with_certificate
            || cluster.certificate_authority.is_some()
            || cluster.certificate_authority_data.is_some()
            || cluster.insecure_skip_tls_verify == Some(true);
        cluster.server = cluster.server.take().map(|server| with_scheme(&server, is_secure));
    }
    file
}

/// An address without a scheme is of one that fits what else is said of the connection, as in client-go (`DefaultServerURL`).
fn with_scheme(server: &str, is_secure: bool) -> String {
    match server {
        server if server.contains("://") => server.to_owned(),
        server if is_secure => format!("https://{server}"),
        server => format!("http://{server}"),
    }
}

/// What the kubeconfig names counts for every server, what the environment names for some. Left in the configuration the
/// library would refuse it, having been built without proxies: see [`NO_PROXY_NAMED`].
fn proxy_of(config: &mut Config, environment: &Environment) -> anyhow::Result<Option<Intercept>> {
    let named = config.proxy_url.take().filter(|url| *url != NO_PROXY_NAMED);
    let proxy = match &named {
        None => environment.proxy_to(&config.cluster_url),
        Some(url) => {
            let proxy = environment::named(&url.to_string(), &config.cluster_url);
            // Without what may be a password.
            let shown =
                format!("{}://{}", url.scheme_str().unwrap_or_default(), url.host().unwrap_or_default());
            Some(proxy.ok_or_else(|| anyhow!("the kubeconfig's proxy-url {shown} is no proxy's address"))?)
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

/// A connection whose other end is gone without a word is noticed within a minute, however silent it was.
fn direct() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(KEEPALIVE / 3));
    connector.set_keepalive_retries(Some(3));
    connector.set_tcp_user_timeout(Some(KEEPALIVE * 2));
    connector
}

/// Through a proxy, to which connections are made so.
fn tunnel<C>(proxy: &Intercept, to_proxy: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.uri().clone(), to_proxy);
    match proxy.basic_auth() {
        Some(credentials) => tunnel.with_auth(credentials.clone()),
        None => tunnel,
    }
}

/// What the library builds of a configuration, over such connections, and each attempt counted.
fn stack<C>(connector: C, config: Config, counting: &Counting) -> kube::Result<ClientBuilder<Service>>
where
    C: tower::Service<Uri, Response: Connection + Read + Write + Send + Unpin + 'static>,
    C: Clone + Send + Sync + 'static,
    C::Future: Send + 'static,
    C::Error: std::error::Error + Send + Sync + 'static,
{
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(connector)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(RetryLayer::new(RetryPolicy::server_retry()))
        .layer(Attempts(counting.clone()))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(Http::builder(TokioExecutor::new()).build(connector));
    Ok(ClientBuilder::new(service.boxed(), config.default_namespace))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use prometheus_client::registry::Registry;

    use super::*;

    /// Gives these answers, one to each request, and returns its address.
    fn server(answers: &'static [&'static str]) -> Uri {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for (answer, stream) in answers.iter().zip(listener.incoming()) {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                assert!(lines.map(Result::unwrap).any(|line| line.is_empty()));
                let rest = "retry-after: 0\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                write!(stream, "HTTP/1.1 {answer}\r\n{rest}").unwrap();
            }
        });
        address.parse().unwrap()
    }

    #[test]
    fn what_the_client_repeats_by_itself_is_counted_each_time() {
        let requests = Requests::default();
        let mut registry = Registry::default();
        requests.register(&mut registry);
        let config = Config::new(server(&["503 Service Unavailable", "429 Too Many Requests", "200 OK"]));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let asked = runtime.block_on(async {
            let client = stack(direct(), config, &requests.to("server")).unwrap().build();
            client.request_text(Request::get("/version").body(Vec::new()).unwrap()).await
        });
        assert_eq!(asked.unwrap(), "");
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        for code in ["503", "429", "200"] {
            let line =
                format!("rest_client_requests_total{{code=\"{code}\",method=\"GET\",host=\"server\"}} 1\n");
            assert!(page.contains(&line), "{page}");
        }
        assert!(
            page.contains("rest_client_request_duration_seconds_count{verb=\"GET\",host=\"server\"} 3\n")
        );
    }

    /// What becomes of the only cluster of a kubeconfig that says this of it.
    fn cluster_of(cluster: &str, user: &str, master: Option<&str>) -> kube::config::Cluster {
        let text = format!(
            "clusters: [{{name: a, cluster: {cluster}}}]\nusers: [{{name: a, user: {user}}}]\n\
             contexts: [{{name: a, context: {{cluster: a, user: a}}}}]\ncurrent-context: a\n"
        );
        let file = completed(Kubeconfig::from_yaml(&text).unwrap(), master);
        file.clusters.into_iter().next().and_then(|named| named.cluster).unwrap()
    }

    #[test]
    fn a_kubeconfig_is_completed_as_client_go_would_read_it() {
        let server = |cluster, user, master| cluster_of(cluster, user, master).server.unwrap();
        assert_eq!(server("{server: 'a:1'}", "{}", None), "http://a:1");
        assert_eq!(server("{server: 'a:1', certificate-authority: /ca}", "{}", None), "https://a:1");
        assert_eq!(server("{server: 'a:1'}", "{client-certificate: /c}", None), "https://a:1");
        assert_eq!(server("{server: 'http://a:1', certificate-authority: /ca}", "{}", None), "http://a:1");
        assert_eq!(server("{server: 'https://a:1'}", "{}", Some("b:2")), "http://b:2");
        let named = "{server: 'https://a', tls-server-name: a, proxy-url: 'http://p:1'}";
        let kept = cluster_of(named, "{}", None);
        assert_eq!((kept.tls_server_name, kept.proxy_url), (Some("a".into()), Some("http://p:1".into())));
        assert_eq!(cluster_of(named, "{}", Some("https://b")).tls_server_name, None);
        let without = cluster_of("{server: 'https://a', proxy-url: ''}", "{}", None);
        assert_eq!(without.proxy_url.as_deref(), Some(NO_PROXY_NAMED), "the library must not look for one");
    }

    #[test]
    fn an_address_without_a_scheme_gets_the_one_that_fits() {
        assert_eq!(with_scheme("192.0.2.1:6443", true), "https://192.0.2.1:6443");
        assert_eq!(with_scheme("api.example:8080", false), "http://api.example:8080");
        assert_eq!(with_scheme("http://192.0.2.1", true), "http://192.0.2.1");
    }
}
