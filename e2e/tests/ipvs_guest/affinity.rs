//! Session affinity is persistence.

use crate::lines::Conversation;
use crate::objects::{service, slice};
use crate::stage::Stage;
use crate::witness::run;

const WEB: &str = "10.96.0.10:80";

#[test]
#[ignore = "runs in a guest kernel"]
fn a_client_stays_until_its_time_is_over_or_its_endpoint_goes() {
    let all = ["10.244.1.2", "10.244.1.3", "10.244.1.4"];
    let stage = Stage::with_endpoints(all);
    let put = |endpoints: &[&str]| {
        let spec = "clusterIP: 10.96.0.10, sessionAffinity: ClientIP, \
            sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}, ports: [{port: 80}]";
        stage.put("web", &(service("web", "", spec) + &slice("web", "port: 7777", endpoints)));
    };
    put(&all);
    let proxy = stage.start(&["--ipvs-tcpfin-timeout=1s"]);
    assert_eq!(stage.listed()[0], "TCP 10.96.0.10:80 rr persistent 5");
    // The kernel holds a connection that both sides have ended for two minutes, and with it the memory. Clients here leave theirs
    // half open, and that is forgotten after a second.
    let mut half_open = Vec::new();
    let mut ask = || {
        let mut conversation = Conversation::open(&stage.client, WEB);
        let partner = conversation.partner();
        conversation.end();
        half_open.push(conversation);
        partner
    };
    let mut stays = || {
        let endpoint = ask();
        for _ in 0..4 {
            assert_eq!(ask(), endpoint);
        }
        endpoint
    };
    let first = stays();
    let remembered = || run(&stage.node, "ipvsadm -lnc").lines().count() > 2;
    // An endpoint that goes takes the memory of its clients with it, and at once.
    let others: Vec<&str> = all.into_iter().filter(|address| *address != first).collect();
    put(&others);
    proxy.wait("no more of it", |_| {
        stage.weights().iter().all(|(address, weight)| *address != first || *weight == 0).then_some(())
    });
    assert!(remembered());
    let second = stays();
    assert_ne!(second, first);
    // Without one of them the next in turn is another.
    proxy.wait("the end of the client's time", |_| (!remembered()).then_some(()));
    assert_ne!(stays(), second);
}
