//! What IPVS mode asks of the kernel, in which order, and how real servers go.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Cluster, PATIENCE, endpoint, port, real, server, service};
use kubeweir_ipvs::Error;
use kubeweir_ipvs::glance::Loss;
use kubeweir_ipvs::kernel::ObservedServer;
use kubeweir_ipvs::schedulers::{Lacking, Schedulers};
use kubeweir_ipvs::sim::Simulated;
use kubeweir_netfilter::diff::describe;
use kubeweir_netfilter::{Commit, Kernel, Operation};
use kubeweir_netlink::ipvs::{Flags, Identity, RealServer, Scheduling};
use kubeweir_netlink::{Errno, Family};
use kubeweir_nftables::names::{SERVICES, TABLE_BESIDE_SERVERS};
use kubeweir_plan::{Changed, Protocol};

const TCP: Protocol = Protocol::Tcp;

#[test]
fn one_endpoint_among_two_thousand_services_is_a_handful_of_requests() {
    let mut cluster = Cluster::new(2000);
    let done = cluster.endpoints(7, vec![endpoint(7, 1), endpoint(7, 2), endpoint(7, 4)]);
    // A new real server, weight 0 for the old one, its connections counted, and it goes. The table has no part in it.
    assert_eq!((done.requests, done.batches), (4, 0));
    assert_eq!(cluster.weights(server(7, TCP)), [(1, 1), (2, 1), (4, 1)]);
    cluster.restart();
    let started = cluster.sync(&Changed::default()).unwrap();
    assert_eq!((started.operations, started.batches), (0, 0), "a restart changes nothing");
}

#[test]
fn everything_is_ready_before_an_address_is_taken_on_and_given_up_before_it_goes() {
    let mut cluster = Cluster::before_start(Simulated::default());
    cluster.snapshot.put_slice(common::slice(1, vec![endpoint(1, 1)]).into());
    cluster.put(service(1));
    let log = std::mem::take(&mut cluster.mode.kernel().log);
    assert_eq!(
        log,
        ["-A -t 10.96.0.1:80 -s rr", "-a -t 10.96.0.1:80 -r 172.0.1.1:8080 -m -w 1", "bind 10.96.0.1"]
    );
    let changed = cluster.snapshot.remove_service(&common::name(1));
    cluster.sync(&changed).unwrap();
    assert_eq!(cluster.mode.kernel().log, ["unbind 10.96.0.1", "-D -t 10.96.0.1:80"]);
}

#[test]
fn nobody_is_kept_from_translating_before_virtual_servers_are_there_and_a_restart_goes_on() {
    let mut cluster = Cluster::before_start(Simulated::default());
    cluster.snapshot.put_service(service(1).into());
    let difference = |cluster: &mut Cluster| {
        cluster.mode.observe().unwrap();
        let update = cluster.planner.update(&cluster.snapshot, &cluster.facts, &Changed::default());
        let all = cluster.mode.difference(cluster.planner.plan(), &update.services, true, cluster.now);
        [all.tables.commits, all.tables.claims]
            .map(|commits| commits.iter().map(describe).collect::<String>())
    };
    let keeps = |text: &String| text.contains("@virtual-servers dnat to ip6 daddr");
    assert_eq!(difference(&mut cluster).each_ref().map(keeps), [false, true]);
    cluster.sync(&Changed::default()).unwrap();
    cluster.restart();
    assert_eq!(difference(&mut cluster), ["", ""]);
    // Their rules are gone, as when another mode had begun to take over.
    let mut commit = Commit::new(kubeweir_netfilter::Family::Ip, TABLE_BESIDE_SERVERS);
    commit.push(Operation::FlushChain(SERVICES.to_owned()));
    cluster.mode.tables().kernel().commit(&[commit], None).unwrap();
    let [first, claims] = difference(&mut cluster);
    assert!(
        first.contains("@virtual-servers accept") && claims.contains("@virtual-servers dnat to ip daddr")
    );
    assert!(!keeps(&first) && !keeps(&claims), "the other family goes on");
}

#[test]
fn a_real_server_with_connections_drains_and_is_deleted_when_it_has_none() {
    let mut cluster = Cluster::new(1);
    cluster.connect(0, TCP, 3, 2);
    cluster.endpoints(0, vec![endpoint(0, 1), endpoint(0, 2)]);
    assert_eq!(cluster.weights(server(0, TCP)), [(1, 1), (2, 1), (3, 0)]);
    let due = cluster.mode.due().unwrap();
    assert!(due <= cluster.now + Duration::from_secs(1), "not a minute's poll");
    cluster.connect(0, TCP, 3, 0);
    assert_eq!(cluster.mode.tend(due).unwrap().operations, 1);
    assert_eq!(cluster.weights(server(0, TCP)), [(1, 1), (2, 1)]);
    assert_eq!(cluster.mode.due(), None);
}

