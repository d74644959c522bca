use std::net::SocketAddr;
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::attribute as a;
use super::*;
use crate::wire::{self, Header};
use crate::{Family, generic};

/// What `ipvsadm` sends behind the netlink header, as arguments and bytes, captured on Linux 6.1.
const IPVSADM: &[(&str, &str)] = &[
    (
        "-A -t 10.96.0.1:443 -s rr",
        "010100005400018006000100020000000600020006000000140003000a6000010000000000000000000000000600040001bb0000070006\
    00727200000c00070000000000ffffffff080008000000000008000900ffffffff",
    ),
    (
        "-A -u [fd00:96::1]:53 -s wlc -p 10800 -M 64",
        "0101000054000180060001000a000000060002001100000014000300fd0000960000000000000000000000010600040000350000080006\
    00776c63000c00070001000000ffffffff08000800302a00000800090040000000",
    ),
    (
        "-A --sctp-service 10.96.0.2:7777 -s mh -b mh-fallback,mh-port",
        "010100005400018006000100020000000600020084000000140003000a600002000000000000000000000000060004001e610000070006\
    006d6800000c00070018000000ffffffff080008000000000008000900ffffffff",
    ),
    (
        "-A -f 5 -s sh -p 300 -M 255.255.255.0",
        "01010000380001800600010002000000080005000500000007000600736800000c00070001000000ffffffff080008002c010000080009\
    00ffffff00",
    ),
    (
        "-A -f 6 -6 -s rr",
        "0101000038000180060001000a000000080005000600000007000600727200000c00070000000000ffffffff0800080000000000080009\
    0080000000",
    ),
    (
        "-E -t 10.96.0.1:443 -s wrr",
        "020100005400018006000100020000000600020006000000140003000a6000010000000000000000000000000600040001bb0000080006\
    00777272000c00070000000000ffffffff080008000000000008000900ffffffff",
    ),
    (
        "-E -u [fd00:96::1]:53 -s wlc -p 10800 -M 64 -o",
        "0201000054000180060001000a000000060002001100000014000300fd0000960000000000000000000000010600040000350000080006\
    00776c63000c00070005000000ffffffff08000800302a00000800090040000000",
    ),
    (
        "-a -t 10.96.0.1:443 -r 10.244.1.2:8443 -m -w 1",
        "050100005400018006000100020000000600020006000000140003000a6000010000000000000000000000000600040001bb0000050006\
    00000000000c00070000000000ffffffff080008000000000008000900ffffffff6000028006000b0002000000140001000af401020000\
    000000000000000000000600020020fb00000800030000000000080004000100000005000d000000000006000e000000000006000f0000\
    00000008000500000000000800060000000000",
    ),
    (
        "-a -u [fd00:96::1]:53 -r [fd00:244::2]:8053 -m -w 7 -x 100 -y 50",
        "0501000054000180060001000a000000060002001100000014000300fd0000960000000000000000000000010600040000350000050006\
    00000000000c00070000000000ffffffff080008000000000008000900800000006000028006000b000a00000014000100fd0002440000\
    00000000000000000002060002001f7500000800030000000000080004000700000005000d000000000006000e000000000006000f0000\
    00000008000500640000000800060032000000",
    ),
    (
        "-e -t 10.96.0.1:443 -r 10.244.1.2:8443 -m -w 0",
        "060100005400018006000100020000000600020006000000140003000a6000010000000000000000000000000600040001bb0000050006\
    00000000000c00070000000000ffffffff080008000000000008000900ffffffff6000028006000b0002000000140001000af401020000\
    000000000000000000000600020020fb00000800030000000000080004000000000005000d000000000006000e000000000006000f0000\
    00000008000500000000000800060000000000",
    ),
    (
        "-a -f 5 -r 10.244.1.3:80 -i -w 2",
        "05010000380001800600010002000000080005000500000005000600000000000c00070000000000ffffffff0800080000000000080009\
    00ffffffff6000028006000b0002000000140001000af40103000000000000000000000000060002000050000008000300020000000800\
    04000200000005000d000000000006000e000000000006000f000000000008000500000000000800060000000000",
    ),
    (
        "-d -t 10.96.0.1:443 -r 10.244.1.2:8443",
        "070100005400018006000100020000000600020006000000140003000a6000010000000000000000000000000600040001bb0000050006\
    00000000000c00070000000000ffffffff080008000000000008000900ffffffff6000028006000b0002000000140001000af401020000\
    000000000000000000000600020020fb00000800030003000000080004000100000005000d000000000006000e000000000006000f0000\
    00000008000500000000000800060000000000",
    ),
    (
        "-D -t 10.96.0.1:443",
        "030100005400018006000100020000000600020006000000140003000a6000010000000000000000000000000600040001bb0000050006\
    00000000000c00070000000000ffffffff080008000000000008000900ffffffff",
    ),
];

