//! Session affinity: identities of endpoints.
//!
//! A client is remembered with the identity of its endpoint, not with its slot, which another endpoint may get, nor with its
//! address, which could not be checked before the packet is sent there. An endpoint that is gone has no identity among those
//! of the frontend any more, so its clients draw anew at once, and nobody has to look for them.
//!
//! Identities travel in the packet's priority, between rules of one chain, and are cleared behind routing: packets leave
//! without.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Set in every identity, so that rules can tell one from any other priority.
pub const IDENTITY_BITS: u32 = 0xc000_0000;
/// `TC_H_ROOT`, which `nft` prints as a word.
const ROOT: u32 = u32::MAX;
/// FNV-1a, 32 bits.
const OFFSET: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

/// The identities of a frontend's endpoints, in the order given. They follow from the endpoints alone, so that a restart finds
/// the same ones. Of endpoints that would have the same, the first by address has it and the others the next free ones.
pub fn identities(endpoints: &[SocketAddr]) -> Vec<u32> {
    let mut positions: Vec<usize> = (0..endpoints.len()).collect();
    positions.sort_unstable_by_key(|position| endpoints[*position]);
    let mut taken = BTreeSet::new();
    let mut found = vec![0; endpoints.len()];
    for position in positions {
        let mut id = identity(&endpoints[position]);
        while id == ROOT || !taken.insert(id) {
            id = id.wrapping_add(1) | IDENTITY_BITS;
        }
        found[position] = id;
    }
    found
}

fn identity(endpoint: &SocketAddr) -> u32 {
    let port = endpoint.port().to_be_bytes();
    let hash = match endpoint.ip() {
        IpAddr::V4(v4) => fnv(&[&v4.octets()[..], &port].concat()),
        IpAddr::V6(v6) => fnv(&[&v6.octets()[..], &port].concat()),
    };
    hash | IDENTITY_BITS
}

fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(count: u32) -> Vec<SocketAddr> {
        (0..count)
            .map(|n| SocketAddr::new(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into(), 80))
            .collect()
    }

    #[test]
    fn identities_are_distinct_and_do_not_depend_on_the_order() {
        let endpoints = endpoints(60_000);
        let ids = identities(&endpoints);
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), endpoints.len());
        let backwards: Vec<SocketAddr> = endpoints.iter().rev().copied().collect();
        assert!(identities(&backwards).iter().rev().eq(&ids));
    }

    #[test]
    fn an_endpoint_keeps_its_identity_when_others_go() {
        let all = endpoints(20);
        let (ids, fewer) = (identities(&all), identities(&all[5..]));
        assert_eq!(ids[5..], fewer);
    }
}
