//! Numbers of the IPVS family (`linux/ip_vs.h`).

/// `IPVS_GENL_NAME`.
pub(super) const FAMILY: &str = "IPVS";
/// `IPVS_GENL_VERSION`.
pub(super) const VERSION: u8 = 1;

/// Commands (`IPVS_CMD_*`).
pub(super) mod command {
    pub(crate) const NEW_SERVICE: u8 = 1;
    pub(crate) const SET_SERVICE: u8 = 2;
    pub(crate) const DELETE_SERVICE: u8 = 3;
    pub(crate) const GET_SERVICE: u8 = 4;
    pub(crate) const NEW_DESTINATION: u8 = 5;
    pub(crate) const SET_DESTINATION: u8 = 6;
    pub(crate) const DELETE_DESTINATION: u8 = 7;
    pub(crate) const GET_DESTINATION: u8 = 8;
    pub(crate) const SET_CONFIG: u8 = 12;
    pub(crate) const GET_CONFIG: u8 = 13;
    pub(crate) const GET_INFO: u8 = 15;
}

/// `IPVS_CMD_ATTR_SERVICE`: a nest of [`service`] attributes.
pub(super) const SERVICE: u16 = 1;
/// `IPVS_CMD_ATTR_DEST`: a nest of [`destination`] attributes.
pub(super) const DESTINATION: u16 = 2;
/// `IPVS_CMD_ATTR_TIMEOUT_TCP`.
pub(super) const TIMEOUT_TCP: u16 = 4;
/// `IPVS_CMD_ATTR_TIMEOUT_TCP_FIN`.
pub(super) const TIMEOUT_TCP_FIN: u16 = 5;
/// `IPVS_CMD_ATTR_TIMEOUT_UDP`.
pub(super) const TIMEOUT_UDP: u16 = 6;

/// `IPVS_INFO_ATTR_VERSION`.
pub(super) const INFO_VERSION: u16 = 1;
/// `IPVS_INFO_ATTR_CONN_TAB_SIZE`.
pub(super) const INFO_TABLE_SIZE: u16 = 2;

/// A virtual server's attributes (`IPVS_SVC_ATTR_*`).
pub(super) mod service {
    /// u16.
    pub(crate) const FAMILY: u16 = 1;
    /// u16.
    pub(crate) const PROTOCOL: u16 = 2;
    /// 16 bytes, of which IPv4 uses the first four.
    pub(crate) const ADDRESS: u16 = 3;
    /// be16.
    pub(crate) const PORT: u16 = 4;
    /// u32.
    pub(crate) const MARK: u16 = 5;
    /// String of at most 15 bytes.
    pub(crate) const SCHEDULER: u16 = 6;
    /// `struct ip_vs_flags`: u32 flags, u32 mask.
    pub(crate) const FLAGS: u16 = 7;
    /// u32, seconds.
    pub(crate) const TIMEOUT: u16 = 8;
    /// be32 mask for IPv4, u32 prefix length for IPv6.
    pub(crate) const NETMASK: u16 = 9;
    /// Nest of statistics, most of them u32.
    pub(crate) const STATISTICS: u16 = 10;
    /// Nest of statistics, all of them u64.
    pub(crate) const STATISTICS_64: u16 = 12;
}

/// A real server's attributes (`IPVS_DEST_ATTR_*`).
pub(super) mod destination {
    /// 16 bytes, of which IPv4 uses the first four.
    pub(crate) const ADDRESS: u16 = 1;
    /// be16.
    pub(crate) const PORT: u16 = 2;
    /// u32.
    pub(crate) const FORWARDING: u16 = 3;
    /// u32, but negative for the kernel from 2^31 on.
    pub(crate) const WEIGHT: u16 = 4;
    /// u32.
    pub(crate) const UPPER_THRESHOLD: u16 = 5;
    /// u32.
    pub(crate) const LOWER_THRESHOLD: u16 = 6;
    /// u32.
    pub(crate) const ACTIVE: u16 = 7;
    /// u32.
    pub(crate) const INACTIVE: u16 = 8;
    /// u32.
    pub(crate) const PERSISTENT: u16 = 9;
    /// As a virtual server's.
    pub(crate) const STATISTICS: u16 = 10;
    /// u16.
    pub(crate) const FAMILY: u16 = 11;
    /// As a virtual server's.
    pub(crate) const STATISTICS_64: u16 = 12;
}
