//! Statements: a rule as a person writes it. [`Rule::new`](crate::Rule::new) lowers them to the expressions that
//! `nft` 1.0.6 writes for the same words, in the same registers, so that it lists them back as these words.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::Family;
use crate::expr::{self, CtKey, Expr, MetaKey, PayloadBase, SetAction, Verdict};
use crate::field::{self, Field};
use crate::register::Register;

/// One step of a rule: a condition that may end it, or an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// A condition.
    Match(Match),
    /// Sets these bits of the packet mark and leaves the others.
    SetMark(u32),
    /// Flips these bits of the packet mark and leaves the others.
    FlipMark(u32),
    /// `masquerade fully-random`.
    Masquerade,
    /// Destination NAT to what the map holds for the key. No entry: the rule ends without effect.
    DestinationNat {
        /// Fields that make up the map's key.
        key: Vec<Field>,
        /// Name of a map whose data is an address and a port.
        map: String,
    },
    /// Destination NAT to where the packet goes anyway: no other chain translates it any more, and it does not count as
    /// translated.
    KeepDestination,
    /// Sets the packet's priority to what the map holds for the key. No entry: the rule ends without effect.
    SetPriority {
        /// Fields that make up the map's key.
        key: Vec<Field>,
        /// Name of a map whose data is a priority.
        map: String,
    },
    /// Keeps the packet's priority in a dynamic map under the key, or, if the key is there, starts its time anew and leaves
    /// the kept priority as it is. A full map: the rule ends without effect.
    Remember {
        /// Fields that make up the map's key.
        key: Vec<Field>,
        /// Name of a dynamic map whose data is a priority.
        map: String,
        /// Seconds until the element goes.
        timeout: u32,
    },
    /// Deletes the key's element of a dynamic map, if there is one.
    Forget {
        /// Fields that make up the map's key.
        key: Vec<Field>,
        /// Name of a dynamic map whose data is a priority.
        map: String,
    },
    /// Sets the packet's priority to none.
    ClearPriority,
    /// ICMP port unreachable, for every protocol.
    Reject,
    /// A reset, for TCP; goes behind a match of protocol 6.
    Reset,
    /// Ends or leaves the chain.
    Verdict(Verdict),
}

/// A condition on the packet or its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// The fields are in the set.
    InSet {
        /// Fields that make up the set's key.
        key: Vec<Field>,
        /// Name of the set.
        set: String,
    },
    /// The fields are not in the set.
    NotInSet {
        /// Fields that make up the set's key.
        key: Vec<Field>,
        /// Name of the set.
        set: String,
    },
    /// An address is inside the prefix.
    Within(Field, IpNet),
    /// An address is not inside the prefix.
    Outside(Field, IpNet),
    /// An address is one of this node's own (`fib … type local`).
    Local(Field),
    /// All these bits of the packet mark are set.
    Mark(u32),
    /// `ct state new`.
    NewConnection,
    /// All these bits of the packet's priority are set.
    Priority(u32),
    /// `meta l4proto`: the packet is of this protocol.
    Protocol(u8),
    /// `ct direction reply`: the packet answers the one that began the connection.
    Reply,
    /// `ct status dnat`.
    DestinationTranslated,
    /// `ct status ! dnat`.
    DestinationNotTranslated,
    /// The packet came in through this interface; a trailing `*` stands for any ending.
    InputInterface(String),
    /// The packet came in through another interface, or was made on this node.
    NotInputInterface(String),
}

/// `IP_CT_NEW` as a state bit and `IPS_DST_NAT` as a status bit.
const STATE_NEW: u32 = 8;
const STATUS_DNAT: u32 = 0x20;
/// `IP_CT_DIR_REPLY`.
const DIRECTION_REPLY: u8 = 1;
/// `RTN_LOCAL`.
const ROUTE_LOCAL: u32 = 2;
/// `NFTA_FIB_F_SADDR` and `NFTA_FIB_F_DADDR`.
const FIB_SOURCE: u32 = 1;
const FIB_DESTINATION: u32 = 2;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
const FULLY_RANDOM: u32 = 0x10;
/// `IFNAMSIZ`.
const INTERFACE_NAME: usize = 16;

