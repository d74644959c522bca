use kubeweir_netlink::Error;
use kubeweir_netlink::wire::{Attribute, Attributes, attributes};

use super::attribute as a;
use super::{
    ACCEPT, CtKey, DROP, Expr, FIB_RESULT_TYPE, GOTO, JUMP, LOOKUP_INVERTED, MetaKey, NAT_DESTINATION,
    NumberSource, PayloadBase, RETURN, SetAction, TCP_RESET, Verdict,
};
use crate::register::Register;

/// Decodes one expression. What we would not write ourselves becomes [`Expr::Other`]; `None` is one without effect.
pub(crate) fn decode(attributes: Attributes<'_>) -> Result<Option<Expr>, Error> {
    let fields = Fields::read(attributes)?;
    let name = fields.string(a::NAME)?.unwrap_or_default();
    let inner = Fields::read(fields.nested(a::DATA))?;
    if name == "byteorder" && swaps_nothing(&inner)? {
        return Ok(None);
    }
    Ok(Some(typed(name, &inner)?.unwrap_or_else(|| Expr::Other(name.to_owned()))))
}

/// `nft` 1.0.6 swaps the bytes of one-byte values on the way to a set of ranges.
fn swaps_nothing(f: &Fields<'_>) -> Result<bool, Error> {
    Ok(f.number(a::BYTEORDER_LEN)? < f.number(a::BYTEORDER_SIZE)?)
}

fn typed(name: &str, f: &Fields<'_>) -> Result<Option<Expr>, Error> {
    Ok(match name {
        "meta" => meta(f)?,
        "payload" => payload(f)?,
        "ct" => ct(f)?,
        "fib" => fib(f)?,
        "cmp" => compare(f)?,
        "bitwise" => bitwise(f)?,
        "lookup" => lookup(f)?,
        "dynset" => dynamic_set(f)?,
        "numgen" => number(f)?,
        "hash" => hash(f)?,
        "nat" => nat(f)?,
        "masq" => Some(Expr::Masquerade { flags: f.number(a::MASQ_FLAGS)?.unwrap_or(0) }),
        "reject" => reject(f)?,
        "immediate" => constant(f)?.or(verdict(f)?.map(Expr::Verdict)),
        _ => None,
    })
}

/// The attributes of one expression, by type.
struct Fields<'a> {
    known: [Option<Attribute<'a>>; 12],
}

impl<'a> Fields<'a> {
    fn read(attributes: Attributes<'a>) -> Result<Fields<'a>, Error> {
        let mut known = [None; 12];
        for attribute in attributes {
            let attribute = attribute?;
            if let Some(slot) = known.get_mut(usize::from(attribute.kind)) {
                *slot = Some(attribute);
            }
        }
        Ok(Fields { known })
    }

    fn get(&self, kind: u16) -> Option<Attribute<'a>> {
        self.known.get(usize::from(kind)).copied().flatten()
    }

    fn number(&self, kind: u16) -> Result<Option<u32>, Error> {
        self.get(kind).map(|attribute| attribute.be32()).transpose()
    }

    fn register(&self, kind: u16) -> Result<Option<Register>, Error> {
        Ok(self.number(kind)?.and_then(Register::from_number))
    }

    fn string(&self, kind: u16) -> Result<Option<&'a str>, Error> {
        self.get(kind).map(|attribute| attribute.string()).transpose()
    }

    fn nested(&self, kind: u16) -> Attributes<'a> {
        attributes(self.get(kind).map_or(&[], |attribute| attribute.payload))
    }

    /// `NFTA_DATA_VALUE` inside a nest.
    fn value(&self, kind: u16) -> Result<Option<Vec<u8>>, Error> {
        let data = Fields::read(self.nested(kind))?;
        Ok(data.get(a::VALUE).map(|attribute| attribute.payload.to_vec()))
    }
}

