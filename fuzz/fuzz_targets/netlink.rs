//! Messages, attributes, acknowledgements, tracked flows, virtual and real servers, sets, links and addresses; tables of `xtables`.

#![no_main]

use kubeweir_netlink::{Family, ack, conntrack, generic, ipset, ipvs, link, wire, xtables};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = (xtables::names(Family::V4, bytes), xtables::names(Family::V6, bytes));
    for message in wire::messages(bytes).flatten() {
        let _ = (ack::answer(&message), conntrack::flow(&message), generic::family_id(&message));
        let _ = (ipvs::server(&message), ipvs::real_server(&message), ipvs::timeouts(&message), ipvs::info(&message));
        let _ = (ipset::name(&message), link::link(&message), link::address(&message));
        for attribute in wire::attributes(message.payload).flatten() {
            let _ = (attribute.string(), attribute.be32(), attribute.be64(), attribute.nested().count());
        }
    }
});
