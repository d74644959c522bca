//! The API server behind an HTTP proxy, as the environment or the kubeconfig names one, and programs in Go would find it.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use kubeweir_e2e::api::{StandIn, replace_server, server_of};
use kubeweir_e2e::proxy::{Proxy, common_flags, program};
use kubeweir_playground::Namespace;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;

/// Nothing resolves this name, so nothing reaches the server but by way of who knows where it is.
const SERVER: &str = "api.cluster.invalid:6443";
const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: default}\nspec: {clusterIP: 10.96.7.7, ports: [{port: 80}]}\n";

/// A proxy that serves `CONNECT`, and what it was asked for.
struct Tunnels {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

impl Tunnels {
    /// All of them lead to this server. Clients speak TLS with whoever accepts it, if there is one.
    fn to(node: &Namespace, server: SocketAddr, tls: Option<TlsAcceptor>) -> Tunnels {
        let listener = node.run(|| TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::default());
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let serving = Serving { node: node.clone(), server, tls, asked: Arc::clone(&asked) };
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serving.clone().accept(client));
            }
        });
        Tunnels { address, asked, _runtime: runtime }
    }

    fn first(&self) -> String {
        self.asked.lock().unwrap()[0].clone()
    }
}

#[derive(Clone)]
struct Serving {
    node: Namespace,
    server: SocketAddr,
    tls: Option<TlsAcceptor>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Serving {
    async fn accept(self, client: TcpStream) {
        match &self.tls {
            None => self.serve(client).await,
            Some(tls) => self.serve(tls.accept(client).await.unwrap()).await,
        }
    }

    /// Until either end closes.
    async fn serve(&self, mut client: impl AsyncRead + AsyncWrite + Unpin) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        self.asked.lock().unwrap().push(String::from_utf8(head).unwrap());
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let server = self.node.run(|| std::net::TcpStream::connect(self.server).unwrap()).unwrap();
        server.set_nonblocking(true).unwrap();
        let mut server = TcpStream::from_std(server).unwrap();
        drop(copy_bidirectional(&mut client, &mut server).await);
    }
}

/// A cluster whose kubeconfig has another address of its server, perhaps with more about it, and the right address.
fn cluster(node: &Namespace, more: &str) -> (StandIn, PathBuf, SocketAddr) {
    let stand_in = StandIn::start();
    stand_in.apply(SERVICE);
    let kubeconfig = stand_in.listen_in(node);
    let server = server_of(&kubeconfig);
    replace_server(&kubeconfig, &format!("server: 'https://{SERVER}', tls-server-name: 'localhost'{more}"));
    (stand_in, kubeconfig, server)
}

fn proxy(node: &Namespace, kubeconfig: &std::path::Path, environment: &[(&str, &str)]) -> Proxy {
    let mut command = Command::new(program());
    command.args(common_flags("nftables", "node-1")).arg(format!("--kubeconfig={}", kubeconfig.display()));
    command.envs(environment.iter().copied());
    Proxy::of(node, &mut command)
}

#[test]
fn a_proxy_of_the_environment_is_used_for_whom_it_is_meant() {
    let node = Namespace::new("node").unwrap();
    let (_stand_in, kubeconfig, server) = cluster(&node, "");
    let tunnels = Tunnels::to(&node, server, None);
    let address = tunnels.address.to_string();
    // Without a scheme, and beside exceptions that do not concern this server or mean nothing.
    let environment = [("HTTPS_PROXY", address.as_str()), ("NO_PROXY", "10.0.0.0/8,*.invalid:1,,a b/")];
    let proxy = proxy(&node, &kubeconfig, &environment);
    proxy.wait_for_log("synced everything");
    assert!(tunnels.first().starts_with(&format!("CONNECT {SERVER} HTTP/1.1\r\n")), "{}", tunnels.first());
}

