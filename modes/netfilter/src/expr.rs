//! The kernel's expressions: what a rule is made of (`enum nft_*_attributes` in `linux/netfilter/nf_tables.h`).
//!
//! Only those that this workspace writes are typed. Any other is kept as [`Expr::Other`], which never equals one of ours:
//! a rule that somebody else put into our table is therefore seen and replaced.

mod decode;
mod encode;

pub(crate) use decode::decode;
pub(crate) use encode::encode;

use crate::register::Register;

/// `NFT_REJECT_TCP_RST`, which has no code.
pub(crate) const TCP_RESET: u32 = 1;

/// One expression. Registers are 32-bit units; see [`Register`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// Loads packet metadata.
    Meta {
        /// What to load.
        key: MetaKey,
        /// Where to.
        dreg: Register,
    },
    /// Stores packet metadata.
    SetMeta {
        /// What to store.
        key: MetaKey,
        /// Where from.
        sreg: Register,
    },
    /// Loads header bytes.
    Payload {
        /// Which header.
        base: PayloadBase,
        /// Offset in bytes.
        offset: u32,
        /// Length in bytes.
        length: u32,
        /// Where to.
        dreg: Register,
    },
    /// Loads a property of the connection.
    Ct {
        /// What to load.
        key: CtKey,
        /// Where to.
        dreg: Register,
    },
    /// Loads the route type of an address: `fib saddr type` or `fib daddr type`.
    FibType {
        /// `NFTA_FIB_F_SADDR` or `NFTA_FIB_F_DADDR`.
        flags: u32,
        /// Where to.
        dreg: Register,
    },
    /// Ends the rule unless the register compares so.
    Compare {
        /// `true` for equal, `false` for not equal.
        equal: bool,
        /// What to compare.
        sreg: Register,
        /// With what.
        data: Vec<u8>,
    },
    /// `sreg & mask ^ xor`.
    Bitwise {
        /// Operand and result.
        register: Register,
        /// The mask, as long as the operand.
        mask: Vec<u8>,
        /// The bits to flip, as long as the operand.
        xor: Vec<u8>,
    },
    /// Ends the rule unless the key is in the set; with a map, loads its data.
    Lookup {
        /// Name of the set or map.
        set: String,
        /// First register of the key.
        sreg: Register,
        /// Where the data goes.
        dreg: Option<Register>,
        /// Matches keys that are *not* in the set.
        inverted: bool,
    },
    /// Adds, refreshes or deletes an element of a dynamic map.
    DynamicSet {
        /// What to do.
        action: SetAction,
        /// Name of the map.
        set: String,
        /// First register of the key.
        key: Register,
        /// First register of the data.
        data: Register,
        /// Milliseconds until the element goes; 0 where it is not added.
        timeout: u64,
    },
    /// Draws a number.
    Number {
        /// Where to.
        dreg: Register,
        /// One more than the largest number.
        modulus: u32,
        /// Random or counted.
        source: NumberSource,
    },
    /// Jenkins hash of a register's bytes.
    Hash {
        /// First register of the input.
        sreg: Register,
        /// Where to.
        dreg: Register,
        /// Bytes of input.
        length: u32,
        /// One more than the largest result.
        modulus: u32,
        /// Start value.
        seed: u32,
    },
    /// Destination NAT to the address and port in two registers.
    DestinationNat {
        /// Protocol family number.
        family: u8,
        /// Holds the address.
        address: Register,
        /// Holds the port; `None` leaves it as it is.
        port: Option<Register>,
    },
    /// Source NAT to the address of the outgoing interface.
    Masquerade {
        /// `NF_NAT_RANGE_*`.
        flags: u32,
    },
    /// Answers with an ICMP error.
    Reject {
        /// `NFT_REJECT_ICMP_UNREACH` is 0.
        kind: u32,
        /// ICMP or ICMPv6 code.
        code: u8,
    },
    /// Loads a constant.
    Constant {
        /// Where to.
        dreg: Register,
        /// What.
        data: Vec<u8>,
    },
    /// Ends the chain or goes to another.
    Verdict(Verdict),
    /// An expression that we do not write.
    Other(String),
}