/// What Linux 6.1 lists of `-A --sctp-service 10.96.0.2:7777 -s mh -b mh-fallback,mh-port`, behind the netlink header.
const LISTED_MH: &str = "010100002c01010006000100020000000600020084000000140003000a600002000000000000000000000000060004001e610000070006\
    006d6800000c0007001a000000ffffffff080008000000000008000900ffffffff5c000a00080001000000000008000200000000000800\
    0300000000000c00040000000000000000000c000500000000000000000008000600000000000800070000000000080008000000000008\
    0009000000000008000a00000000007c000c000c00010000000000000000000c00020000000000000000000c0003000000000000000000\
    0c00040000000000000000000c00050000000000000000000c00060000000000000000000c00070000000000000000000c000800000000\
    00000000000c00090000000000000000000c000a000000000000000000";
/// Of `-A -u [fd00:96::1]:53 -s wlc -p 10800 -M 64 -o`.
const LISTED_V6: &str = "010100002c010100060001000a000000060002001100000014000300fd0000960000000000000000000000010600040000350000080006\
    00776c63000c00070007000000ffffffff08000800302a000008000900400000005c000a00080001000000000008000200000000000800\
    0300000000000c00040000000000000000000c000500000000000000000008000600000000000800070000000000080008000000000008\
    0009000000000008000a00000000007c000c000c00010000000000000000000c00020000000000000000000c0003000000000000000000\
    0c00040000000000000000000c00050000000000000000000c00060000000000000000000c00070000000000000000000c000800000000\
    00000000000c00090000000000000000000c000a000000000000000000";
/// Of `-A -f 5 -s sh -p 300 -M 255.255.255.0`.
const LISTED_MARK: &str = "01010000100101000600010002000000080005000500000007000600736800000c00070003000000ffffffff080008002c010000080009\
    00ffffff005c000a000800010000000000080002000000000008000300000000000c00040000000000000000000c000500000000000000\
    0000080006000000000008000700000000000800080000000000080009000000000008000a00000000007c000c000c0001000000000000\
    0000000c00020000000000000000000c00030000000000000000000c00040000000000000000000c00050000000000000000000c000600\
    00000000000000000c00070000000000000000000c00080000000000000000000c00090000000000000000000c000a0000000000000000\
    00";
/// Of `-a -u [fd00:96::1]:53 -r [fd00:244::2]:8053 -m -w 7 -x 100 -y 50`.
const LISTED_REAL: &str = "050100005001020014000100fd000244000000000000000000000002060002001f7500000800030000000000080004000700000005000d\
    000000000006000e000000000006000f000000000008000500640000000800060032000000080007000000000008000800000000000800\
    09000000000006000b000a0000005c000a000800010000000000080002000000000008000300000000000c00040000000000000000000c\
    0005000000000000000000080006000000000008000700000000000800080000000000080009000000000008000a00000000007c000c00\
    0c00010000000000000000000c00020000000000000000000c00030000000000000000000c00040000000000000000000c000500000000\
    00000000000c00060000000000000000000c00070000000000000000000c00080000000000000000000c00090000000000000000000c00\
    0a000000000000000000";
