//! Addresses as the API has always accepted them: with leading zeroes, as IPv4 addresses in IPv6 clothes
//! (`::ffff:10.0.0.1`), and prefixes with host bits set.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// Bits of `::ffff:0:0/96`, which stand before an IPv4 address in an IPv6 one.
const CLOTHES: u8 = 96;

/// An address; IPv4 octets may have leading zeroes and are decimal nevertheless.
pub fn address(text: &str) -> Option<IpAddr> {
    let parsed: Option<IpAddr> = text.parse().ok().or_else(|| zero_padded(text).map(IpAddr::V4));
    parsed.map(|address| address.to_canonical())
}

/// A prefix; blanks around it and host bits in it are ignored.
pub fn prefix(text: &str) -> Option<IpNet> {
    let (address_text, length) = text.trim().split_once('/')?;
    let length: u8 = length.bytes().all(|b| b.is_ascii_digit()).then(|| length.parse().ok())??;
    let address = address(address_text)?;
    let clothed = address.is_ipv4() && address_text.contains(':');
    let length = if clothed { length.checked_sub(CLOTHES)? } else { length };
    Some(IpNet::new(address, length).ok()?.trunc())
}

fn zero_padded(text: &str) -> Option<Ipv4Addr> {
    let octet = |part: &str| {
        let decimal = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        decimal.then(|| part.parse::<u8>().ok()).flatten()
    };
    let octets: Vec<u8> = text.split('.').map(octet).collect::<Option<_>>()?;
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeroes_and_host_bits_are_forgiven() {
        assert_eq!(address("172.30.0.041"), Some(IpAddr::from([172, 30, 0, 41])));
        assert_eq!(address("1.2.3.004"), Some(IpAddr::from([1, 2, 3, 4])));
        assert_eq!(address("::ffff:10.244.1.9"), Some(IpAddr::from([10, 244, 1, 9])));
        assert_eq!(prefix("::ffff:10.1.2.3/104"), "10.0.0.0/8".parse().ok());
        assert_eq!(prefix("::ffff:10.1.2.3/64"), None);
        assert_eq!(prefix("203.0.113.000/025"), "203.0.113.0/25".parse().ok());
        assert_eq!(prefix(" 203.0.113.7/25 "), "203.0.113.0/25".parse().ok());
        assert_eq!(prefix("fd00::1/64"), "fd00::/64".parse().ok());
        for bad in ["", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.-4", "a"] {
            assert_eq!(address(bad), None, "{bad}");
        }
        for bad in ["", "1.2.3.4", "1.2.3.4/33", "1.2.3.4/+8", "/8"] {
            assert_eq!(prefix(bad), None, "{bad}");
        }
    }
}
