use proptest::prelude::*;

use super::*;
use crate::wire::{self, Header, Writer};

/// Listed by Linux 6.18 for flows made with the `conntrack` program:
/// `conntrack -I -p udp -s 10.244.1.2 -d 10.96.0.10 --sport 40000 --dport 53 -r 10.244.2.2 -q 10.244.1.2 --reply-port-src 8053
/// --reply-port-dst 40000 -t 100`
const UDP: &str = "c000000000010200010000002c7f0000020000003400018014000180080001000af40102080002000a60000a\
    1c0002800500010011000000060002009c40000006000300003500003400028014000180080001000af40202080002000af40102\
    1c0002800500010011000000060002001f750000060003009c4000000800030000000008080008000000000008000c008f1e9182\
    08000b000000000108000700000000631c001880080001000000000008000200000000000800030000000000";
/// The same over IPv6, with `-w 7` (a zone).
const UDP6: &str = "f800000000010200010000002c7f00000a0000004c0001802c00018014000300fd000244000100000000000000000002\
    14000400fd0000960000000000000000000000101c0002800500010011000000060002009c40000006000300003500004c000280\
    2c00018014000300fd00024400020000000000000000000214000400fd0002440001000000000000000000021c00028005000100\
    11000000060002001f750000060003009c40000006001200000700000800030000000008080008000000000008000c00dafee41b\
    08000b000000000108000700000000631c001880080001000000000008000200000000000800030000000000";
/// `conntrack -I -p icmp -s 10.244.1.2 -d 10.96.0.10 --icmp-type 8 --icmp-code 0 --icmp-id 9 -t 100`
const ICMP: &str = "d000000000010200010000002c7f0000020000003c00018014000180080001000af40102080002000a60000a2400028005\
    000100010000000600040000090000050005000800000005000600000000003c00028014000180080001000a60000a080002000af4\
    0102240002800500010001000000060004000009000005000500000000000500060000000000080003000000000808000800000000\
    0008000c0027e1d91508000b000000000108000700000000631c001880080001000000000008000200000000000800030000000000";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn with<T>(hex: &str, work: impl FnOnce(&Message<'_>) -> T) -> T {
    work(&wire::messages(&bytes(hex)).next().unwrap().unwrap())
}

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn written(body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.message(Header { kind: GET, flags: 0, sequence: 0 }, body);
    writer.finish().unwrap()[wire::HEADER..].to_vec()
}

fn udp(port: Option<u16>, address: Option<Ipv4Addr>) -> Filter {
    Filter { family: Family::V4, protocol: 17, port, address }
}

#[test]
fn what_the_kernel_lists_is_read() {
    let flow = with(UDP, decode::flow).unwrap().unwrap();
    let original = Tuple { source: socket("10.244.1.2:40000"), destination: socket("10.96.0.10:53") };
    let reply = Tuple { source: socket("10.244.2.2:8053"), destination: socket("10.244.1.2:40000") };
    assert_eq!(flow, Flow { protocol: 17, original, reply, is_zoned: false });
    let flow = with(UDP6, decode::flow).unwrap().unwrap();
    assert_eq!(flow.original.destination, socket("[fd00:96::10]:53"));
    assert_eq!(flow.reply.source, socket("[fd00:244:2::2]:8053"));
    assert_eq!(with(ICMP, decode::flow).unwrap(), None);
}

#[test]
fn a_deletion_names_the_flow_as_it_was_listed_and_nothing_else() {
    for (hex, kinds) in [(UDP, vec![1, 12]), (UDP6, vec![1, 18, 12])] {
        let request = with(hex, |listed| {
            let identity = request::identity(listed).unwrap();
            assert_eq!(listed.payload[0], written(|w| identity.write(w))[0]);
            written(|w| identity.write(w))
        });
        let of = |payload: &[u8]| -> Vec<(u16, Vec<u8>)> {
            let all = wire::attributes(&payload[nfnl::GENERIC_HEADER..]).map(Result::unwrap);
            all.map(|attribute| (attribute.kind, attribute.payload.to_vec())).collect()
        };
        let listed = with(hex, |listed| of(listed.payload));
        let named = of(&request);
        assert_eq!(named.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), kinds);
        assert!(named.iter().all(|attribute| listed.contains(attribute)));
    }
}