fn meta(f: &Fields<'_>) -> Result<Option<Expr>, Error> {
    let number = f.number(a::META_KEY)?;
    let Some(key) = MetaKey::ALL.into_iter().find(|key| Some(key.number()) == number) else {
        return Ok(None);
    };
    let load = f.register(a::META_DREG)?.map(|dreg| Expr::Meta { key, dreg });
    let store = f.register(a::META_SREG)?.map(|sreg| Expr::SetMeta { key, sreg });
    Ok(load.or(store))
}

fn payload(f: &Fields<'_>) -> Result<Option<Expr>, Error> {
    let number = f.number(a::PAYLOAD_BASE)?;
    let base = PayloadBase::ALL.into_iter().find(|base| Some(base.number()) == number);
    let (offset, length) = (f.number(a::PAYLOAD_OFFSET)?, f.number(a::PAYLOAD_LEN)?);
    Ok(match (base, offset, length, f.register(a::PAYLOAD_DREG)?) {
        (Some(base), Some(offset), Some(length), Some(dreg)) => {
            Some(Expr::Payload { base, offset, length, dreg })
        }
        _ => None,
    })
}

fn ct(f: &Fields<'_>) -> Result<Option<Expr>, Error> {
    let number = f.number(a::CT_KEY)?;
    let direction = f.get(a::CT_DIRECTION).and_then(|attribute| attribute.payload.first().copied());
    let is_it = |key: &CtKey| Some(key.number()) == number && key.direction() == direction;
    let key = CtKey::ALL.into_iter().find(is_it);
    Ok(key.zip(f.register(a::CT_DREG)?).map(|(key, dreg)| Expr::Ct { key, dreg }))
}

fn fib(f: &Fields<'_>) -> Result<Option<Expr>, Error> {
    if f.number(a::FIB_RESULT)? != Some(FIB_RESULT_TYPE) {
        return Ok(None);
    }
    let fields = f.number(a::FIB_FLAGS)?.zip(f.register(a::FIB_DREG)?);
    Ok(fields.map(|(flags, dreg)| Expr::FibType { flags, dreg }))
}

fn compare(f: &Fields<'_>) -> Result<Option<Expr>, Error> {
    let equal = match f.number(a::CMP_OP)? {
        Some(0) => true,
        Some(1) => false,
        _ => return Ok(None),
    };
    let fields = f.register(a::CMP_SREG)?.zip(f.value(a::CMP_DATA)?);
    Ok(fields.map(|(sreg, data)| Expr::Compare { equal, sreg, data }))
}

fn bitwise(f: &Fields<'_>) -> Result<Option<Expr>, Error> {
    let (sreg, dreg) = (f.register(a::BITWISE_SREG)?, f.register(a::BITWISE_DREG)?);
    if sreg != dreg || f.number(a::BITWISE_OP)?.unwrap_or(0) != 0 {
        return Ok(None);
    }
    Ok(match (sreg, f.value(a::BITWISE_MASK)?, f.value(a::BITWISE_XOR)?) {
        (Some(register), Some(mask), Some(xor)) => Some(Expr::Bitwise { register, mask, xor }),
        _ => None,
    })
}

fn lookup(f: &Fields<'_>) -> Result<Option<Expr>, Error> {
    let inverted = f.number(a::LOOKUP_FLAGS)?.unwrap_or(0) & LOOKUP_INVERTED != 0;
    let fields = f.string(a::LOOKUP_SET)?.zip(f.register(a::LOOKUP_SREG)?);
    let dreg = f.register(a::LOOKUP_DREG)?;
    Ok(fields.map(|(set, sreg)| Expr::Lookup { set: set.to_owned(), sreg, dreg, inverted }))
}

/// With an expression of its own or an inverted result it is not one of ours.
fn dynamic_set(f: &Fields<'_>) -> Result<Option<Expr>, Error> {
    let op = f.number(a::DYNSET_OP)?;
    let action = SetAction::ALL.into_iter().find(|action| Some(action.number()) == op);
    let plain = f.get(a::DYNSET_EXPRESSION).is_none() && f.number(a::DYNSET_FLAGS)?.unwrap_or(0) == 0;
    let timeout = f.get(a::DYNSET_TIMEOUT).and_then(|attribute| attribute.payload.try_into().ok());
    let timeout = timeout.map_or(0, u64::from_be_bytes);
    let registers = f.register(a::DYNSET_KEY)?.zip(f.register(a::DYNSET_DATA)?);
    Ok(match (action.filter(|_| plain), f.string(a::DYNSET_NAME)?, registers) {
        (Some(action), Some(set), Some((key, data))) => {
            Some(Expr::DynamicSet { action, set: set.to_owned(), key, data, timeout })
        }
        _ => None,
    })
}

