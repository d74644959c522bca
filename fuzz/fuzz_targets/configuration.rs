//! A `KubeProxyConfiguration` file: whatever is accepted can be written, and reads the same then.

#![no_main]

use kubeweir_daemon::configuration::Configuration;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(decoded) = Configuration::from_text(text) else { return };
    let (effective, _) = decoded.configuration.effective();
    // There is no way to write these, and they are not valid.
    if !effective.client_connection.qps.is_finite() {
        return;
    }
    let Ok(text) = effective.text() else { return };
    let again = Configuration::from_text(&text).expect("what is written is read").configuration;
    assert_eq!(again, effective);
    assert_eq!(again.clone().effective().0, again);
});
