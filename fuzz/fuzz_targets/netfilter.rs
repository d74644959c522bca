//! Messages of nf_tables.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubeweir_netfilter::decode_anything(bytes));