/// What a matching packet does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Discards the packet.
    Drop,
    /// Ends this base chain.
    Accept,
    /// Back to the chain that jumped here.
    Return,
    /// Continues in a chain, then here.
    Jump(String),
    /// Continues in a chain, then where this chain was jumped to from.
    Goto(String),
}

/// `enum nft_meta_keys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaKey {
    /// The packet mark.
    Mark,
    /// The name of the incoming interface.
    InputName,
    /// The transport protocol.
    L4Protocol,
    /// The scheduling priority.
    Priority,
}

/// `enum nft_dynset_ops`, as far as we use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetAction {
    /// Adds the element, or starts its time anew if the key is there; its data stays then.
    Update,
    /// Deletes the element with the key, if there is one.
    Delete,
}

/// `enum nft_payload_bases`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadBase {
    /// The IP header.
    Network,
    /// The TCP, UDP or SCTP header.
    Transport,
}

/// `enum nft_ct_keys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CtKey {
    /// Bits of `enum ip_conntrack_info`.
    State,
    /// Bits of `enum ip_conntrack_status`.
    Status,
    /// `enum ip_conntrack_dir` of the packet, in one byte: 0 as the connection's first one.
    Direction,
    /// The IPv4 destination of the connection's first packet, before it was translated.
    OriginalAddress,
    /// The same for IPv6.
    OriginalAddress6,
    /// The destination port of the connection's first packet, before it was translated.
    OriginalPort,
}

/// `enum nft_ng_types`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberSource {
    /// A counter.
    Increment,
    /// The kernel's random numbers.
    Random,
}

impl MetaKey {
    const ALL: [MetaKey; 4] = [MetaKey::Mark, MetaKey::InputName, MetaKey::L4Protocol, MetaKey::Priority];

    const fn number(self) -> u32 {
        match self {
            MetaKey::Mark => 3,
            MetaKey::InputName => 6,
            MetaKey::L4Protocol => 16,
            MetaKey::Priority => 2,
        }
    }
}

impl SetAction {
    const ALL: [SetAction; 2] = [SetAction::Update, SetAction::Delete];

    const fn number(self) -> u32 {
        match self {
            SetAction::Update => 1,
            SetAction::Delete => 2,
        }
    }
}

impl PayloadBase {
    const ALL: [PayloadBase; 2] = [PayloadBase::Network, PayloadBase::Transport];

    const fn number(self) -> u32 {
        match self {
            PayloadBase::Network => 1,
            PayloadBase::Transport => 2,
        }
    }
}

impl CtKey {
    const ALL: [CtKey; 6] = [
        CtKey::State,
        CtKey::Status,
        CtKey::Direction,
        CtKey::OriginalAddress,
        CtKey::OriginalAddress6,
        CtKey::OriginalPort,
    ];

    const fn number(self) -> u32 {
        match self {
            CtKey::State => 0,
            CtKey::Status => 2,
            CtKey::Direction => 1,
            CtKey::OriginalAddress => 20,
            CtKey::OriginalAddress6 => 22,
            CtKey::OriginalPort => 12,
        }
    }

    /// The direction whose property it is, for those that each direction has its own of.
    const fn direction(self) -> Option<u8> {
        match self {
            CtKey::State | CtKey::Status | CtKey::Direction => None,
            CtKey::OriginalAddress | CtKey::OriginalAddress6 | CtKey::OriginalPort => {
                Some(DIRECTION_ORIGINAL)
            }
        }
    }
}

impl NumberSource {
    const ALL: [NumberSource; 2] = [NumberSource::Increment, NumberSource::Random];

    pub(crate) const fn number(self) -> u32 {
        match self {
            NumberSource::Increment => 0,
            NumberSource::Random => 1,
        }
    }
}

