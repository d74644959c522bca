//! What a Service adds to a new connection.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use kubeweir_e2e::generate;
use kubeweir_e2e::proxy::{Ours, Proxy};
use kubeweir_playground::{Namespace, Server, Veth};
use tempfile::TempDir;

use crate::measure::Samples;

const CONNECTIONS: u32 = 8_000;
const CLIENT: [u8; 4] = [192, 0, 2, 100];
const NODE: [u8; 4] = [192, 0, 2, 1];
const PORT: u16 = 8080;

/// Times `connect()` from a client through a node with so many Services: to a pod directly, and to a Service of that pod.
pub(crate) fn measure(services: u32) -> [Samples; 2] {
    let (client, node, pod) = (Namespace::new("client"), Namespace::new("node"), Namespace::new("pod"));
    let (client, node, pod) = (client.unwrap(), node.unwrap(), pod.unwrap());
    let backend = IpAddr::from(generate::endpoint(0, 0));
    Veth { here: &node, name: "eth0", there: &client, peer: "eth0" }.make().unwrap();
    Veth { here: &node, name: "pod0", there: &pod, peer: "eth0" }.make().unwrap();
    let address = |namespace: &Namespace, interface: &str, text: String| {
        namespace.address(interface, text.parse().unwrap()).unwrap();
    };
    address(&client, "eth0", format!("{}/24", IpAddr::from(CLIENT)));
    address(&node, "eth0", format!("{}/24", IpAddr::from(NODE)));
    address(&pod, "eth0", format!("{backend}/24"));
    let gateway = IpAddr::from([10, 200, 0, 254]);
    address(&node, "pod0", format!("{gateway}/24"));
    client.route("0.0.0.0/0".parse().unwrap(), IpAddr::from(NODE)).unwrap();
    pod.route("0.0.0.0/0".parse().unwrap(), gateway).unwrap();
    node.sysctl("ipv4/ip_forward", "1").unwrap();
    let _server = Server::start(&pod, "pod", &[backend], &[PORT]).unwrap();

    let manifests = TempDir::new().unwrap();
    generate::write(manifests.path(), services, 3);
    generate::write_slice(manifests.path(), [0]);
    let flags = vec![format!("--manifests={}", manifests.path().display())];
    let proxy = Proxy::ours(&node, &Ours { flags, name: "node-1" });
    proxy.wait_for_log("synced everything");
    let service: IpAddr = generate::service(0)["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
    let targets = [SocketAddr::new(backend, PORT), SocketAddr::new(service, 80)];
    client.run(|| time(targets)).unwrap()
}

/// The two in turn, so that both see the same noise.
fn time(targets: [SocketAddr; 2]) -> [Samples; 2] {
    let mut durations = [Vec::new(), Vec::new()];
    for _ in 0..CONNECTIONS {
        for (target, durations) in targets.iter().zip(&mut durations) {
            let begun = Instant::now();
            let stream = TcpStream::connect_timeout(target, Duration::from_secs(5)).unwrap();
            durations.push(begun.elapsed());
            drop(stream);
        }
    }
    durations.map(|durations| durations.into_iter().collect())
}
