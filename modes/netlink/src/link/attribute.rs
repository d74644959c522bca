//! Numbers of the routing family (`linux/rtnetlink.h`, `linux/if_link.h`, `linux/if_addr.h`).

pub(super) const NEW_LINK: u16 = 16;
pub(super) const DELETE_LINK: u16 = 17;
pub(super) const GET_LINK: u16 = 18;
pub(super) const NEW_ADDRESS: u16 = 20;
pub(super) const DELETE_ADDRESS: u16 = 21;
pub(super) const GET_ADDRESS: u16 = 22;

/// Length of `struct ifinfomsg`.
pub(super) const LINK_HEADER: usize = 16;
/// Length of `struct ifaddrmsg`.
pub(super) const ADDRESS_HEADER: usize = 8;

/// `IFF_UP`.
pub(super) const UP: u32 = 1;
/// `IFLA_IFNAME`.
pub(super) const NAME: u16 = 3;
/// `IFLA_LINKINFO`, a nest.
pub(super) const LINK_INFO: u16 = 18;
/// `IFLA_INFO_KIND`, in that nest.
pub(super) const KIND: u16 = 1;

/// `IFA_ADDRESS`: the address, or the other end's on a point-to-point link.
pub(super) const ADDRESS: u16 = 1;
/// `IFA_LOCAL`: our own address; IPv6 has it on point-to-point links only.
pub(super) const LOCAL: u16 = 2;
/// `IFA_CACHEINFO`: for how many seconds the address is preferred and valid, and two time stamps, each in 32 bits.
pub(super) const LIFETIMES: u16 = 6;
/// `INFINITY_LIFE_TIME`.
pub(super) const FOREVER: u32 = u32::MAX;
/// `IFA_FLAGS`, the flags in 32 bits.
pub(super) const FLAGS: u16 = 8;
/// `IFA_F_NODAD`: nobody is asked whether the address is taken.
pub(super) const NO_DUPLICATE_DETECTION: u32 = 2;