/// Of `-a -f 5 -r 10.244.1.3:80 -i -w 2`.
const LISTED_TUNNEL: &str = "0501000050010200140001000af4010300000000000000000000000006000200005000000800030002000000080004000200000005000d\
    000000000006000e000000000006000f000000000008000500000000000800060000000000080007000000000008000800000000000800\
    09000000000006000b00020000005c000a000800010000000000080002000000000008000300000000000c00040000000000000000000c\
    0005000000000000000000080006000000000008000700000000000800080000000000080009000000000008000a00000000007c000c00\
    0c00010000000000000000000c00020000000000000000000c00030000000000000000000c00040000000000000000000c000500000000\
    00000000000c00060000000000000000000c00070000000000000000000c00080000000000000000000c00090000000000000000000c00\
    0a000000000000000000";
/// Of `ipvsadm --set 900 120 300`.
const TIMEOUTS: &str = "0c01000008000400840300000800050078000000080006002c010000";
/// What `ipvsadm` calls `IP Virtual Server version 1.2.1 (size=4096)`.
const INFO: &str = "0e01000008000100010201000800020000100000";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn written(body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.message(Header { kind: 0x20, flags: 0, sequence: 0 }, body);
    writer.finish().unwrap().to_vec()
}

/// What a decoder makes of the bytes behind a netlink header.
fn read<T>(payload: &[u8], decode: impl Fn(&Message<'_>) -> Result<T, Error>) -> Result<T, Error> {
    let bytes = written(|w| w.raw(payload));
    decode(&wire::messages(&bytes).next().unwrap().unwrap())
}

fn payload(request: &Request) -> Vec<u8> {
    written(|w| request.write(w))[wire::HEADER..].to_vec()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn mark(family: Family, mark: u32) -> Identity {
    Identity::Mark { family, mark: NonZeroU32::new(mark).unwrap() }
}

fn scheduling(scheduler: &str, flags: Flags, timeout: u32, netmask: Netmask) -> Scheduling {
    Scheduling { scheduler: scheduler.into(), flags, timeout, netmask }
}

fn sticky_v6() -> Scheduling {
    scheduling("wlc", Flags::PERSISTENT, 10800, Netmask::V6(64))
}

fn mh() -> Scheduling {
    Scheduling { flags: Flags::MH_FALLBACK | Flags::MH_PORT, ..Scheduling::new("mh", Family::V4) }
}

fn marked() -> Scheduling {
    scheduling("sh", Flags::PERSISTENT, 300, Netmask::V4([255, 255, 255, 0].into()))
}

fn limited() -> RealServer {
    RealServer {
        upper_threshold: 100,
        lower_threshold: 50,
        ..RealServer::masqueraded(at("[fd00:244::2]:8053"), 7)
    }
}

fn tunnelled() -> RealServer {
    RealServer { forwarding: Forwarding::Tunnel, ..RealServer::masqueraded(at("10.244.1.3:80"), 2) }
}

/// The requests of [`IPVSADM`], in its order.
fn requests() -> Vec<Request> {
    let (tcp, udp) = (Identity::at(6, at("10.96.0.1:443")), Identity::at(17, at("[fd00:96::1]:53")));
    let ops = Scheduling { flags: Flags::PERSISTENT | Flags::ONE_PACKET, ..sticky_v6() };
    let real = at("10.244.1.2:8443");
    vec![
        Request::NewServer(tcp, Scheduling::new("rr", Family::V4)),
        Request::NewServer(udp, sticky_v6()),
        Request::NewServer(Identity::at(132, at("10.96.0.2:7777")), mh()),
        Request::NewServer(mark(Family::V4, 5), marked()),
        Request::NewServer(mark(Family::V6, 6), Scheduling::new("rr", Family::V6)),
        Request::SetServer(tcp, Scheduling::new("wrr", Family::V4)),
        Request::SetServer(udp, ops),
        Request::NewReal(tcp, RealServer::masqueraded(real, 1)),
        Request::NewReal(udp, limited()),
        Request::SetReal(tcp, RealServer::masqueraded(real, 0)),
        Request::NewReal(mark(Family::V4, 5), tunnelled()),
        Request::DeleteReal(tcp, real),
        Request::DeleteServer(tcp),
    ]
}

/// The attributes of a nest that are of one of these types, as bytes.
fn only(nest: &wire::Attribute<'_>, kinds: &[u16]) -> Vec<u8> {
    let mut writer = Writer::default();
    for attribute in nest.nested().map(Result::unwrap).filter(|attribute| kinds.contains(&attribute.kind)) {
        writer.bytes(attribute.kind, attribute.payload);
    }
    writer.as_bytes().to_vec()
}

/// `ipvsadm` says more than the kernel looks at: how a server schedules when only a real one changes, and how it tunnels.
#[test]
fn requests_are_those_of_ipvsadm_without_what_the_kernel_does_not_look_at() {
    for (request, (_, theirs)) in requests().iter().zip(IPVSADM) {
        let (ours, theirs) = (payload(request), bytes(theirs));
        assert_eq!(ours[..4], theirs[..4], "{request}");
        let nests = |bytes| wire::attributes(bytes).map(Result::unwrap).collect::<Vec<_>>();
        let (our_nests, their_nests) = (nests(&ours[4..]), nests(&theirs[4..]));
        assert_eq!(our_nests.len(), their_nests.len(), "{request}");
        for (our, their) in our_nests.iter().zip(&their_nests) {
            let kinds: Vec<_> = our.nested().map(|attribute| attribute.unwrap().kind).collect();
            assert_eq!((our.kind, our.payload), (their.kind, only(their, &kinds).as_slice()), "{request}");
        }
        if matches!(request, Request::NewServer(..) | Request::SetServer(..)) {
            assert_eq!(ours, theirs, "{request}");
        }
    }
}

#[test]
fn requests_read_as_arguments_of_ipvsadm() {
    let ours: Vec<_> = requests().iter().map(Request::to_string).collect();
    assert_eq!(ours, IPVSADM.iter().map(|(line, _)| *line).collect::<Vec<_>>());
}

#[test]
fn listings_are_asked_for_as_ipvsadm_does() {
    let of = |identity: Identity| written(|w| request::list_reals(&identity, w))[wire::HEADER..].to_vec();
    let tcp = "080100003000018006000100020000000600020006000000140003000a6000010000000000000000000000000600040001bb0000";
    assert_eq!(of(Identity::at(6, at("10.96.0.1:443"))), bytes(tcp));
    let mark_6 = "0801000014000180060001000a0000000800050006000000";
    assert_eq!(of(mark(Family::V6, 6)), bytes(mark_6));
    assert_eq!(written(request::list_servers)[wire::HEADER..], bytes("04010000"));
    assert_eq!(written(request::get_timeouts)[wire::HEADER..], bytes("0d010000"));
    assert_eq!(written(request::get_info)[wire::HEADER..], bytes("0f010000"));
    let timeouts = Timeouts { tcp: 900, tcp_fin: 120, udp: 300 };
    assert_eq!(written(|w| request::set_timeouts(&timeouts, w))[wire::HEADER..], bytes(TIMEOUTS));
}

#[test]
fn what_the_kernel_lists_of_virtual_servers_is_read() {
    let listed = |hex| read(&bytes(hex), decode::server).map(|s| (s.identity, s.scheduling)).unwrap();
    assert_eq!(listed(LISTED_MH), (Identity::at(132, at("10.96.0.2:7777")), mh()));
    let ops = Scheduling { flags: Flags::PERSISTENT | Flags::ONE_PACKET, ..sticky_v6() };
    assert_eq!(listed(LISTED_V6), (Identity::at(17, at("[fd00:96::1]:53")), ops));
    assert_eq!(listed(LISTED_MARK), (mark(Family::V4, 5), marked()));
}

#[test]
fn what_the_kernel_lists_of_real_servers_is_read() {
    let listed = |hex| read(&bytes(hex), decode::real_server).unwrap();
    let idle = |server| ListedReal {
        server,
        connections: Connections::default(),
        statistics: Statistics::default(),
    };
    assert_eq!(listed(LISTED_REAL), idle(limited()));
    assert_eq!(listed(LISTED_TUNNEL), idle(tunnelled()));
}

#[test]
fn what_ipvs_says_of_itself_is_read() {
    let timeouts = Timeouts { tcp: 900, tcp_fin: 120, udp: 300 };
    assert_eq!(read(&bytes(TIMEOUTS), decode::timeouts).unwrap(), timeouts);
    let info = read(&bytes(INFO), decode::info).unwrap();
    assert_eq!(info, Info { version: 0x01_02_01, table_size: 4096 });
    assert_eq!(info.to_string(), "IPVS 1.2.1, 4096 buckets");
}

/// A real server's listing with these two nests of statistics.
fn with_statistics(narrow: impl FnOnce(&mut Writer), wide: Option<&dyn Fn(&mut Writer)>) -> Vec<u8> {
    let request = Request::NewReal(mark(Family::V4, 1), tunnelled());
    let written_of = payload(&request);
    let real = wire::attributes(&written_of[4..]).map(Result::unwrap).last().unwrap();
    written(|w| {
        w.raw(&generic::header(5, 1));
        w.nest(a::DESTINATION, |w| {
            w.raw(real.payload);
            w.u32(a::destination::ACTIVE, 3);
            w.u32(a::destination::INACTIVE, 4);
            w.u32(a::destination::PERSISTENT, 5);
            w.nest(a::destination::STATISTICS, narrow);
            if let Some(wide) = wide {
                w.nest(a::destination::STATISTICS_64, wide);
            }
        });
    })[wire::HEADER..]
        .to_vec()
}

/// As `ip_vs_genl_fill_stats` writes them: bytes have 64 bits, everything else 32.
fn narrow(w: &mut Writer) {
    for kind in 1..=10 {
        match kind {
            4 | 5 => w.bytes(kind, &(u64::from(kind) << 40).to_ne_bytes()),
            _ => w.u32(kind, u32::from(kind)),
        }
    }
}

/// With padding (11) before each number, as where 64-bit numbers must be aligned.
fn wide(w: &mut Writer) {
    for kind in 1..=10_u16 {
        w.bytes(11, &[]);
        w.bytes(kind, &(u64::from(kind) << 33).to_ne_bytes());
    }
}

#[test]
fn counters_are_the_wide_ones_where_the_kernel_has_them() {
    let old = read(&with_statistics(narrow, None), decode::real_server).unwrap();
    assert_eq!(old.connections, Connections { active: 3, inactive: 4, persistent: 5 });
    let (s, huge) = (old.statistics, 1 << 40);
    assert_eq!(
        [s.connections, s.packets_in, s.packets_out, s.bytes_in, s.bytes_out],
        [1, 2, 3, 4 * huge, 5 * huge]
    );
    let rates = [s.connection_rate, s.packet_rate_in, s.packet_rate_out, s.byte_rate_in, s.byte_rate_out];
    assert_eq!(rates, [6, 7, 8, 9, 10]);
    let new = read(&with_statistics(narrow, Some(&wide)), decode::real_server).unwrap();
    let expected = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map(|number: u64| number << 33);
    assert_eq!(new.statistics, Statistics::from_numbers(expected));
}

#[test]
fn the_kernels_own_flag_is_never_ours() {
    assert_eq!(Flags::from_bits(0x1f).bits(), 0x1d);
    assert!(Flags::from_bits(0x1f).contains(Flags::PERSISTENT | Flags::MH_PORT));
    assert!(!Flags::from_bits(0x10).contains(Flags::PERSISTENT | Flags::MH_PORT));
}

#[test]
fn identities_read_as_ipvsadm_lists_them() {
    let texts = [
        Identity::at(6, at("10.96.0.1:443")),
        Identity::at(17, at("[fd00:96::1]:53")),
        Identity::at(132, at("10.96.0.1:1")),
        Identity::at(47, at("10.96.0.1:0")),
        mark(Family::V4, 5),
        mark(Family::V6, 5),
    ]
    .map(|identity| identity.to_string());
    let expected = [
        "TCP 10.96.0.1:443",
        "UDP [fd00:96::1]:53",
        "SCTP 10.96.0.1:1",
        "protocol 47 10.96.0.1:0",
        "FWM 5",
        "FWM 5 IPv6",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn incomplete_listings_are_errors() {
    let server = bytes(LISTED_MH);
    assert!(read(&server[..4], decode::server).is_err());
    assert!(read(&bytes(LISTED_REAL), decode::server).is_err());
    assert!(read(&server, decode::real_server).is_err());
    let named = payload(&Request::DeleteServer(mark(Family::V4, 5)));
    assert!(read(&named, decode::server).is_err(), "no scheduling");
}

fn identities() -> impl Strategy<Value = Identity> {
    let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
    prop_oneof![
        (any::<u8>(), any::<SocketAddr>()).prop_map(|(protocol, at)| Identity::at(protocol, at)),
        (family, any::<NonZeroU32>()).prop_map(|(family, mark)| Identity::Mark { family, mark }),
    ]
}

fn servers() -> impl Strategy<Value = (Identity, Scheduling)> {
    (identities(), "[a-z]{1,15}", any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
        |(identity, scheduler, flags, timeout, mask)| {
            let netmask = match identity.family() {
                Family::V4 => Netmask::V4(mask.into()),
                Family::V6 => Netmask::V6(mask),
            };
            (identity, Scheduling { scheduler, flags: Flags::from_bits(flags), timeout, netmask })
        },
    )
}

fn reals() -> impl Strategy<Value = RealServer> {
    (any::<SocketAddr>(), any::<u32>(), 0..5_u32, any::<u32>(), any::<u32>()).prop_map(
        |(at, weight, method, upper_threshold, lower_threshold)| RealServer {
            forwarding: Forwarding::from_number(method).unwrap(),
            upper_threshold,
            lower_threshold,
            ..RealServer::masqueraded(at, weight)
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_of_a_virtual_server_is_what_is_read((identity, scheduling) in servers()) {
        let listed = read(&payload(&Request::NewServer(identity, scheduling.clone())), decode::server).unwrap();
        prop_assert_eq!(listed, Listed { identity, scheduling, statistics: Statistics::default() });
    }

    #[test]
    fn what_is_written_of_a_real_server_is_what_is_read((identity, real) in (identities(), reals())) {
        let listed = read(&payload(&Request::NewReal(identity, real)), decode::real_server).unwrap();
        prop_assert_eq!(listed.server, real);
    }

    #[test]
    fn no_damage_makes_a_decoder_panic(which in 0..5_usize, place in 0..340_usize, value: u8, length in 0..340_usize) {
        let mut damaged = bytes([LISTED_MH, LISTED_V6, LISTED_MARK, LISTED_REAL, LISTED_TUNNEL][which]);
        if let Some(byte) = damaged.get_mut(place) {
            *byte = value;
        }
        damaged.truncate(length);
        let _ = (read(&damaged, decode::server), read(&damaged, decode::real_server));
        let _ = (read(&damaged, decode::timeouts), read(&damaged, decode::info));
    }
}
