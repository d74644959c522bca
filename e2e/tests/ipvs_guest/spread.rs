//! How schedulers spread real connections.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use kubeweir_e2e::proxy::Proxy;
use kubeweir_playground::Namespace;

use crate::lines::Conversation;
use crate::objects::{service, slice, weighted_slice};
use crate::stage::{Stage, ip};
use crate::witness::run;

const WEB: &str = "10.96.0.10:80";
const UDP_PORT: &str = "port: 8080, protocol: UDP";

fn web(scheduler: &str, port: &str) -> String {
    let annotation = format!("kubeweir.io/scheduler: {scheduler}");
    service("web", &annotation, &format!("clusterIP: 10.96.0.10, ports: [{{{port}}}]"))
}

/// How many of so many connections each endpoint gets.
fn spread(stage: &Stage, connections: u32) -> BTreeMap<String, u32> {
    let mut got = BTreeMap::new();
    for _ in 0..connections {
        *got.entry(stage.reached(WEB)).or_default() += 1;
    }
    got
}

fn shares(expected: &[(&str, u32)]) -> BTreeMap<String, u32> {
    expected.iter().map(|&(address, share)| (address.to_owned(), share)).collect()
}

/// Who answers a datagram to the Service from this place.
fn answers(client: &Namespace, from: SocketAddr) -> String {
    let ask = || -> std::io::Result<String> {
        let socket = UdpSocket::bind(from)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        socket.connect(WEB)?;
        socket.send(b"?")?;
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    let text = client.run(ask).unwrap().unwrap_or_else(|error| panic!("from {from}: {error}"));
    text.split(' ').next().unwrap().to_owned()
}

/// Waits until IPVS has forgotten all flows, so that each is scheduled anew.
fn wait_for_no_flows(stage: &Stage, proxy: &Proxy) {
    proxy.wait("no flows", |_| (run(&stage.node, "ipvsadm -lnc").lines().count() <= 2).then_some(()));
}

#[test]
#[ignore = "runs in a guest kernel"]
fn rr_is_even_and_wrr_follows_the_weights_of_slices() {
    let endpoints = ["10.244.1.2", "10.244.1.3", "10.244.1.4"];
    let stage = Stage::with_endpoints(endpoints);
    stage.put("web", &(web("rr", "port: 80") + &slice("web", "port: 8080", &endpoints)));
    let proxy = stage.start(&[]);
    assert_eq!(spread(&stage, 30), shares(&[("10.244.1.2", 10), ("10.244.1.3", 10), ("10.244.1.4", 10)]));
    let weighted = |name, address, weight: u32| {
        weighted_slice(name, "web", "port: 8080", &[address], &format!("kubeweir.io/weight: '{weight}'"))
    };
    let slices = weighted("heavy", endpoints[0], 30) + &weighted("light", endpoints[1], 10);
    stage.put("web", &(web("wrr", "port: 80") + &slices));
    proxy.wait("weights", |_| {
        let weights: Vec<u32> = stage.weights().iter().map(|(_, weight)| *weight).collect();
        matches!(weights[..], [30, 10] | [30, 10, 0]).then_some(())
    });
    assert_eq!(spread(&stage, 40), shares(&[("10.244.1.2", 30), ("10.244.1.3", 10)]));
}

#[test]
#[ignore = "runs in a guest kernel"]
fn lc_prefers_whoever_is_idle() {
    let stage = Stage::with_endpoints(["10.244.1.2", "10.244.1.3"]);
    let endpoints = |addresses: &[&str]| stage.put("endpoints", &slice("web", "port: 7777", addresses));
    stage.put("web", &web("lc", "port: 80"));
    endpoints(&["10.244.1.2"]);
    let proxy = stage.start(&[]);
    let talk = || {
        let mut conversation = Conversation::open(&stage.client, WEB);
        (conversation.partner(), conversation)
    };
    let busy: Vec<_> = (0..4).map(|_| talk()).collect();
    assert!(busy.iter().all(|(partner, _)| partner == "10.244.1.2"));
    endpoints(&["10.244.1.2", "10.244.1.3"]);
    stage.wait_for_weights(&proxy, &[("10.244.1.2", 1), ("10.244.1.3", 1)]);
    let new: Vec<_> = (0..4).map(|_| talk()).collect();
    let partners: Vec<&str> = new.iter().map(|(partner, _)| partner.as_str()).collect();
    assert_eq!(partners, ["10.244.1.3"; 4]);
}

#[test]
#[ignore = "runs in a guest kernel"]
fn sh_keeps_a_client_with_its_endpoint_and_mh_keeps_flows_when_one_of_ten_endpoints_goes() {
    let addresses: Vec<String> = (2..12).map(|last| format!("10.244.1.{last}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let stage = Stage::with_endpoints(addresses.iter().copied());
    let put = |scheduler: &str, endpoints: &[&str]| {
        stage.put("web", &(web(scheduler, "port: 80, protocol: UDP") + &slice("web", UDP_PORT, endpoints)));
    };
    put("sh", &addresses);
    let proxy = stage.start(&["--ipvs-udp-timeout=1s"]);
    check_sh(&stage);
    put("mh", &addresses);
    proxy.wait("mh", |_| stage.listed()[0].contains(" mh (mh-fallback,mh-port)").then_some(()));
    wait_for_no_flows(&stage, &proxy);
    let flows = || {
        (20_000..20_200).map(|port| (port, answers(&stage.client, SocketAddr::new(ip("192.0.2.100"), port))))
    };
    let before: BTreeMap<u16, String> = flows().collect();
    assert!(before.values().collect::<BTreeSet<_>>().len() >= 8, "{before:?}");
    put("mh", &addresses[1..]);
    proxy.wait("nine endpoints", |_| (stage.weights().len() == 9).then_some(()));
    wait_for_no_flows(&stage, &proxy);
    let after: BTreeMap<u16, String> = flows().collect();
    let stayed: Vec<_> = before.iter().filter(|(_, endpoint)| *endpoint != addresses[0]).collect();
    let kept = stayed.iter().filter(|(port, endpoint)| after[*port] == **endpoint).count();
    println!("mh kept {kept} of {} flows", stayed.len());
    assert!(kept * 10 >= stayed.len() * 9, "{kept} of {}", stayed.len());
    assert!(after.values().all(|endpoint| endpoint != addresses[0]));
}

/// Eight clients, each with three flows.
fn check_sh(stage: &Stage) {
    let mut endpoints = BTreeSet::new();
    for client in (101..109).map(|last| ip(&format!("192.0.2.{last}"))) {
        stage.client.address("eth0", ipnet::IpNet::new(client, 24).unwrap()).unwrap();
        let theirs: BTreeSet<String> =
            (30_000..30_003).map(|port| answers(&stage.client, SocketAddr::new(client, port))).collect();
        assert_eq!(theirs.len(), 1, "{client}: {theirs:?}");
        endpoints.extend(theirs);
    }
    assert!(endpoints.len() > 1, "{endpoints:?}");
}
