use std::fmt;
use std::net::IpAddr;

/// A set element's key: up to four concatenated fields, each padded to 4 bytes (at most 40 bytes are
/// needed: two IPv6 addresses, a protocol and a port).
pub type Key = Value<47>;

/// A map element's data: an address and a port.
pub type Data = Value<23>;

/// Bytes of fixed capacity in the layout of nf_tables registers. Values order and compare by their bytes.
#[derive(Clone, Copy)]
pub struct Value<const N: usize> {
    length: u8,
    bytes: [u8; N],
}

impl<const N: usize> Value<N> {
    /// No bytes.
    pub const EMPTY: Value<N> = Value { length: 0, bytes: [0; N] };

    /// The bytes as the kernel gave them; `None` if they do not fit.
    pub fn from_bytes(bytes: &[u8]) -> Option<Value<N>> {
        let mut value = Value::EMPTY;
        value.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        value.length = u8::try_from(bytes.len()).ok()?;
        Some(value)
    }

    /// Appends an address.
    #[must_use]
    pub fn address(self, address: IpAddr) -> Value<N> {
        match address {
            IpAddr::V4(v4) => self.field(&v4.octets()),
            IpAddr::V6(v6) => self.field(&v6.octets()),
        }
    }

    /// Appends an IP protocol number.
    #[must_use]
    pub fn protocol(self, protocol: u8) -> Value<N> {
        self.field(&[protocol])
    }

    /// Appends a port.
    #[must_use]
    pub fn port(self, port: u16) -> Value<N> {
        self.field(&port.to_be_bytes())
    }

    /// Appends a number in host byte order, as `numgen` and hash expressions produce.
    #[must_use]
    pub fn number(self, number: u32) -> Value<N> {
        self.field(&number.to_ne_bytes())
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Appends one field, padded with zeroes to the 4 bytes of a register. What exceeds the capacity
    /// is cut off: capacities are chosen for the widest keys that this workspace builds.
    fn field(mut self, bytes: &[u8]) -> Value<N> {
        for (slot, byte) in self.bytes.iter_mut().skip(usize::from(self.length)).zip(bytes) {
            *slot = *byte;
        }
        let padded = usize::from(self.length) + bytes.len().next_multiple_of(4);
        self.length = u8::try_from(padded.min(N)).unwrap_or(u8::MAX);
        self
    }
}

impl<const N: usize> PartialEq for Value<N> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<const N: usize> Eq for Value<N> {}

impl<const N: usize> PartialOrd for Value<N> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<const N: usize> Ord for Value<N> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl<const N: usize> std::hash::Hash for Value<N> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl<const N: usize> fmt::Debug for Value<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