fn number(f: &Fields<'_>) -> Result<Option<Expr>, Error> {
    let kind = f.number(a::NG_TYPE)?;
    let source = NumberSource::ALL.into_iter().find(|source| Some(source.number()) == kind);
    if f.number(a::NG_OFFSET)?.unwrap_or(0) != 0 {
        return Ok(None);
    }
    Ok(match (f.register(a::NG_DREG)?, f.number(a::NG_MODULUS)?, source) {
        (Some(dreg), Some(modulus), Some(source)) => Some(Expr::Number { dreg, modulus, source }),
        _ => None,
    })
}

fn hash(f: &Fields<'_>) -> Result<Option<Expr>, Error> {
    if f.number(a::HASH_TYPE)?.unwrap_or(0) != 0 {
        return Ok(None);
    }
    let registers = f.register(a::HASH_SREG)?.zip(f.register(a::HASH_DREG)?);
    Ok(match (registers, f.number(a::HASH_LEN)?, f.number(a::HASH_MODULUS)?, f.number(a::HASH_SEED)?) {
        (Some((sreg, dreg)), Some(length), Some(modulus), Some(seed)) => {
            Some(Expr::Hash { sreg, dreg, length, modulus, seed })
        }
        _ => None,
    })
}

/// The kernel adds a maximum equal to the minimum and flags that follow from the attributes: both ignored.
fn nat(f: &Fields<'_>) -> Result<Option<Expr>, Error> {
    if f.number(a::NAT_TYPE)? != Some(NAT_DESTINATION) {
        return Ok(None);
    }
    let family = f.number(a::NAT_FAMILY)?.and_then(|family| u8::try_from(family).ok());
    let port = f.register(a::NAT_PORT)?;
    let to = family.zip(f.register(a::NAT_ADDRESS)?);
    Ok(to.map(|(family, address)| Expr::DestinationNat { family, address, port }))
}

fn reject(f: &Fields<'_>) -> Result<Option<Expr>, Error> {
    let code = f.get(a::REJECT_CODE).and_then(|attribute| attribute.payload.first().copied());
    Ok(match (f.number(a::REJECT_TYPE)?, code) {
        (Some(kind), Some(code)) => Some(Expr::Reject { kind, code }),
        (Some(TCP_RESET), None) => Some(Expr::Reject { kind: TCP_RESET, code: 0 }),
        _ => None,
    })
}

fn constant(f: &Fields<'_>) -> Result<Option<Expr>, Error> {
    let fields = f.register(a::IMMEDIATE_DREG)?.zip(f.value(a::IMMEDIATE_DATA)?);
    Ok(fields.map(|(dreg, data)| Expr::Constant { dreg, data }))
}

fn verdict(f: &Fields<'_>) -> Result<Option<Verdict>, Error> {
    let data = Fields::read(f.nested(a::IMMEDIATE_DATA))?;
    let verdict = Fields::read(data.nested(a::VERDICT))?;
    let Some(code) = verdict.number(a::VERDICT_CODE)? else { return Ok(None) };
    let chain = verdict.string(a::VERDICT_CHAIN)?.map(str::to_owned);
    Ok(match (code.cast_signed(), chain) {
        (DROP, None) => Some(Verdict::Drop),
        (ACCEPT, None) => Some(Verdict::Accept),
        (RETURN, None) => Some(Verdict::Return),
        (JUMP, Some(chain)) => Some(Verdict::Jump(chain)),
        (GOTO, Some(chain)) => Some(Verdict::Goto(chain)),
        _ => None,
    })
}
