use proptest::prelude::*;

use super::*;
use crate::wire::{self, Header, Message};

fn written(body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.message(Header { kind: 0, flags: 0, sequence: 0 }, body);
    writer.finish().unwrap().to_vec()
}

fn read<T>(bytes: &[u8], decode: impl Fn(&Message<'_>) -> Result<T, Error>) -> Result<T, Error> {
    decode(&wire::messages(bytes).next().unwrap().unwrap())
}

#[test]
fn a_dummy_is_asked_for_as_a_nest_with_its_kind() {
    let bytes = written(|w| message::of_kind("kube-ipvs0", DUMMY, w));
    let link = read(&bytes, link).unwrap();
    let kind = Some("dummy".to_owned());
    assert_eq!(link, Link { index: 0, name: "kube-ipvs0".into(), kind, is_up: false });
    assert!(link.is_dummy());
}

#[test]
fn short_messages_are_errors() {
    let short = written(|w| w.raw(&[2; 7]));
    assert!(read(&short, link).is_err() && read(&short, address).is_err());
    let empty = written(|w| w.raw(&[2, 32, 0, 0, 1, 0, 0, 0]));
    assert!(read(&empty, address).is_err(), "no address");
    let other = written(|w| {
        w.raw(&[5, 32, 0, 0, 1, 0, 0, 0]);
        w.bytes(a::ADDRESS, &[1; 4]);
    });
    assert_eq!(read(&other, address).unwrap(), None);
}

/// On a point-to-point link the other end has the attribute that is our own address elsewhere.
#[test]
fn our_own_end_is_the_address() {
    let bytes = written(|w| {
        w.raw(&[2, 32, 0, 0, 7, 0, 0, 0]);
        w.bytes(a::ADDRESS, &[10, 0, 0, 2]);
        w.bytes(a::LOCAL, &[10, 0, 0, 1]);
    });
    let expected = Address::host([10, 0, 0, 1].into());
    assert_eq!(read(&bytes, address).unwrap(), Some((7, expected)));
}

proptest! {
    #[test]
    fn what_is_written_of_an_address_is_what_is_read(index: u32, ip: IpAddr, prefix: u8) {
        let wanted = Address { address: ip, prefix };
        let bytes = written(|w| message::write_address(index, &wanted, w));
        prop_assert_eq!(read(&bytes, address).unwrap(), Some((index, wanted)));
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
        let bytes = written(|w| w.raw(&payload));
        let _ = (read(&bytes, link), read(&bytes, address));
    }
}
