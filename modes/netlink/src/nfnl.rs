//! Numbers of netfilter's netlink family (`linux/netfilter/nfnetlink.h`).

/// Netlink protocol of all netfilter subsystems.
pub const PROTOCOL: i32 = libc::NETLINK_NETFILTER;
/// Subsystem of connection tracking.
pub const SUBSYSTEM_CONNTRACK: u8 = 1;
/// Subsystem of `ip_set`.
pub const SUBSYSTEM_IPSET: u8 = 6;
/// Subsystem of `nf_tables`.
pub const SUBSYSTEM_NFTABLES: u8 = 10;
/// Multicast group that announces `nf_tables` changes.
pub const GROUP_NFTABLES: u32 = 7;
/// First message of a batch.
pub const BATCH_BEGIN: u16 = 0x10;
/// Last message of a batch.
pub const BATCH_END: u16 = 0x11;
/// Attribute of `BATCH_BEGIN`: the generation the batch was computed from.
pub const BATCH_GENERATION: u16 = 1;
/// Length of `struct nfgenmsg`.
pub const GENERIC_HEADER: usize = 4;

/// The message type of a subsystem's message.
pub const fn kind(subsystem: u8, message: u8) -> u16 {
    ((subsystem as u16) << 8) | message as u16
}

/// `struct nfgenmsg`: address family, version 0, resource id in network byte order.
pub const fn header(family: u8, resource: u16) -> [u8; GENERIC_HEADER] {
    let id = resource.to_be_bytes();
    [family, 0, id[0], id[1]]
}