#[test]
fn draining_ends_at_the_deadline_which_starts_when_the_endpoint_is_gone() {
    let mut cluster = Cluster::new(1);
    cluster.connect(0, TCP, 3, 2);
    let mut leaving = endpoint(0, 3);
    (leaving.ready, leaving.terminating) = (false, true);
    cluster.endpoints(0, vec![endpoint(0, 1), leaving]);
    cluster.now += 10 * PATIENCE;
    let _ = cluster.mode.tend(cluster.now).unwrap();
    assert_eq!(cluster.weights(server(0, TCP)), [(1, 1), (3, 0)], "it is still there");
    cluster.endpoints(0, vec![endpoint(0, 1)]);
    let _ = cluster.mode.tend(cluster.now + PATIENCE / 2).unwrap();
    assert_eq!(cluster.weights(server(0, TCP)), [(1, 1), (3, 0)]);
    let _ = cluster.mode.tend(cluster.now + PATIENCE).unwrap();
    assert_eq!(cluster.weights(server(0, TCP)), [(1, 1)]);
}

#[test]
fn an_endpoint_that_comes_back_while_it_drains_only_gets_its_weight_again() {
    let mut cluster = Cluster::new(1);
    cluster.connect(0, TCP, 3, 2);
    cluster.endpoints(0, vec![endpoint(0, 1)]);
    cluster.mode.kernel().log.clear();
    cluster.endpoints(0, vec![endpoint(0, 1), endpoint(0, 3)]);
    assert_eq!(cluster.mode.kernel().log, ["-e -t 10.96.0.0:80 -r 172.0.0.3:8080 -m -w 1"]);
    assert_eq!(cluster.mode.draining(), 0);
}

#[test]
fn a_datagram_server_that_is_gone_goes_at_once_and_one_that_still_serves_may_stay() {
    let mut cluster = Cluster::new(1);
    let mut dns = service(0);
    dns.ports = [port(Protocol::Udp)].into();
    cluster.put(dns);
    cluster.connect(0, Protocol::Udp, 3, 5);
    cluster.connect(0, Protocol::Udp, 2, 5);
    let mut leaving = endpoint(0, 3);
    (leaving.ready, leaving.terminating) = (false, true);
    cluster.endpoints(0, vec![endpoint(0, 1), leaving]);
    assert_eq!(cluster.weights(server(0, Protocol::Udp)), [(1, 1), (3, 0)]);
    cluster.endpoints(0, vec![endpoint(0, 1)]);
    assert_eq!(cluster.weights(server(0, Protocol::Udp)), [(1, 1)]);
}

#[test]
fn a_restart_leaves_no_wanted_real_server_at_weight_0_and_drains_what_is_not_wanted() {
    let mut cluster = Cluster::new(1);
    cluster.connect(0, TCP, 3, 2);
    cluster.endpoints(0, vec![endpoint(0, 1)]);
    cluster.restart();
    cluster.sync(&Changed::default()).unwrap();
    assert_eq!((cluster.weights(server(0, TCP)), cluster.mode.draining()), (vec![(1, 1), (3, 0)], 1));
    cluster.restart();
    let changed = cluster.snapshot.put_slice(common::slice(0, vec![endpoint(0, 1), endpoint(0, 3)]).into());
    cluster.sync(&changed).unwrap();
    assert_eq!((cluster.weights(server(0, TCP)), cluster.mode.draining()), (vec![(1, 1), (3, 1)], 0));
}

#[test]
fn virtual_servers_of_others_survive_and_what_we_left_behind_does_not() {
    let mut kernel = Simulated::default();
    let scheduling = Scheduling::new("wlc", Family::V4);
    let at: SocketAddr = "172.31.0.1:80".parse().unwrap();
    let real = [(at, RealServer::masqueraded(at, 5))].into();
    let foreign = ObservedServer { scheduling: scheduling.clone(), real };
    let foreign_at = |text: &str| Identity::at(6, text.parse().unwrap());
    for place in ["203.0.113.99:80", "192.0.2.1:8443"] {
        kernel.state.servers.insert(foreign_at(place), foreign.clone());
    }
    let mark = Identity::Mark { family: Family::V4, mark: 7.try_into().unwrap() };
    kernel.state.servers.insert(mark, foreign.clone());
    // What kube-proxy in IPVS mode leaves: a virtual server at an address on the device.
    kernel.state.bound.insert("10.96.9.9".parse().unwrap());
    kernel.state.servers.insert(foreign_at("10.96.9.9:80"), foreign.clone());
    let mut cluster = Cluster::before_start(kernel);
    let mut with_node_port = service(1);
    with_node_port.ports[0].node_port = 30_080;
    cluster.put(with_node_port.clone());
    let places = |cluster: &mut Cluster| -> Vec<String> {
        cluster.mode.kernel().state.servers.keys().map(ToString::to_string).collect()
    };
    let theirs = ["TCP 192.0.2.1:8443", "TCP 203.0.113.99:80", "FWM 7"];
    let with_ours =
        ["TCP 10.96.0.1:80", "TCP 192.0.2.1:8443", "TCP 192.0.2.1:30080", "TCP 203.0.113.99:80", "FWM 7"];
    assert_eq!(places(&mut cluster), with_ours);
    // Gone while no process ran: the table knows that the NodePort was ours.
    cluster.snapshot.remove_service(&common::name(1));
    cluster.restart();
    cluster.sync(&Changed::default()).unwrap();
    assert_eq!(places(&mut cluster), theirs);
    assert_eq!(cluster.mode.kernel().state.servers[&mark], foreign, "untouched");
}

