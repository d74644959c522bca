use kubeweir_netlink::nfnl;
use kubeweir_netlink::wire::{self, Header, Writer};
use proptest::prelude::*;

use super::*;

fn message(body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.message(Header { kind: 0xa06, flags: 0, sequence: 1 }, |w| {
        w.raw(&nfnl::header(2, 0));
        body(w);
    });
    writer.finish().unwrap().to_vec()
}

fn expression(w: &mut Writer, name: &str, data: impl FnOnce(&mut Writer)) {
    w.nest(a::LIST_ITEM, |w| {
        w.string(EXPRESSION_NAME, name);
        w.nest(EXPRESSION_DATA, data);
    });
}

fn jump(w: &mut Writer, chain: &str) {
    expression(w, "immediate", |w| {
        w.be32(1, 0);
        w.nest(2, |w| {
            w.nest(2, |w| {
                w.be32(1, (-3_i32).cast_unsigned());
                w.string(2, chain);
            });
        });
    });
}

/// As `iptables` 1.8.9 writes it: the match's structure is 256 bytes of text.
fn comment(w: &mut Writer, text: &str) {
    expression(w, "match", |w| {
        w.string(MATCH_NAME, "comment");
        w.be32(2, 0);
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(256, 0);
        w.bytes(MATCH_DATA, &bytes);
    });
}

fn decoded(bytes: &[u8]) -> (String, Rule) {
    rule(&wire::messages(bytes).next().unwrap().unwrap())
}

fn sample(strange: &[u8]) -> Vec<u8> {
    message(|w| {
        w.string(a::TABLE, "nat");
        w.string(a::RULE_CHAIN, "PREROUTING");
        w.be64(a::RULE_HANDLE, 7);
        w.nest(a::RULE_EXPRESSIONS, |w| {
            expression(w, "match", |w| w.bytes(MATCH_NAME, strange));
            expression(w, "strange", |w| w.raw(strange));
            comment(w, "kubernetes service portals");
            w.nest(a::LIST_ITEM, |_| {});
            jump(w, "KUBE-SERVICES");
            w.raw(strange);
        });
    })
}

#[test]
fn a_jump_and_its_comment_are_found_among_what_nobody_knows() {
    let expected = Rule {
        chain: "PREROUTING".to_owned(),
        handle: 7,
        leads_to: vec!["KUBE-SERVICES".to_owned()],
        comment: Some("kubernetes service portals".to_owned()),
    };
    assert_eq!(decoded(&sample(&[])), ("nat".to_owned(), expected.clone()));
    assert_eq!(decoded(&sample(&[0xff; 3])).1, expected, "names that are no text, attributes without end");
}

#[test]
fn a_rule_may_lead_to_several_chains_and_have_its_comment_beside_it() {
    let bytes = message(|w| {
        w.nest(a::RULE_EXPRESSIONS, |w| {
            jump(w, "KUBE-SVC-A");
            jump(w, "KUBE-SVC-A");
        });
        w.bytes(a::RULE_USERDATA, &udata::comment("beside"));
    });
    let rule = decoded(&bytes).1;
    assert_eq!(rule.leads_to, ["KUBE-SVC-A", "KUBE-SVC-A"]);
    assert_eq!(rule.comment.as_deref(), Some("beside"));
}

#[test]
fn a_verdict_without_a_chain_leads_nowhere() {
    let bytes = message(|w| {
        w.nest(a::RULE_EXPRESSIONS, |w| {
            expression(w, "immediate", |w| w.nest(2, |w| w.nest(2, |w| w.be32(1, 0))));
            expression(w, "immediate", |w| w.nest(2, |w| w.bytes(1, &[1, 2, 3, 4])));
        });
    });
    assert!(decoded(&bytes).1.leads_to.is_empty());
}

/// Whether a message names its table or its chain a second time: a length that is wrong makes attributes of what was inside of one.
fn names_again(message: &[u8]) -> bool {
    let (mut rest, mut named) = (&message[20..], [0; 2]);
    while rest.len() >= 4 {
        let [length, kind] = [0, 2].map(|at| u16::from_ne_bytes([rest[at], rest[at + 1]]));
        let kind = kind & 0x3fff; // without the flags of `NLA_TYPE_MASK`
        for (named, of) in named.iter_mut().zip([a::TABLE, a::RULE_CHAIN]) {
            *named += u32::from(kind == of);
        }
        let length = usize::from(length).next_multiple_of(4);
        if length < 4 || length > rest.len() {
            break;
        }
        rest = &rest[length..];
    }
    named.iter().any(|named| *named > 1)
}

proptest! {
    /// Neither panics nor endless work, and what comes before the damage is still read, unless the damage names it again.
    #[test]
    fn damage_behind_the_name_of_the_chain_leaves_it_readable(
        at in 40_usize..400, byte in any::<u8>(), strange in proptest::collection::vec(any::<u8>(), 0..40)
    ) {
        let mut bytes = sample(&strange);
        let at = at.min(bytes.len() - 1);
        bytes[at] = byte;
        let (table, rule) = decoded(&bytes);
        let named_again = names_again(&bytes);
        prop_assert!(table == "nat" || named_again, "{table}");
        prop_assert!(rule.chain.is_empty() || at < 52 || rule.chain == "PREROUTING" || named_again);
    }

    #[test]
    fn no_bytes_make_the_survey_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let bytes = message(|w| w.raw(&bytes));
        for message in wire::messages(&bytes).flatten() {
            let _ = (chain(&message), rule(&message));
        }
    }
}