#[test]
fn without_a_tuple_there_is_no_deletion() {
    let mut writer = Writer::default();
    writer.message(Header { kind: GET, flags: 0, sequence: 0 }, |w| {
        w.raw(&nfnl::header(2, 0));
        w.be32(12, 1);
    });
    let message = wire::messages(writer.as_bytes()).next().unwrap().unwrap();
    assert!(matches!(request::identity(&message), Err(Error::Malformed(_))));
}

#[test]
fn filters_are_what_the_kernel_reads() {
    let whole = udp(Some(53), Some(Ipv4Addr::new(10, 96, 0, 10)));
    // nfgenmsg; the original tuple with destination, protocol and port; the three flags in host order.
    let flags =
        |flags: u32| bytes("0c001980").into_iter().chain(bytes("08000100")).chain(flags.to_ne_bytes());
    let tuple = "02000000 24000180 0c000180 080002000a60000a 14000280 0500010011000000 0600030000350000";
    let expected = bytes(&tuple.replace(' ', "")).into_iter().chain(flags(0b10_1010)).collect::<Vec<_>>();
    assert_eq!(written(|w| request::list(&whole, w)), expected);
    let all = bytes("0200000010000180 0c000280 0500010011000000".replace(' ', "").as_str());
    let expected = all.into_iter().chain(flags(0b1000)).collect::<Vec<_>>();
    assert_eq!(written(|w| request::list(&udp(None, None), w)), expected);
    assert_eq!(written(request::list_all), [0; 4]);
}

#[test]
fn only_a_kernel_that_cannot_filter_is_asked_for_everything() {
    let refused = |errno| Err(Error::Refused { errno, message: None });
    assert!(is_unsupported(&refused(Errno::EOPNOTSUPP)));
    assert!(!is_unsupported(&refused(Errno(libc::EPERM))) && !is_unsupported(&Ok(())));
}

#[test]
fn ipv6_addresses_are_never_left_to_the_kernel() {
    let filter = Filter { family: Family::V6, ..udp(Some(53), None) };
    let wrong = Filter { address: Some(Ipv4Addr::LOCALHOST), ..filter };
    assert_eq!(written(|w| request::list(&wrong, w)), written(|w| request::list(&filter, w)));
}

#[test]
fn what_the_kernel_did_not_filter_we_do() {
    let flow = with(UDP, decode::flow).unwrap().unwrap();
    let vip = Ipv4Addr::new(10, 96, 0, 10);
    for filter in [udp(None, None), udp(Some(53), None), udp(Some(53), Some(vip))] {
        assert!(filter.admits(&flow));
    }
    let v6 = Filter { family: Family::V6, ..udp(None, None) };
    let tcp = Filter { protocol: 6, ..udp(None, None) };
    for filter in [udp(Some(54), None), udp(None, Some(Ipv4Addr::LOCALHOST)), v6, tcp] {
        assert!(!filter.admits(&flow));
    }
}

proptest! {
    #[test]
    fn no_damage_to_a_message_makes_the_decoder_panic(
        which in 0..3_usize,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        length in any::<prop::sample::Index>(),
    ) {
        let mut damaged = bytes([UDP, UDP6, ICMP][which]);
        for (at, value) in damage {
            let at = at.index(damaged.len());
            damaged[at] = value;
        }
        damaged.truncate(length.index(damaged.len()) + 1);
        for message in wire::messages(&damaged).flatten() {
            let _ = (decode::flow(&message), request::identity(&message).is_ok());
        }
    }
}