#[test]
fn a_scheduler_that_the_kernel_lacks_is_replaced_and_named() {
    let mut kernel = Simulated::default();
    kernel.lacks.insert("mh".to_owned());
    let mut cluster = Cluster::before_start(kernel);
    cluster.snapshot.put_slice(common::slice(1, vec![endpoint(1, 1)]).into());
    let mut picky = service(1);
    picky.scheduler = Some("mh".into());
    let done = cluster.put(picky.clone());
    let lacking = Lacking { service: Some(common::name(1)), scheduler: "mh".into(), instead: "rr".into() };
    assert_eq!(done.lacking, std::slice::from_ref(&lacking));
    assert_eq!(cluster.mode.kernel().state.servers[&server(1, TCP)].scheduling.scheduler, "rr");
    picky.affinity = Some(300);
    assert_eq!(cluster.put(picky).lacking, [lacking], "as long as it is so");
    let scheduling = &cluster.mode.kernel().state.servers[&server(1, TCP)].scheduling;
    assert_eq!((scheduling.scheduler.as_str(), scheduling.flags), ("rr", Flags::PERSISTENT));
}

#[test]
fn what_one_object_is_refused_keeps_no_other_from_being_programmed_and_is_tried_again() {
    let mut kernel = Simulated::default();
    kernel.refuses.insert(server(1, TCP), Errno::EINVAL);
    let mut cluster = Cluster::before_start(kernel);
    let mut changed = cluster.snapshot.put_service(service(1).into());
    changed.merge(cluster.snapshot.put_service(service(2).into()));
    let refused = cluster.sync(&changed).unwrap().refused;
    let text = refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(text.starts_with("-A -t 10.96.0.1:80 -s rr for Service default/service-1"), "{text}");
    assert_eq!(refused.len(), 1, "{text}");
    assert!(cluster.mode.kernel().state.servers.contains_key(&server(2, TCP)));
    assert!(cluster.mode.is_known(), "other changes cost what they cost");
    cluster.mode.kernel().refuses.clear();
    let due = cluster.mode.due().unwrap();
    let _ = cluster.mode.tend(due).unwrap();
    let done = cluster.sync(&Changed::default()).unwrap();
    assert_eq!((done.operations, done.refused.len()), (1, 0), "only what was missing");
    assert_eq!(cluster.mode.due(), None);
}

#[test]
fn what_is_not_as_it_was_thought_to_be_is_read_again() {
    let mut cluster = Cluster::new(2);
    cluster.mode.kernel().state.servers.clear();
    let changed = cluster.snapshot.put_slice(common::slice(0, vec![endpoint(0, 1), endpoint(0, 9)]).into());
    assert!(matches!(cluster.sync(&changed), Err(Error::Surprised(_))));
    assert!(!cluster.mode.is_known());
    cluster.sync(&Changed::default()).unwrap();
    assert_eq!(cluster.weights(server(0, TCP)), [(1, 1), (9, 1)]);
    assert_eq!(cluster.weights(server(1, TCP)), [(1, 1), (2, 1), (3, 1)]);
}

#[test]
fn an_endpoint_that_drained_when_its_virtual_server_was_deleted_is_not_deleted_after_it() {
    let mut cluster = Cluster::new(1);
    cluster.connect(0, TCP, 3, 2);
    cluster.endpoints(0, vec![endpoint(0, 1)]);
    assert_eq!(cluster.mode.draining(), 1);
    cluster.mode.kernel().state.servers.clear();
    cluster.mode.forget();
    // It is back in the very pass that makes its virtual server again.
    cluster.endpoints(0, vec![endpoint(0, 1), endpoint(0, 3)]);
    assert_eq!((cluster.mode.draining(), cluster.mode.due()), (0, None));
    assert_eq!(cluster.weights(server(0, TCP)), [(1, 1), (3, 1)]);
}