/// Attribute types of each expression.
mod attribute {
    pub(super) const NAME: u16 = 1;
    pub(super) const DATA: u16 = 2;
    pub(super) const VALUE: u16 = 1;
    pub(super) const VERDICT: u16 = 2;
    pub(super) const VERDICT_CODE: u16 = 1;
    pub(super) const VERDICT_CHAIN: u16 = 2;
    pub(super) const IMMEDIATE_DREG: u16 = 1;
    pub(super) const IMMEDIATE_DATA: u16 = 2;
    pub(super) const META_DREG: u16 = 1;
    pub(super) const META_KEY: u16 = 2;
    pub(super) const META_SREG: u16 = 3;
    pub(super) const PAYLOAD_DREG: u16 = 1;
    pub(super) const PAYLOAD_BASE: u16 = 2;
    pub(super) const PAYLOAD_OFFSET: u16 = 3;
    pub(super) const PAYLOAD_LEN: u16 = 4;
    pub(super) const CT_DREG: u16 = 1;
    pub(super) const CT_KEY: u16 = 2;
    pub(super) const CT_DIRECTION: u16 = 3;
    pub(super) const FIB_DREG: u16 = 1;
    pub(super) const FIB_RESULT: u16 = 2;
    pub(super) const FIB_FLAGS: u16 = 3;
    pub(super) const CMP_SREG: u16 = 1;
    pub(super) const CMP_OP: u16 = 2;
    pub(super) const CMP_DATA: u16 = 3;
    pub(super) const BITWISE_SREG: u16 = 1;
    pub(super) const BITWISE_DREG: u16 = 2;
    pub(super) const BITWISE_LEN: u16 = 3;
    pub(super) const BITWISE_MASK: u16 = 4;
    pub(super) const BITWISE_XOR: u16 = 5;
    pub(super) const BITWISE_OP: u16 = 6;
    pub(super) const BYTEORDER_LEN: u16 = 4;
    pub(super) const BYTEORDER_SIZE: u16 = 5;
    pub(super) const LOOKUP_SET: u16 = 1;
    pub(super) const LOOKUP_SREG: u16 = 2;
    pub(super) const LOOKUP_DREG: u16 = 3;
    pub(super) const LOOKUP_FLAGS: u16 = 5;
    pub(super) const DYNSET_NAME: u16 = 1;
    pub(super) const DYNSET_OP: u16 = 3;
    pub(super) const DYNSET_KEY: u16 = 4;
    pub(super) const DYNSET_DATA: u16 = 5;
    pub(super) const DYNSET_TIMEOUT: u16 = 6;
    pub(super) const DYNSET_EXPRESSION: u16 = 7;
    pub(super) const DYNSET_FLAGS: u16 = 9;
    pub(super) const NG_DREG: u16 = 1;
    pub(super) const NG_MODULUS: u16 = 2;
    pub(super) const NG_TYPE: u16 = 3;
    pub(super) const NG_OFFSET: u16 = 4;
    pub(super) const HASH_SREG: u16 = 1;
    pub(super) const HASH_DREG: u16 = 2;
    pub(super) const HASH_LEN: u16 = 3;
    pub(super) const HASH_MODULUS: u16 = 4;
    pub(super) const HASH_SEED: u16 = 5;
    pub(super) const HASH_OFFSET: u16 = 6;
    pub(super) const HASH_TYPE: u16 = 7;
    pub(super) const NAT_TYPE: u16 = 1;
    pub(super) const NAT_FAMILY: u16 = 2;
    pub(super) const NAT_ADDRESS: u16 = 3;
    pub(super) const NAT_PORT: u16 = 5;
    pub(super) const MASQ_FLAGS: u16 = 1;
    pub(super) const REJECT_TYPE: u16 = 1;
    pub(super) const REJECT_CODE: u16 = 2;
}

/// `IP_CT_DIR_ORIGINAL`.
const DIRECTION_ORIGINAL: u8 = 0;
/// `NFT_FIB_RESULT_ADDRTYPE`.
const FIB_RESULT_TYPE: u32 = 3;
/// `NFT_NAT_DNAT`.
const NAT_DESTINATION: u32 = 1;
/// `NFT_LOOKUP_F_INV`.
const LOOKUP_INVERTED: u32 = 1;
/// The verdict register.
const VERDICT_REGISTER: u32 = 0;
/// `NFT_JUMP`, `NFT_GOTO`, `NFT_RETURN`, `NF_DROP`, `NF_ACCEPT`.
const JUMP: i32 = -3;
const GOTO: i32 = -4;
const RETURN: i32 = -5;
const DROP: i32 = 0;
const ACCEPT: i32 = 1;