impl Statement {
    /// Appends the expressions.
    pub(crate) fn lower(&self, family: Family, out: &mut Vec<Expr>) {
        match self {
            Statement::Match(condition) => condition.lower(family, out),
            Statement::SetMark(bits) => change_mark(!bits, *bits, out),
            Statement::FlipMark(bits) => change_mark(u32::MAX, *bits, out),
            Statement::Masquerade => out.push(Expr::Masquerade { flags: FULLY_RANDOM }),
            Statement::DestinationNat { key, map } => {
                field::load(key, family, out);
                let dreg = Some(Register::FIRST);
                out.push(Expr::Lookup { set: map.clone(), sreg: Register::FIRST, dreg, inverted: false });
                let port = Some(Register::FIRST.after(family.address_length()));
                out.push(Expr::DestinationNat { family: family.number(), address: Register::FIRST, port });
            }
            Statement::KeepDestination => {
                field::load(&[Field::DestinationAddress], family, out);
                let address = Register::FIRST;
                out.push(Expr::DestinationNat { family: family.number(), address, port: None });
            }
            Statement::SetPriority { key, map } => {
                field::load(key, family, out);
                let (set, sreg, dreg) = (map.clone(), Register::FIRST, Some(Register::FIRST));
                out.push(Expr::Lookup { set, sreg, dreg, inverted: false });
                out.push(Expr::SetMeta { key: MetaKey::Priority, sreg });
            }
            Statement::Remember { key, map, timeout } => {
                dynamic(SetAction::Update, key, map, 1000 * u64::from(*timeout), family, out);
            }
            Statement::ClearPriority => {
                let dreg = Register::FIRST;
                out.push(Expr::Constant { dreg, data: vec![0; 4] });
                out.push(Expr::SetMeta { key: MetaKey::Priority, sreg: dreg });
            }
            Statement::Forget { key, map } => dynamic(SetAction::Delete, key, map, 0, family, out),
            Statement::Reject => out.push(Expr::Reject { kind: 0, code: port_unreachable(family) }),
            Statement::Reset => out.push(Expr::Reject { kind: expr::TCP_RESET, code: 0 }),
            Statement::Verdict(verdict) => out.push(Expr::Verdict(verdict.clone())),
        }
    }

    /// Appends the statement as `nft` prints it.
    pub(crate) fn print(&self, family: Family, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = match self {
            Statement::Match(condition) => return condition.print(family, out),
            Statement::SetMark(bits) => write!(out, "meta mark set meta mark | {bits:#010x}"),
            Statement::FlipMark(bits) => write!(out, "meta mark set meta mark ^ {bits:#010x}"),
            Statement::Masquerade => write!(out, "masquerade fully-random"),
            Statement::DestinationNat { key, map } => {
                write!(out, "dnat {family} to {} map @{map}", field::text(key, family))
            }
            Statement::KeepDestination => write!(out, "dnat to {family} daddr"),
            Statement::SetPriority { key, map } => {
                write!(out, "meta priority set {} map @{map}", field::text(key, family))
            }
            Statement::Remember { key, map, timeout } => {
                let key = field::text(key, family);
                write!(out, "update @{map} {{ {key} timeout {timeout}s : meta priority }}")
            }
            Statement::ClearPriority => write!(out, "meta priority set none"),
            Statement::Forget { key, map } => {
                write!(out, "delete @{map} {{ {} : meta priority }}", field::text(key, family))
            }
            Statement::Reject => write!(out, "reject"),
            Statement::Reset => write!(out, "reject with tcp reset"),
            Statement::Verdict(Verdict::Drop) => write!(out, "drop"),
            Statement::Verdict(Verdict::Accept) => write!(out, "accept"),
            Statement::Verdict(Verdict::Return) => write!(out, "return"),
            Statement::Verdict(Verdict::Jump(chain)) => write!(out, "jump {chain}"),
            Statement::Verdict(Verdict::Goto(chain)) => write!(out, "goto {chain}"),
        };
    }
}

impl Match {
    fn lower(&self, family: Family, out: &mut Vec<Expr>) {
        let first = Register::FIRST;
        match self {
            Match::InSet { key, set } => lookup(key, set, false, family, out),
            Match::NotInSet { key, set } => lookup(key, set, true, family, out),
            Match::Within(field, prefix) => within(*field, family, prefix, true, out),
            Match::Outside(field, prefix) => within(*field, family, prefix, false, out),
            Match::Local(field) => {
                let flags = if *field == Field::SourceAddress { FIB_SOURCE } else { FIB_DESTINATION };
                out.push(Expr::FibType { flags, dreg: first });
                out.push(compare(true, ROUTE_LOCAL.to_ne_bytes().to_vec()));
            }
            Match::Mark(bits) => meta_bits(MetaKey::Mark, *bits, out),
            Match::Priority(bits) => meta_bits(MetaKey::Priority, *bits, out),
            Match::Protocol(number) => {
                out.push(Expr::Meta { key: MetaKey::L4Protocol, dreg: first });
                out.push(compare(true, vec![*number]));
            }
            Match::Reply => {
                out.push(Expr::Ct { key: CtKey::Direction, dreg: first });
                out.push(compare(true, vec![DIRECTION_REPLY]));
            }
            Match::NewConnection => ct_bit(CtKey::State, STATE_NEW, true, out),
            Match::DestinationTranslated => ct_bit(CtKey::Status, STATUS_DNAT, true, out),
            Match::DestinationNotTranslated => ct_bit(CtKey::Status, STATUS_DNAT, false, out),
            Match::InputInterface(name) => input_interface(name, true, out),
            Match::NotInputInterface(name) => input_interface(name, false, out),
        }
    }

