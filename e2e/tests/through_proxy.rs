//! The API server behind an HTTP proxy, as the environment or the kubeconfig names one, and programs in Go would find it.

use std::fs;
use std::io::{Read, Write, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::proxy::{Proxy, common_flags, program};
use kubeweir_playground::Namespace;

/// Nothing resolves this name, so nothing reaches the server but by way of who knows where it is.
const SERVER: &str = "api.cluster.invalid:6443";
const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: default}\nspec: {clusterIP: 10.96.7.7, ports: [{port: 80}]}\n";

/// A proxy that serves `CONNECT`, and what it was asked for.
struct Tunnels {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnels {
    /// All of them lead to this server.
    fn to(node: &Namespace, server: SocketAddr) -> Tunnels {
        let listener = node.run(|| TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let tunnels = Tunnels { address: listener.local_addr().unwrap(), asked: Arc::default() };
        let (asked, node) = (Arc::clone(&tunnels.asked), node.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = node.run(|| TcpStream::connect(server).unwrap()).unwrap();
                let asked = Arc::clone(&asked);
                thread::spawn(move || serve(client, server, &asked));
            }
        });
        tunnels
    }
}

fn serve(mut client: TcpStream, mut server: TcpStream, asked: &Mutex<Vec<String>>) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    asked.lock().unwrap().push(String::from_utf8(head).unwrap());
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        drop(copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Both));
    });
    drop(copy(&mut client, &mut server));
    drop(server.shutdown(Shutdown::Both));
}

/// A cluster whose kubeconfig has another address of its server, perhaps with more about it, and the right address.
fn cluster(node: &Namespace, more: &str) -> (StandIn, PathBuf, SocketAddr) {
    let stand_in = StandIn::start();
    stand_in.apply(SERVICE);
    let kubeconfig = stand_in.listen_in(node);
    let text = fs::read_to_string(&kubeconfig).unwrap();
    let address = text.split("server: '").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    let other = format!("server: 'https://{SERVER}', tls-server-name: 'localhost'{more}");
    fs::write(&kubeconfig, text.replace(&format!("server: '{address}'"), &other)).unwrap();
    (stand_in, kubeconfig, address.trim_start_matches("https://").parse().unwrap())
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
    let tunnels = Tunnels::to(&node, server);
    let address = tunnels.address.to_string();
    // Without a scheme, and beside exceptions that do not concern this server or mean nothing.
    let environment = [("HTTPS_PROXY", address.as_str()), ("NO_PROXY", "10.0.0.0/8,*.invalid:1,,a b/")];
    let proxy = proxy(&node, &kubeconfig, &environment);
    proxy.wait_for_log("synced everything");
    let asked = tunnels.asked.lock().unwrap().clone();
    assert!(asked[0].starts_with(&format!("CONNECT {SERVER} HTTP/1.1\r\n")), "{asked:?}");
}

#[test]
fn a_proxy_of_the_kubeconfig_comes_first_and_gets_its_password() {
    let node = Namespace::new("node").unwrap();
    let (_stand_in, kubeconfig, server) = cluster(&node, ", proxy-url: '{proxy}'");
    let tunnels = Tunnels::to(&node, server);
    let text = fs::read_to_string(&kubeconfig).unwrap();
    fs::write(&kubeconfig, text.replace("{proxy}", &format!("http://user:pass@{}", tunnels.address)))
        .unwrap();
    let environment = [("HTTPS_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", "*")];
    let proxy = proxy(&node, &kubeconfig, &environment);
    proxy.wait_for_log("synced everything");
    let asked = tunnels.asked.lock().unwrap().clone();
    assert!(asked[0].to_lowercase().contains("proxy-authorization: basic dxnlcjpwyxnz\r\n"), "{asked:?}");
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
    let text = fs::read_to_string(&kubeconfig).unwrap();
    let address = text.split("server: 'https://").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    let server = format!("server: 'https://{address}'");
    for (other, flag) in [
        (format!("server: '{address}'"), None),
        ("tls-server-name: 'elsewhere.invalid'".to_owned(), Some(format!("--master={address}"))),
        ("server: 'https://192.0.2.9'".to_owned(), Some(format!("--master=https://{address}"))),
    ] {
        fs::write(&kubeconfig, text.replace(&server, &other)).unwrap();
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
    let text = fs::read_to_string(&kubeconfig).unwrap();
    let port = text.split("server: 'https://127.0.0.1:").nth(1).unwrap().split('\'').next().unwrap();
    let remote = format!(":{:04X}", port.parse::<u16>().unwrap());
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
