//! What others have made stays.

use kubeweir_playground::Namespace;
use nix::sys::signal::Signal;

use crate::objects::{service, slice};
use crate::stage::Stage;
use crate::witness::run;

const FOREIGN: [&str; 10] = [
    // At an address of its own, at this node's own, and by a mark.
    "ipvsadm -A -t 198.51.100.5:80 -s wlc",
    "ipvsadm -a -t 198.51.100.5:80 -r 198.51.100.6:80 -g -w 7",
    "ipvsadm -A -t 192.0.2.1:8443 -s sh",
    "ipvsadm -a -t 192.0.2.1:8443 -r 10.9.9.9:443 -m -w 0",
    "ipvsadm -A -f 77 -s rr -p 30",
    "ipvsadm -a -f 77 -r 10.9.9.8:0 -i",
    "ip link add other0 type dummy",
    "ip address add 198.51.100.9/32 dev other0",
    "nft add table inet somebody",
    "nft add chain inet somebody input { type filter hook input priority 5 ; }",
];

/// All that is not ours.
fn foreign(node: &Namespace) -> String {
    let servers = ["-t 198.51.100.5:80", "-t 192.0.2.1:8443", "-f 77"]
        .map(|server| run(node, &format!("ipvsadm -ln {server}")));
    servers.concat() + &run(node, "ip address show dev other0") + &run(node, "nft list table inet somebody")
}

#[test]
#[ignore = "runs in a guest kernel"]
fn servers_tables_and_devices_of_others_survive_starts_changes_and_ends() {
    let stage = Stage::new();
    for line in FOREIGN {
        run(&stage.node, line);
    }
    let before = foreign(&stage.node);
    assert!(
        before.contains("198.51.100.6:80") && before.contains("FWM  77") && before.contains("hook input")
    );
    let put = |endpoints: &[&str]| {
        let spec = "type: NodePort, clusterIP: 10.96.0.10, ports: [{port: 80, nodePort: 30080}]";
        stage.put("web", &(service("web", "", spec) + &slice("web", "port: 8080", endpoints)));
    };
    put(&["10.244.1.2"]);
    let proxy = stage.start(&[]);
    let ours = |endpoint: &str| stage.listed().iter().filter(|line| line.contains(endpoint)).count();
    assert_eq!((foreign(&stage.node), ours("10.244.1.2")), (before.clone(), 2));
    put(&["10.244.1.3"]);
    proxy.wait("a change", |_| (ours("10.244.1.3") == 2 && ours("10.244.1.2") == 0).then_some(()));
    assert_eq!(foreign(&stage.node), before);
    proxy.end(Signal::SIGKILL);
    stage.put("web", "");
    let proxy = stage.start(&[]);
    // Ours are gone, and only ours.
    assert_eq!((foreign(&stage.node), stage.listed().len()), (before.clone(), 6));
    let (code, log) = proxy.end(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(foreign(&stage.node), before);
}