    fn print(&self, family: Family, out: &mut String) {
        let _ = match self {
            Match::InSet { key, set } => write!(out, "{} @{set}", field::text(key, family)),
            Match::NotInSet { key, set } => write!(out, "{} != @{set}", field::text(key, family)),
            Match::Within(field, prefix) => write!(out, "{} {}", field.text(family), prefix_text(prefix)),
            Match::Outside(field, prefix) => write!(out, "{} != {}", field.text(family), prefix_text(prefix)),
            Match::Local(Field::SourceAddress) => write!(out, "fib saddr type local"),
            Match::Local(_) => write!(out, "fib daddr type local"),
            Match::Mark(bits) => write!(out, "meta mark & {bits:#010x} == {bits:#010x}"),
            Match::NewConnection => write!(out, "ct state new"),
            Match::Protocol(6) => write!(out, "meta l4proto tcp"),
            Match::Protocol(17) => write!(out, "meta l4proto udp"),
            Match::Protocol(132) => write!(out, "meta l4proto sctp"),
            Match::Protocol(number) => write!(out, "meta l4proto {number}"),
            Match::Reply => write!(out, "ct direction reply"),
            Match::Priority(bits) => write!(out, "meta priority & {bits:#010x} == {bits:#010x}"),
            Match::DestinationTranslated => write!(out, "ct status dnat"),
            Match::DestinationNotTranslated => write!(out, "ct status & dnat == 0"),
            Match::InputInterface(name) => write!(out, "iifname \"{name}\""),
            Match::NotInputInterface(name) => write!(out, "iifname != \"{name}\""),
        };
    }
}

/// Where `nft` 1.0.6 puts the data of an element at the earliest.
const WIDE_REGISTER: usize = 16;

fn dynamic(
    action: SetAction,
    fields: &[Field],
    map: &str,
    timeout: u64,
    family: Family,
    out: &mut Vec<Expr>,
) {
    field::load(fields, family, out);
    let data = Register::FIRST.after(field::width(fields, family).max(WIDE_REGISTER));
    out.push(Expr::Meta { key: MetaKey::Priority, dreg: data });
    out.push(Expr::DynamicSet { action, set: map.to_owned(), key: Register::FIRST, data, timeout });
}

fn lookup(key: &[Field], set: &str, inverted: bool, family: Family, out: &mut Vec<Expr>) {
    field::load(key, family, out);
    out.push(Expr::Lookup { set: set.to_owned(), sreg: Register::FIRST, dreg: None, inverted });
}

const fn port_unreachable(family: Family) -> u8 {
    match family {
        Family::Ip => 3,
        Family::Ip6 => 4,
    }
}

fn compare(equal: bool, data: Vec<u8>) -> Expr {
    Expr::Compare { equal, sreg: Register::FIRST, data }
}

fn mask(bits: u32) -> Expr {
    let mask = bits.to_ne_bytes().to_vec();
    Expr::Bitwise { register: Register::FIRST, xor: vec![0; mask.len()], mask }
}

fn change_mark(keep: u32, flip: u32, out: &mut Vec<Expr>) {
    let register = Register::FIRST;
    out.push(Expr::Meta { key: MetaKey::Mark, dreg: register });
    let (mask, xor) = (keep.to_ne_bytes().to_vec(), flip.to_ne_bytes().to_vec());
    out.push(Expr::Bitwise { register, mask, xor });
    out.push(Expr::SetMeta { key: MetaKey::Mark, sreg: register });
}

fn ct_bit(key: CtKey, bit: u32, is_set: bool, out: &mut Vec<Expr>) {
    out.push(Expr::Ct { key, dreg: Register::FIRST });
    out.push(mask(bit));
    out.push(compare(!is_set, vec![0; 4]));
}

fn meta_bits(key: MetaKey, bits: u32, out: &mut Vec<Expr>) {
    out.push(Expr::Meta { key, dreg: Register::FIRST });
    out.push(mask(bits));
    out.push(compare(true, bits.to_ne_bytes().to_vec()));
}

/// Whole bytes are compared alone; any other prefix length needs a mask.
fn within(field: Field, family: Family, prefix: &IpNet, equal: bool, out: &mut Vec<Expr>) {
    let network = octets(prefix.network());
    let bits = usize::from(prefix.prefix_len());
    let whole_bytes = bits.is_multiple_of(8) && bits > 0;
    let length = if whole_bytes { bits / 8 } else { network.len() };
    out.push(Expr::Payload {
        base: PayloadBase::Network,
        offset: field.address_offset(family),
        length: u32::try_from(length).unwrap_or_default(),
        dreg: Register::FIRST,
    });
    if !whole_bytes {
        let xor = vec![0; network.len()];
        out.push(Expr::Bitwise { register: Register::FIRST, mask: octets(prefix.netmask()), xor });
    }
    out.push(compare(equal, network[..length].to_vec()));
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn prefix_text(prefix: &IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() {
        prefix.addr().to_string()
    } else {
        prefix.trunc().to_string()
    }
}

fn input_interface(name: &str, equal: bool, out: &mut Vec<Expr>) {
    out.push(Expr::Meta { key: MetaKey::InputName, dreg: Register::FIRST });
    let mut data = name.trim_end_matches('*').as_bytes().to_vec();
    if !name.ends_with('*') {
        data.resize(INTERFACE_NAME, 0);
    }
    out.push(compare(equal, data));
}
