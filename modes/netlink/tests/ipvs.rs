//! IPVS and dummy devices of a real kernel. Both are modules that few hosts have loaded, so these tests run in a guest.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::process::{Command, Stdio};

use kubeweir_netlink::bulk::{CHUNK, Outcome};
use kubeweir_netlink::ipvs::{
    Client, Flags, Forwarding, Identity, Netmask, RealServer, Request, Scheduling, Timeouts,
};
use kubeweir_netlink::link::{self, Address};
use kubeweir_netlink::{Errno, Error, Family};
use kubeweir_playground::Namespace;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

fn inside<T: Send>(work: impl FnOnce(&mut Client, &Namespace) -> T + Send) -> T {
    let namespace = Namespace::new("ipvs-test").unwrap();
    namespace.run(|| work(&mut Client::open().unwrap(), &namespace)).unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn frontend(family: Family, protocol: u8) -> Identity {
    match family {
        Family::V4 => Identity::at(protocol, at("10.96.0.1:443")),
        Family::V6 => Identity::at(protocol, at("[fd00:96::1]:443")),
    }
}

fn mark(family: Family, mark: u32) -> Identity {
    Identity::Mark { family, mark: NonZeroU32::new(mark).unwrap() }
}

#[test]
#[ignore = "runs in a guest kernel"]
fn one_virtual_server_can_be_asked_for() {
    inside(|client, _| {
        let all: Vec<Identity> = [Family::V4, Family::V6]
            .into_iter()
            .flat_map(|family| [frontend(family, TCP), frontend(family, UDP), mark(family, 7)])
            .collect();
        for identity in &all {
            assert!(!client.has(identity).unwrap(), "{identity}");
        }
        for identity in &all {
            carry_out(client, &[Request::NewServer(*identity, rr(identity.family()))]);
            assert!(client.has(identity).unwrap(), "{identity}");
        }
        carry_out(client, &[Request::DeleteServer(all[0])]);
        assert!(!client.has(&all[0]).unwrap() && client.has(&all[1]).unwrap());
    });
}

fn rr(family: Family) -> Scheduling {
    Scheduling::new("rr", family)
}

/// Three real servers that differ in all that can be set. The last has the port of [`frontend`]: `ipvsadm` insists on it where
/// packets are not masqueraded, the kernel does not.
fn three(family: Family) -> [RealServer; 3] {
    let texts = match family {
        Family::V4 => ["10.244.1.2:8443", "10.244.2.2:8443", "10.244.2.2:443"],
        Family::V6 => ["[fd00:244::2]:8443", "[fd00:244::3]:8443", "[fd00:244::3]:443"],
    };
    let [first, second, third] = texts.map(|text| RealServer::masqueraded(at(text), 1));
    let limits = RealServer { upper_threshold: 100, lower_threshold: 50, ..second };
    [first, limits, RealServer { weight: 65_535, forwarding: Forwarding::DirectRoute, ..third }]
}

/// Has requests carried out that must all succeed.
fn carry_out(client: &mut Client, requests: &[Request]) {
    for (request, outcome) in requests.iter().zip(client.execute(requests).unwrap()) {
        assert_eq!(outcome, Ok(()), "{request}");
    }
}

fn errnos(client: &mut Client, requests: &[Request]) -> Vec<Option<Errno>> {
    let errno = |outcome: &Outcome| outcome.as_ref().err().map(|refusal| refusal.errno);
    client.execute(requests).unwrap().iter().map(errno).collect()
}

/// Everything that can be set, as the kernel has it.
type Table = BTreeMap<Identity, (Scheduling, BTreeSet<RealServer>)>;

fn table(client: &mut Client) -> Table {
    let servers = client.servers().unwrap();
    let listed = servers.into_iter().map(|listed| {
        let reals = client.real_servers(&listed.identity).unwrap();
        (listed.identity, (listed.scheduling, reals.into_iter().map(|real| real.server).collect()))
    });
    listed.collect()
}

/// Requests that make this table from nothing.
fn making(wanted: &Table) -> Vec<Request> {
    let of = |(identity, (scheduling, reals)): (&Identity, &(Scheduling, BTreeSet<RealServer>))| {
        let server = Request::NewServer(*identity, scheduling.clone());
        let reals: Vec<_> = reals.iter().map(|real| Request::NewReal(*identity, *real)).collect();
        std::iter::once(server).chain(reals)
    };
    wanted.iter().flat_map(of).collect()
}

/// Servers of every sort.
fn sample() -> Table {
    let mut table = Table::new();
    for family in [Family::V4, Family::V6] {
        let reals = BTreeSet::from(three(family));
        for protocol in [TCP, UDP, SCTP] {
            table.insert(frontend(family, protocol), (rr(family), reals.clone()));
        }
        let flags = Flags::PERSISTENT | Flags::MH_FALLBACK | Flags::MH_PORT;
        let mh = Scheduling { flags, timeout: 10_800, ..Scheduling::new("mh", family) };
        table.insert(mark(family, 0x4000_0000), (mh, reals));
    }
    let coarse =
        |family, netmask| Scheduling { flags: Flags::PERSISTENT, timeout: 60, netmask, ..rr(family) };
    let (v4, v6) = (Netmask::V4(Ipv4Addr::new(255, 255, 240, 0)), Netmask::V6(64));
    table.insert(mark(Family::V4, 7), (coarse(Family::V4, v4), BTreeSet::new()));
    table.insert(mark(Family::V6, 7), (coarse(Family::V6, v6), BTreeSet::new()));
    table
}

#[test]
#[ignore = "runs in a guest kernel"]
fn the_family_is_there_and_says_its_version() {
    inside(|client, _| {
        let info = client.info().unwrap();
        // Since Linux 7 a network namespace has a table of its own, once there are connections to be in it.
        let size = info.table_size;
        assert!(info.version >= 0x01_02_01 && (size == 0 || size.is_power_of_two()), "{info}");
        assert!(client.servers().unwrap().is_empty());
    });
}

#[test]
#[ignore = "runs in a guest kernel"]
fn what_was_written_is_what_is_read() {
    inside(|client, _| {
        carry_out(client, &making(&sample()));
        assert_eq!(table(client), sample());
        let one = client.real_servers(&frontend(Family::V4, TCP)).unwrap().remove(0);
        assert_eq!((one.connections.active, one.statistics.connections), (0, 0));
    });
}

#[test]
#[ignore = "runs in a guest kernel"]
fn servers_belong_to_their_network_namespace() {
    inside(|client, _| {
        carry_out(client, &making(&sample()));
        assert!(inside(|other, _| table(other)).is_empty());
        let deletions: Vec<_> = sample().into_keys().map(Request::DeleteServer).collect();
        carry_out(client, &deletions);
        assert!(table(client).is_empty());
    });
}

#[test]
#[ignore = "runs in a guest kernel"]
fn a_server_changes_how_it_schedules_in_place() {
    for family in [Family::V4, Family::V6] {
        for identity in [frontend(family, UDP), mark(family, 5)] {
            inside(|client, _| {
                let reals = BTreeSet::from(three(family));
                carry_out(client, &making(&Table::from([(identity, (rr(family), reals.clone()))])));
                let sticky = Scheduling { flags: Flags::PERSISTENT, timeout: 300, ..rr(family) };
                let ops = Scheduling { flags: Flags::ONE_PACKET, ..Scheduling::new("wlc", family) };
                let netmask = match family {
                    Family::V4 => Netmask::V4(Ipv4Addr::new(255, 255, 255, 0)),
                    Family::V6 => Netmask::V6(64),
                };
                for how in [sticky, ops, Scheduling { netmask, ..rr(family) }, rr(family)] {
                    carry_out(client, &[Request::SetServer(identity, how.clone())]);
                    assert_eq!(table(client), Table::from([(identity, (how, reals.clone()))]));
                }
            });
        }
    }
}

/// Loads modules before IPVS wants them: see [`Scheduling::scheduler`] for why these two must be.
fn load(modules: &[&str]) {
    let status = Command::new("modprobe").arg("-a").args(modules).status().unwrap();
    assert!(status.success(), "modprobe {modules:?}");
}

#[test]
#[ignore = "runs in a guest kernel"]
fn every_scheduler_of_the_kernel_can_be_set() {
    load(&["ip_vs_lblc", "ip_vs_lblcr"]);
    inside(|client, _| {
        let identity = frontend(Family::V4, TCP);
        carry_out(client, &[Request::NewServer(identity, rr(Family::V4))]);
        for name in ["wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "mh", "fo", "ovf"] {
            let how = Scheduling::new(name, Family::V4);
            carry_out(client, &[Request::SetServer(identity, how.clone())]);
            assert_eq!(client.servers().unwrap()[0].scheduling, how);
        }
    });
}

#[test]
#[ignore = "runs in a guest kernel"]
fn a_real_server_changes_in_place_and_goes() {
    for family in [Family::V4, Family::V6] {
        inside(|client, _| {
            let identity = frontend(family, TCP);
            let [first, second, third] = three(family);
            carry_out(
                client,
                &making(&Table::from([(identity, (rr(family), [first, second, third].into()))])),
            );
            let drained = RealServer { weight: 0, ..first };
            let unlimited = RealServer { upper_threshold: 0, lower_threshold: 0, weight: 7, ..second };
            carry_out(client, &[Request::SetReal(identity, drained), Request::SetReal(identity, unlimited)]);
            let wanted = BTreeSet::from([drained, unlimited, third]);
            assert_eq!(table(client)[&identity].1, wanted);
            carry_out(client, &[Request::DeleteReal(identity, third.at())]);
            assert_eq!(table(client)[&identity].1, BTreeSet::from([drained, unlimited]));
        });
    }
}

#[test]
#[ignore = "runs in a guest kernel"]
fn refusals_have_their_numbers() {
    inside(|client, _| {
        let (known, unknown) = (frontend(Family::V4, TCP), frontend(Family::V4, UDP));
        let [first, second, _] = three(Family::V4);
        let known_table = Table::from([(known, (rr(Family::V4), [first].into()))]);
        carry_out(client, &making(&known_table));
        let nonsense = Scheduling::new("nonsense", Family::V4);
        let wide = Scheduling { netmask: Netmask::V6(129), ..rr(Family::V6) };
        let heavy = RealServer { weight: 1 << 31, ..second };
        let crossed = RealServer { lower_threshold: 2, upper_threshold: 1, ..second };
        let foreign = RealServer { forwarding: Forwarding::Masquerade, ..three(Family::V6)[0] };
        let erange = Errno(34);
        let expected = [
            (Request::NewServer(known, rr(Family::V4)), Errno::EEXIST),
            (Request::NewServer(unknown, nonsense.clone()), Errno::ENOENT),
            (Request::NewServer(frontend(Family::V6, TCP), wide), Errno::EINVAL),
            (Request::SetServer(known, nonsense), Errno::ENOENT),
            (Request::SetServer(unknown, rr(Family::V4)), Errno::ESRCH),
            (Request::DeleteServer(unknown), Errno::ESRCH),
            (Request::NewReal(known, first), Errno::EEXIST),
            (Request::NewReal(unknown, first), Errno::ESRCH),
            (Request::NewReal(known, heavy), erange),
            (Request::NewReal(known, crossed), erange),
            (Request::NewReal(known, foreign), Errno::EINVAL),
            (Request::SetReal(known, second), Errno::ENOENT),
            (Request::SetReal(unknown, first), Errno::ESRCH),
            (Request::DeleteReal(known, second.at()), Errno::ENOENT),
            (Request::DeleteReal(unknown, first.at()), Errno::ESRCH),
        ];
        let requests: Vec<_> = expected.iter().map(|(request, _)| request.clone()).collect();
        for ((request, wanted), errno) in expected.iter().zip(errnos(client, &requests)) {
            assert_eq!(errno, Some(*wanted), "{request}");
        }
        assert_eq!(table(client), known_table, "nothing has changed");
        assert!(
            client.real_servers(&unknown).unwrap().is_empty(),
            "an unknown server lists like an empty one"
        );
    });
}

#[test]
#[ignore = "runs in a guest kernel"]
fn a_refusal_does_not_keep_the_next_from_being_tried() {
    inside(|client, _| {
        let identity = frontend(Family::V4, TCP);
        let [first, second, _] = three(Family::V4);
        let requests = [
            Request::DeleteServer(identity),
            Request::NewServer(identity, rr(Family::V4)),
            Request::DeleteReal(identity, first.at()),
            Request::NewReal(identity, second),
        ];
        let expected = [Some(Errno::ESRCH), None, Some(Errno::ENOENT), None];
        assert_eq!(errnos(client, &requests), expected);
        assert_eq!(table(client), Table::from([(identity, (rr(Family::V4), [second].into()))]));
    });
}

#[test]
#[ignore = "runs in a guest kernel"]
fn three_thousand_requests_have_three_thousand_outcomes() {
    inside(|client, _| {
        let addresses = (0..1000_u32).map(|n| IpAddr::from(Ipv4Addr::from_bits(0x0a60_0000 + n)));
        let servers = addresses.map(|address| Identity::Address { protocol: TCP, address, port: 80 });
        let [first, second, _] = three(Family::V4);
        let wanted: Table =
            servers.map(|server| (server, (rr(Family::V4), [first, second].into()))).collect();
        let requests = making(&wanted);
        let before = client.sent();
        carry_out(client, &requests);
        assert_eq!((requests.len(), client.sent() - before), (3000, 3000));
        assert_eq!(table(client), wanted);
        let refused = errnos(client, &requests);
        assert_eq!(refused, vec![Some(Errno::EEXIST); 3000]);
        assert!(requests.len() > CHUNK);
    });
}

/// A listing comes in pieces of some kilobytes.
#[test]
#[ignore = "runs in a guest kernel"]
fn a_server_with_a_thousand_real_ones_is_listed_whole() {
    inside(|client, _| {
        let identity = frontend(Family::V6, TCP);
        let ip = |n: u16| IpAddr::from(Ipv6Addr::new(0xfd00, 0x244, 0, 0, 0, 0, 0, n + 1));
        let reals = (0..1000).map(|n| RealServer::masqueraded(SocketAddr::new(ip(n), 80), u32::from(n)));
        let wanted = Table::from([(identity, (rr(Family::V6), reals.collect()))]);
        carry_out(client, &making(&wanted));
        assert_eq!(table(client), wanted);
    });
}

#[test]
#[ignore = "runs in a guest kernel"]
fn timeouts_are_set_one_by_one_and_nought_keeps_them() {
    inside(|client, _| {
        client.set_timeouts(&Timeouts { tcp: 600, tcp_fin: 60, udp: 30 }).unwrap();
        assert_eq!(client.timeouts().unwrap(), Timeouts { tcp: 600, tcp_fin: 60, udp: 30 });
        client.set_timeouts(&Timeouts { udp: 90, ..Timeouts::default() }).unwrap();
        assert_eq!(client.timeouts().unwrap(), Timeouts { tcp: 600, tcp_fin: 60, udp: 90 });
    });
}

fn ipvsadm(namespace: &Namespace, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("ipvsadm");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = namespace.start(&mut command).unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "ipvsadm {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// `ipvsadm -S` prints what would make the table, one line for each server, which is what our requests read as.
#[test]
#[ignore = "runs in a guest kernel"]
fn ipvsadm_reads_our_table_and_makes_the_same_one_from_our_text() {
    let text: Vec<_> = making(&sample()).iter().map(Request::to_string).collect();
    inside(|client, namespace| {
        carry_out(client, &making(&sample()));
        let listing = ipvsadm(namespace, &["-S", "-n"], "");
        // It leaves thresholds out.
        let ours: BTreeSet<_> = text.iter().map(|line| line.split(" -x").next().unwrap()).collect();
        assert_eq!(listing.lines().map(str::trim_end).collect::<BTreeSet<_>>(), ours);
    });
    inside(|client, namespace| {
        ipvsadm(namespace, &["-R"], &(text.join("\n") + "\n"));
        assert_eq!(table(client), sample());
    });
}

#[test]
#[ignore = "runs in a guest kernel"]
fn a_dummy_device_holds_three_thousand_addresses_without_being_up() {
    inside(|_, _| {
        let mut client = link::Client::open().unwrap();
        let dummy = client.create_dummy("kubeweir-test").unwrap();
        assert!(dummy.is_dummy() && !dummy.is_up, "{dummy:?}");
        assert_eq!(client.find("kubeweir-test").unwrap().as_ref(), Some(&dummy));
        assert!(matches!(
            client.create_dummy("kubeweir-test"),
            Err(Error::Refused { errno: Errno::EEXIST, .. })
        ));
        let address = |n: u16| -> IpAddr {
            let [high, low] = n.to_be_bytes();
            match n % 2 {
                0 => Ipv4Addr::new(10, 96, high, low).into(),
                _ => Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, n).into(),
            }
        };
        let wanted: BTreeSet<_> = (0..3000).map(|n| Address::host(address(n))).collect();
        let list: Vec<_> = wanted.iter().copied().collect();
        let before = client.sent();
        assert!(client.add_addresses(dummy.index, &list).unwrap().iter().all(Result::is_ok));
        assert_eq!(client.sent() - before, 3000);
        assert_eq!(client.addresses(dummy.index).unwrap().into_iter().collect::<BTreeSet<_>>(), wanted);
        for address in [list[0], list[2999]] {
            UdpSocket::bind((address.address, 53)).unwrap();
        }
        assert!(client.delete_addresses(dummy.index, &list[..2000]).unwrap().iter().all(Result::is_ok));
        let left: BTreeSet<_> = client.addresses(dummy.index).unwrap().into_iter().collect();
        assert_eq!(left, list[2000..].iter().copied().collect());
        client.delete(dummy.index).unwrap();
        assert_eq!(client.find("kubeweir-test").unwrap(), None);
    });
}