#[test]
fn a_glance_sees_tables_the_device_and_one_virtual_server_after_the_other() {
    let mut cluster = Cluster::new(3);
    let spent = |cluster: &mut Cluster| cluster.mode.kernel().log.len();
    let before = spent(&mut cluster);
    for _ in 0..6 {
        assert_eq!(cluster.mode.glance().unwrap(), None);
    }
    assert_eq!(spent(&mut cluster), before, "nothing is changed for it");
    cluster.mode.kernel().state.servers.remove(&server(1, TCP));
    let lost: Vec<_> = (0..3).filter_map(|_| cluster.mode.glance().unwrap()).collect();
    assert_eq!(lost, [Loss::Server(server(1, TCP))]);
    cluster.mode.kernel().device += 1;
    assert_eq!(cluster.mode.glance().unwrap(), Some(Loss::Device), "another one");
    cluster.mode.kernel().has_device = false;
    assert_eq!(cluster.mode.glance().unwrap(), Some(Loss::Device));
    let mut commit = Commit::new(kubeweir_netfilter::Family::Ip6, TABLE_BESIDE_SERVERS);
    commit.push(Operation::DeleteTable);
    cluster.mode.tables().kernel().commit(&[commit], None).unwrap();
    assert_eq!(cluster.mode.glance().unwrap(), Some(Loss::Tables));
    cluster.mode.forget();
    assert_eq!(cluster.mode.glance().unwrap(), None, "nothing is known");
    cluster.mode.kernel().state.bound.clear();
    cluster.sync(&Changed::default()).unwrap();
    for _ in 0..3 {
        assert_eq!(cluster.mode.glance().unwrap(), None, "there again");
    }
}

#[test]
fn what_was_never_there_is_not_missed() {
    let mut cluster = Cluster::before_start(Simulated::default());
    assert_eq!(cluster.mode.glance().unwrap(), None, "not known yet");
    cluster.sync(&Changed::default()).unwrap();
    assert_eq!(cluster.mode.glance().unwrap(), None, "no Service, no device");
    cluster.mode.kernel().refuses.insert(server(1, TCP), Errno::EINVAL);
    assert_eq!(cluster.put(service(1)).refused.len(), 1);
    for _ in 0..3 {
        assert_eq!(cluster.mode.glance().unwrap(), None, "refused, and tried again anyway");
    }
}

#[test]
fn policy_local_and_weights_do_not_cost_more_than_they_are() {
    let mut cluster = Cluster::new(1);
    let changed = cluster.snapshot.put_slice(
        kubeweir_plan::input::EndpointSlice {
            weight: Some("3".into()),
            ..common::slice(0, vec![endpoint(0, 1), endpoint(0, 2)])
        }
        .into(),
    );
    let done = cluster.sync(&changed).unwrap();
    assert_eq!(cluster.weights(server(0, TCP)), [(1, 3), (2, 3)]);
    // Two weights, and the third endpoint: weight 0, count, delete.
    assert_eq!(done.requests, 2 + 3);
    assert_eq!(real(0, 1).port(), 8080);
}

#[test]
fn under_dh_nothing_drains_since_it_refuses_what_hashes_to_weight_0() {
    let mut cluster = Cluster::new(1);
    let mut hashed = service(0);
    hashed.scheduler = Some("dh".into());
    cluster.put(hashed);
    cluster.connect(0, TCP, 3, 2);
    cluster.endpoints(0, vec![endpoint(0, 1), endpoint(0, 2)]);
    assert_eq!((cluster.weights(server(0, TCP)), cluster.mode.draining()), (vec![(1, 1), (2, 1)], 0));
}

#[test]
fn another_scheduler_is_taken_over_without_a_server_going() {
    let mut cluster = Cluster::new(2);
    let before = cluster.mode.kernel().state.clone();
    let tables = kubeweir_nftables::Options::rules(1); // how tables are laid out stays
    let settings = kubeweir_ipvs::Settings { tables, excluded: Vec::new(), patience: PATIENCE };
    cluster.mode.reconfigure(settings, Schedulers::new("lc"));
    let done = cluster.sync(&Changed::default()).unwrap();
    assert_eq!((done.batches, done.requests), (0, 2), "one for each virtual server");
    let after = cluster.mode.kernel().state.clone();
    for (identity, server) in &after.servers {
        assert_eq!(server.scheduling.scheduler, "lc");
        assert_eq!(server.real, before.servers[identity].real);
    }
    assert_eq!(cluster.sync(&Changed::default()).unwrap().operations, 0);
}