#[test]
fn a_proxy_is_spoken_to_by_tls_if_its_address_says_so() {
    let node = Namespace::new("node").unwrap();
    let (stand_in, kubeconfig, server) = cluster(&node, "");
    let tunnels = Tunnels::to(&node, server, Some(stand_in.acceptor()));
    let proxy = proxy(&node, &kubeconfig, &[("HTTPS_PROXY", &format!("https://{}", tunnels.address))]);
    proxy.wait_for_log("synced everything");
    assert!(tunnels.first().starts_with(&format!("CONNECT {SERVER} HTTP/1.1\r\n")), "{}", tunnels.first());
}

#[test]
fn a_proxy_of_the_kubeconfig_comes_first_and_gets_its_password() {
    let node = Namespace::new("node").unwrap();
    let (_stand_in, kubeconfig, server) = cluster(&node, ", proxy-url: '{proxy}'");
    let tunnels = Tunnels::to(&node, server, None);
    let text = fs::read_to_string(&kubeconfig).unwrap();
    fs::write(&kubeconfig, text.replace("{proxy}", &format!("http://user:pass@{}", tunnels.address)))
        .unwrap();
    let environment = [("HTTPS_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", "*")];
    let proxy = proxy(&node, &kubeconfig, &environment);
    proxy.wait_for_log("synced everything");
    let asked = tunnels.first().to_lowercase();
    assert!(asked.contains("proxy-authorization: basic dxnlcjpwyxnz\r\n"), "{asked}");
    assert!(!proxy.log().contains("pass"), "{}", proxy.log());
}

#[test]
fn a_proxy_that_cannot_be_used_is_named() {
    let node = Namespace::new("node").unwrap();
    let (_stand_in, kubeconfig, _) = cluster(&node, ", proxy-url: 'socks5://127.0.0.1:1'");
    let (status, log) = proxy(&node, &kubeconfig, &[]).ended();
    assert_eq!(status, Some(1));
    assert!(
        log.contains("the proxy socks5://127.0.0.1:1/ cannot be used: only http and https are known"),
        "{log}"
    );
}

/// client-go takes an address without a scheme for one of TLS where there is an authority.
#[test]
fn a_server_without_a_scheme_is_reached_by_tls_and_a_master_takes_its_place() {
    let node = Namespace::new("node").unwrap();
    let stand_in = StandIn::start();
    stand_in.apply(SERVICE);
    let kubeconfig = stand_in.listen_in(&node);
    let (address, unchanged) = (server_of(&kubeconfig), fs::read(&kubeconfig).unwrap());
    for (other, flag) in [
        (format!("server: '{address}'"), None),
        ("tls-server-name: 'elsewhere.invalid'".to_owned(), Some(format!("--master={address}"))),
        ("server: 'https://192.0.2.9'".to_owned(), Some(format!("--master=https://{address}"))),
    ] {
        fs::write(&kubeconfig, &unchanged).unwrap();
        replace_server(&kubeconfig, &other);
        let mut command = Command::new(program());
        command.args(common_flags("nftables", "node-1")).args(flag);
        command.arg(format!("--kubeconfig={}", kubeconfig.display()));
        Proxy::of(&node, &mut command).wait_for_log("synced everything");
    }
}

/// A balancer in between may be gone without a word, and a watch may have nothing to say for minutes: the kernel asks.
#[test]
fn silent_connections_are_asked_whether_the_other_end_is_there() {
    let node = Namespace::new("node").unwrap();
    let stand_in = StandIn::start();
    stand_in.apply(SERVICE);
    let kubeconfig = stand_in.listen_in(&node);
    let proxy = proxy(&node, &kubeconfig, &[]);
    proxy.wait_for_log("synced everything");
    let remote = format!(":{:04X}", server_of(&kubeconfig).port());
    proxy.wait("a timer on each connection", |_| {
        let table = node.run(|| fs::read_to_string("/proc/thread-self/net/tcp").unwrap()).unwrap();
        let fields = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let ours: Vec<Vec<&str>> =
            fields.filter(|fields| fields[2].ends_with(&remote) && fields[3] == "01").collect();
        // 02 is the keepalive timer (`get_tcp4_sock` in net/ipv4/tcp_ipv4.c).
        let asked = ours.iter().filter(|fields| fields[5].starts_with("02:")).count();
        (asked >= 4 && asked == ours.len()).then_some(())
    });
}
