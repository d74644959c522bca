//! Messages, attributes, acknowledgements and tracked flows.

#![no_main]

use kubeweir_netlink::{ack, conntrack, wire};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for message in wire::messages(bytes).flatten() {
        let _ = (ack::answer(&message), conntrack::flow(&message));
        for attribute in wire::attributes(message.payload).flatten() {
            let _ = (attribute.string(), attribute.be32(), attribute.be64(), attribute.nested().count());
        }
    }
});
