use kubeweir_netlink::wire::Writer;

use super::attribute as a;
use super::{
    ACCEPT, DROP, Expr, FIB_RESULT_TYPE, GOTO, JUMP, LOOKUP_INVERTED, NAT_DESTINATION, RETURN, TCP_RESET,
    VERDICT_REGISTER, Verdict,
};

/// Appends one expression: its name and its attributes.
pub(crate) fn encode(expr: &Expr, w: &mut Writer) {
    w.string(a::NAME, name(expr));
    w.nest(a::DATA, |w| match expr {
        Expr::Compare { .. } | Expr::Bitwise { .. } | Expr::Constant { .. } | Expr::Verdict(_) => {
            transform(expr, w);
        }
        Expr::Lookup { .. } | Expr::DynamicSet { .. } | Expr::Number { .. } | Expr::Hash { .. } => {
            choose(expr, w);
        }
        Expr::DestinationNat { .. } | Expr::Masquerade { .. } | Expr::Reject { .. } => act(expr, w),
        _ => load(expr, w),
    });
}

fn name(expr: &Expr) -> &str {
    match expr {
        Expr::Meta { .. } | Expr::SetMeta { .. } => "meta",
        Expr::Payload { .. } => "payload",
        Expr::Ct { .. } => "ct",
        Expr::FibType { .. } => "fib",
        Expr::Compare { .. } => "cmp",
        Expr::Bitwise { .. } => "bitwise",
        Expr::Lookup { .. } => "lookup",
        Expr::DynamicSet { .. } => "dynset",
        Expr::Number { .. } => "numgen",
        Expr::Hash { .. } => "hash",
        Expr::DestinationNat { .. } => "nat",
        Expr::Masquerade { .. } => "masq",
        Expr::Reject { .. } => "reject",
        Expr::Constant { .. } | Expr::Verdict(_) => "immediate",
        Expr::Other(name) => name,
    }
}

fn load(expr: &Expr, w: &mut Writer) {
    match expr {
        Expr::Meta { key, dreg } => {
            w.be32(a::META_KEY, key.number());
            w.be32(a::META_DREG, dreg.number());
        }
        Expr::SetMeta { key, sreg } => {
            w.be32(a::META_KEY, key.number());
            w.be32(a::META_SREG, sreg.number());
        }
        Expr::Payload { base, offset, length, dreg } => {
            w.be32(a::PAYLOAD_DREG, dreg.number());
            w.be32(a::PAYLOAD_BASE, base.number());
            w.be32(a::PAYLOAD_OFFSET, *offset);
            w.be32(a::PAYLOAD_LEN, *length);
        }
        Expr::Ct { key, dreg } => {
            w.be32(a::CT_KEY, key.number());
            w.be32(a::CT_DREG, dreg.number());
            if let Some(direction) = key.direction() {
                w.bytes(a::CT_DIRECTION, &[direction]);
            }
        }
        Expr::FibType { flags, dreg } => {
            w.be32(a::FIB_FLAGS, *flags);
            w.be32(a::FIB_RESULT, FIB_RESULT_TYPE);
            w.be32(a::FIB_DREG, dreg.number());
        }
        _ => {}
    }
}

fn transform(expr: &Expr, w: &mut Writer) {
    match expr {
        Expr::Compare { equal, sreg, data } => {
            w.be32(a::CMP_SREG, sreg.number());
            w.be32(a::CMP_OP, u32::from(!equal));
            w.nest(a::CMP_DATA, |w| w.bytes(a::VALUE, data));
        }
        Expr::Bitwise { register, mask, xor } => {
            w.be32(a::BITWISE_SREG, register.number());
            w.be32(a::BITWISE_DREG, register.number());
            w.be32(a::BITWISE_OP, 0);
            w.be32(a::BITWISE_LEN, u32::try_from(mask.len()).unwrap_or_default());
            w.nest(a::BITWISE_MASK, |w| w.bytes(a::VALUE, mask));
            w.nest(a::BITWISE_XOR, |w| w.bytes(a::VALUE, xor));
        }
        Expr::Constant { dreg, data } => {
            w.be32(a::IMMEDIATE_DREG, dreg.number());
            w.nest(a::IMMEDIATE_DATA, |w| w.bytes(a::VALUE, data));
        }
        Expr::Verdict(verdict) => {
            w.be32(a::IMMEDIATE_DREG, VERDICT_REGISTER);
            w.nest(a::IMMEDIATE_DATA, |w| w.nest(a::VERDICT, |w| encode_verdict(verdict, w)));
        }
        _ => {}
    }
}

fn encode_verdict(verdict: &Verdict, w: &mut Writer) {
    let (code, chain) = match verdict {
        Verdict::Drop => (DROP, None),
        Verdict::Accept => (ACCEPT, None),
        Verdict::Return => (RETURN, None),
        Verdict::Jump(chain) => (JUMP, Some(chain)),
        Verdict::Goto(chain) => (GOTO, Some(chain)),
    };
    w.be32(a::VERDICT_CODE, code.cast_unsigned());
    if let Some(chain) = chain {
        w.string(a::VERDICT_CHAIN, chain);
    }
}

fn choose(expr: &Expr, w: &mut Writer) {
    match expr {
        Expr::Lookup { set, sreg, dreg, inverted } => {
            w.be32(a::LOOKUP_SREG, sreg.number());
            if let Some(dreg) = dreg {
                w.be32(a::LOOKUP_DREG, dreg.number());
            }
            w.string(a::LOOKUP_SET, set);
            if *inverted {
                w.be32(a::LOOKUP_FLAGS, LOOKUP_INVERTED);
            }
        }
        Expr::DynamicSet { action, set, key, data, timeout } => {
            w.be32(a::DYNSET_KEY, key.number());
            w.be32(a::DYNSET_DATA, data.number());
            w.be32(a::DYNSET_OP, action.number());
            if *timeout > 0 {
                w.bytes(a::DYNSET_TIMEOUT, &timeout.to_be_bytes());
            }
            w.string(a::DYNSET_NAME, set);
        }
        Expr::Number { dreg, modulus, source } => {
            w.be32(a::NG_DREG, dreg.number());
            w.be32(a::NG_MODULUS, *modulus);
            w.be32(a::NG_TYPE, source.number());
            w.be32(a::NG_OFFSET, 0);
        }
        Expr::Hash { sreg, dreg, length, modulus, seed } => {
            w.be32(a::HASH_SREG, sreg.number());
            w.be32(a::HASH_DREG, dreg.number());
            w.be32(a::HASH_LEN, *length);
            w.be32(a::HASH_MODULUS, *modulus);
            w.be32(a::HASH_SEED, *seed);
            w.be32(a::HASH_OFFSET, 0);
            w.be32(a::HASH_TYPE, 0);
        }
        _ => {}
    }
}

fn act(expr: &Expr, w: &mut Writer) {
    match expr {
        Expr::DestinationNat { family, address, port } => {
            w.be32(a::NAT_TYPE, NAT_DESTINATION);
            w.be32(a::NAT_FAMILY, u32::from(*family));
            w.be32(a::NAT_ADDRESS, address.number());
            if let Some(port) = port {
                w.be32(a::NAT_PORT, port.number());
            }
        }
        Expr::Masquerade { flags } => w.be32(a::MASQ_FLAGS, *flags),
        Expr::Reject { kind, code } => {
            w.be32(a::REJECT_TYPE, *kind);
            if *kind != TCP_RESET {
                w.bytes(a::REJECT_CODE, &[*code]);
            }
        }
        _ => {}
    }
}
