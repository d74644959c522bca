//! A `KubeProxyConfiguration` file.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = kubeweir_daemon::configuration::Configuration::from_text(text);
});
