//! An endpoint that goes keeps the connections it has, for a while.

use kubeweir_e2e::proxy::Proxy;

use crate::lines::Conversation;
use crate::objects::{service, slice};
use crate::stage::Stage;

const WEB: &str = "10.96.0.10:80";
const A: &str = "10.244.1.2";
const B: &str = "10.244.1.3";

fn stage() -> Stage {
    let stage = Stage::with_endpoints([A, B]);
    stage.put("web", &service("web", "", "clusterIP: 10.96.0.10, ports: [{port: 80}]"));
    endpoints(&stage, &[A, B]);
    stage
}

fn endpoints(stage: &Stage, addresses: &[&str]) {
    stage.put("endpoints", &slice("web", "port: 7777", addresses));
}

/// A connection to the endpoint.
fn with(stage: &Stage, endpoint: &str) -> Conversation {
    for _ in 0..2 {
        let mut conversation = Conversation::open(&stage.client, WEB);
        if conversation.partner() == endpoint {
            return conversation;
        }
    }
    panic!("rr does not come to {endpoint}");
}

/// A connection to the first endpoint, which goes.
fn drained(stage: &Stage, proxy: &Proxy) -> Conversation {
    let conversation = with(stage, A);
    endpoints(stage, &[B]);
    stage.wait_for_weights(proxy, &[(A, 0), (B, 1)]);
    conversation
}

#[test]
#[ignore = "runs in a guest kernel"]
fn a_connection_goes_on_and_the_real_server_goes_when_it_has_ended() {
    let stage = stage();
    let proxy = stage.start(&["--ipvs-tcpfin-timeout=1s"]);
    let mut conversation = drained(&stage, &proxy);
    for _ in 0..4 {
        assert_eq!(Conversation::open(&stage.client, WEB).partner(), B);
        assert_eq!(conversation.partner(), A);
    }
    assert_eq!(stage.weights(), [(A.to_owned(), 0), (B.to_owned(), 1)]);
    conversation.end();
    stage.wait_for_weights(&proxy, &[(B, 1)]);
}

#[test]
#[ignore = "runs in a guest kernel"]
fn a_connection_ends_with_its_time() {
    let stage = stage();
    let proxy = stage.start(&["--ipvs-drain-timeout=2s"]);
    let mut conversation = with(&stage, A);
    endpoints(&stage, &[B]);
    stage.wait_for_weights(&proxy, &[(B, 1)]);
    let ended = conversation.ask().unwrap_err();
    assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset, "{ended}");
    assert_eq!(Conversation::open(&stage.client, WEB).partner(), B);
}

#[test]
#[ignore = "runs in a guest kernel"]
fn an_endpoint_that_comes_back_keeps_its_connection_and_gets_new_ones() {
    let stage = stage();
    let proxy = stage.start(&["--ipvs-tcpfin-timeout=1s"]);
    let mut conversation = drained(&stage, &proxy);
    endpoints(&stage, &[A, B]);
    stage.wait_for_weights(&proxy, &[(A, 1), (B, 1)]);
    assert_eq!(conversation.partner(), A);
    let mut second = with(&stage, A);
    assert_eq!((conversation.partner(), second.partner()), (A.to_owned(), A.to_owned()));
    // And nothing of the first time is left that would end it.
    conversation.end();
    endpoints(&stage, &[B]);
    stage.wait_for_weights(&proxy, &[(A, 0), (B, 1)]);
    assert_eq!(second.partner(), A);
}
