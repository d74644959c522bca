//! Attribute numbers of flows (`linux/netfilter/nfnetlink_conntrack.h`), each in the nest above it.

/// `CTA_TUPLE_ORIG`.
pub(super) const ORIGINAL: u16 = 1;
/// `CTA_TUPLE_REPLY`.
pub(super) const REPLY: u16 = 2;
/// `CTA_ID`.
pub(super) const ID: u16 = 12;
/// `CTA_ZONE`.
pub(super) const ZONE: u16 = 18;
/// `CTA_FILTER`.
pub(super) const FILTER: u16 = 25;

/// `CTA_TUPLE_IP`, in a tuple.
pub(super) const IP: u16 = 1;
/// `CTA_TUPLE_PROTO`, in a tuple.
pub(super) const PROTO: u16 = 2;
/// `CTA_IP_V4_SRC`.
pub(super) const V4_SOURCE: u16 = 1;
/// `CTA_IP_V4_DST`.
pub(super) const V4_DESTINATION: u16 = 2;
/// `CTA_IP_V6_SRC`.
pub(super) const V6_SOURCE: u16 = 3;
/// `CTA_IP_V6_DST`.
pub(super) const V6_DESTINATION: u16 = 4;
/// `CTA_PROTO_NUM`.
pub(super) const NUMBER: u16 = 1;
/// `CTA_PROTO_SRC_PORT`.
pub(super) const SOURCE_PORT: u16 = 2;
/// `CTA_PROTO_DST_PORT`.
pub(super) const DESTINATION_PORT: u16 = 3;

/// `CTA_FILTER_ORIG_FLAGS`, in host order: which fields of the original tuple are compared.
pub(super) const FILTER_ORIGINAL: u16 = 1;
/// Its destination address.
pub(super) const COMPARE_DESTINATION: u32 = 1 << 1;
/// Its protocol.
pub(super) const COMPARE_PROTOCOL: u32 = 1 << 3;
/// Its destination port.
pub(super) const COMPARE_DESTINATION_PORT: u32 = 1 << 5;
