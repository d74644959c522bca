//! Names of chains in the tables of `iptables` as it was before nftables ("legacy"), to tell whether somebody's are there.
//!
//! These tables are no objects of netlink. A socket option gives or takes a whole table as one structure
//! (`linux/netfilter_ipv4/ip_tables.h`): entries one behind the other, all numbers in host byte order. A chain of a user begins
//! with an entry whose target is `ERROR` and carries the chain's name. They are only read here.

use std::fs;
use std::io;

use crate::{Family, socket, wire};

/// Asks for a table's size: `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO`.
const GET_INFO: i32 = 64;
/// Asks for its entries: `IPT_SO_GET_ENTRIES`.
const GET_ENTRIES: i32 = 65;
/// `XT_TABLE_MAXNAMELEN`.
const NAME: usize = 32;
/// `struct ipt_getinfo`, and the place of `size` in it.
const INFO: usize = 84;
const INFO_SIZE: usize = 80;
/// `struct ipt_get_entries` before its entries.
const ENTRIES: usize = 40;
/// `struct xt_entry_target`: its size, 29 bytes of name, a revision; then what is its own, here 30 bytes of text.
const TARGET_NAME: usize = 2;
const TARGET_NAME_LENGTH: usize = 29;
const TARGET: usize = 32;
const ERROR_NAME_LENGTH: usize = 30;
/// How often a table is read that changes in between.
const ATTEMPTS: u32 = 5;

/// Tables that exist in the network namespace of this thread. Only reading a file: to ask for a table would make it.
pub fn tables(family: Family) -> Vec<String> {
    let file = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Names of the chains that users have made in a table of [`tables`].
pub fn chains(family: Family, table: &str) -> io::Result<Vec<String>> {
    let socket = socket::raw(family as i32)?;
    let level = if family == Family::V4 { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    let mut outcome = Err(io::ErrorKind::Other.into());
    for _ in 0..ATTEMPTS {
        let mut info = named(table, INFO);
        socket::ask_option(&socket, level, GET_INFO, &mut info)?;
        let size = wire::u32_at(&info, INFO_SIZE).unwrap_or_default();
        let mut entries = named(table, ENTRIES + size as usize);
        entries[NAME..NAME + 4].copy_from_slice(&size.to_ne_bytes());
        outcome = socket::ask_option(&socket, level, GET_ENTRIES, &mut entries)
            .map(|()| names(family, entries.get(ENTRIES..).unwrap_or_default()));
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn named(table: &str, length: usize) -> Vec<u8> {
    let mut buffer = vec![0; length];
    let name = &table.as_bytes()[..table.len().min(NAME - 1)];
    buffer[..name.len()].copy_from_slice(name);
    buffer
}

/// Names in entries as the kernel gives them; ends where they make no sense.
pub fn names(family: Family, entries: &[u8]) -> Vec<String> {
    // `target_offset` and, behind it, `next_offset` of `struct ipt_entry` and `struct ip6t_entry`.
    let offsets = if family == Family::V4 { 88 } else { 140 };
    let (mut names, mut rest) = (Vec::new(), entries);
    while let (Some(target), Some(next)) = (wire::u16_at(rest, offsets), wire::u16_at(rest, offsets + 2)) {
        names.extend(rest.get(usize::from(target)..).and_then(user_chain));
        match rest.get(usize::from(next)..) {
            Some(behind) if next > 0 => rest = behind,
            _ => break,
        }
    }
    // The entry that ends a table is one of these too.
    names.pop();
    names
}

fn user_chain(target: &[u8]) -> Option<String> {
    let name = target.get(TARGET_NAME..TARGET_NAME + TARGET_NAME_LENGTH)?;
    let is_one = name.starts_with(b"ERROR\0");
    let text = target.get(TARGET..TARGET + ERROR_NAME_LENGTH).filter(|_| is_one)?;
    Some(String::from_utf8_lossy(text.split(|&byte| byte == 0).next()?).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(target: &str, text: &str) -> Vec<u8> {
        let mut entry = vec![0; 112 + TARGET + 32];
        entry[88..90].copy_from_slice(&112_u16.to_ne_bytes());
        let length = u16::try_from(entry.len()).unwrap();
        entry[90..92].copy_from_slice(&length.to_ne_bytes());
        entry[112 + TARGET_NAME..][..target.len()].copy_from_slice(target.as_bytes());
        entry[112 + TARGET..][..text.len()].copy_from_slice(text.as_bytes());
        entry
    }

    #[test]
    fn chains_of_users_are_those_that_begin_with_an_error() {
        let entries =
            [("", ""), ("ERROR", "KUBE-SVC-A"), ("DNAT", "x"), ("ERROR", "DOCKER"), ("ERROR", "ERROR")];
        let bytes: Vec<u8> = entries.iter().flat_map(|(target, text)| entry(target, text)).collect();
        assert_eq!(names(Family::V4, &bytes), ["KUBE-SVC-A", "DOCKER"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_or_stay(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = (names(Family::V4, &bytes), names(Family::V6, &bytes));
        }
    }
}
