//! A manifest, as YAML and as JSON.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    for file in ["a.yaml", "a.json"] {
        let _ = kubeweir_cluster::manifests::parse_text(file, text);
    }
});
