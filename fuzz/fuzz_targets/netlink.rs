//! Messages, attributes, acknowledgements, tracked flows, virtual and real servers, links and addresses.

#![no_main]

use kubeweir_netlink::{ack, conntrack, generic, ipvs, link, wire};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for message in wire::messages(bytes).flatten() {
        let _ = (ack::answer(&message), conntrack::flow(&message), generic::family_id(&message));
        let _ = (ipvs::server(&message), ipvs::real_server(&message), ipvs::timeouts(&message), ipvs::info(&message));
        let _ = (link::link(&message), link::address(&message));
        for attribute in wire::attributes(message.payload).flatten() {
            let _ = (attribute.string(), attribute.be32(), attribute.be64(), attribute.nested().count());
        }
    }
});
