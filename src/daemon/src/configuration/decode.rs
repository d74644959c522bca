//! Reading a file: strictly, and where only strictness objects, leniently, naming what was passed over.

use std::path::Path;

use kubeweir_cluster::tree::{Tree, join};
use serde_json::{Value, json};

use super::fields::put;
use super::{API_VERSION, Configuration, Error, KIND, documents};

/// A configuration as written, and what was passed over in the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The configuration.
    pub configuration: Configuration,
    /// Fields that nobody knows, by their path.
    pub unknown: Vec<String>,
    /// Fields that are there more than once, by their path: the last counts.
    pub duplicate: Vec<String>,
    /// Whether further documents follow: the first counts.
    pub further: bool,
}

impl Decoded {
    /// What was passed over, in one sentence.
    pub fn passed_over(&self) -> Option<String> {
        let named = |what: &str, paths: &[String]| {
            (!paths.is_empty()).then(|| format!("{what} {}", paths.join(", ")))
        };
        let further = self.further.then(|| "documents after the first are passed over".to_owned());
        let named =
            [named("unknown fields", &self.unknown), named("duplicate fields", &self.duplicate), further];
        let named: Vec<String> = named.into_iter().flatten().collect();
        (!named.is_empty()).then(|| format!("the configuration was decoded leniently: {}", named.join("; ")))
    }
}

impl Configuration {
    /// Reads a file, YAML or JSON.
    pub fn from_file(path: &Path) -> Result<Decoded, Error> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Unreadable { path: shown.clone(), source })?;
        Configuration::from_text(&text).map_err(|reason| Error::Invalid { path: shown, reason })
    }

    /// Reads a file's text; the error says what is wrong, and of which field or in which line.
    pub fn from_text(text: &str) -> Result<Decoded, String> {
        let (document, further) = documents::first(text);
        let Tree { value: mut object, duplicate } =
            Tree::from_yaml(document).map_err(|error| error.to_string())?;
        header(&object)?;
        let known = known();
        mappings(&object, &known, "")?;
        let mut unknown = Vec::new();
        unknown_fields(&object, &known, "", &mut unknown);
        without_nulls(&mut object);
        let configuration = serde_path_to_error::deserialize(object)
            .map_err(|error| format!("{KIND}.{}: {}", error.path(), error.inner()))?;
        Ok(Decoded { configuration, unknown, duplicate, further })
    }
}

fn header(object: &Value) -> Result<(), String> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if (api_version, kind) != (API_VERSION, KIND) {
        return Err(format!("expected {KIND} of {API_VERSION}, found {kind:?} of {api_version:?}"));
    }
    Ok(())
}

/// Every field, and an entry of the one list whose entries have fields.
fn known() -> Value {
    let mut known = Configuration::default().object();
    put(&mut known, "logging.vmodule", json!([{}]));
    known
}

/// What has fields is a mapping. A list would be taken for one whose fields are in the order that they have here.
fn mappings(given: &Value, known: &Value, at: &str) -> Result<(), String> {
    match (known, given) {
        // Of a field it says nothing, but in a list it is an entry.
        (Value::Object(_), Value::Null) if !at.ends_with(']') => Ok(()),
        (Value::Object(known), Value::Object(given)) => known.iter().try_for_each(|(name, known)| {
            given.get(name).map_or(Ok(()), |given| mappings(given, known, &join(at, name)))
        }),
        (Value::Object(_), other) => Err(format!("{KIND}.{at}: must be a mapping, not {}", kind(other))),
        (Value::Array(entries), Value::Array(given)) => entries.first().map_or(Ok(()), |entry| {
            let mut given = given.iter().enumerate();
            given.try_for_each(|(index, given)| mappings(given, entry, &format!("{at}[{index}]")))
        }),
        _ => Ok(()),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// Names fields that are not among the known ones. Maps whose keys are free, and lists, hold none.
fn unknown_fields(given: &Value, known: &Value, at: &str, found: &mut Vec<String>) {
    let (Some(given), Some(known)) = (given.as_object(), known.as_object()) else { return };
    for (name, value) in given {
        let path = join(at, name);
        match known.get(name) {
            None => found.push(path),
            Some(_) if path == "featureGates" => {}
            Some(known) => unknown_fields(value, known, &path, found),
        }
    }
}

/// Null means that nothing is said, of whatever type a field is.
fn without_nulls(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
        fields.values_mut().for_each(without_nulls);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::values::GoDuration;

    const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

    fn read(fields: &str) -> Result<Decoded, String> {
        Configuration::from_text(&format!("{HEAD}{fields}"))
    }

    #[test]
    fn what_is_unknown_or_there_twice_is_passed_over_and_named() {
        let decoded =
            read("mode: ipvs\nmode: nftables\nshiny: {new: 1}\nipvs: {strictARP: true, strictArp: false}\n")
                .unwrap();
        assert_eq!(decoded.configuration.mode, "nftables");
        assert!(decoded.configuration.ipvs.strict_arp);
        assert_eq!(
            decoded.passed_over().unwrap(),
            "the configuration was decoded leniently: unknown fields ipvs.strictArp, shiny; duplicate fields mode"
        );
        assert_eq!(read("mode: ipvs\n").unwrap().passed_over(), None);
    }

    #[test]
    fn null_means_that_nothing_is_said_whatever_the_field_is() {
        let known = Configuration::default().object();
        let names =
            known.as_object().unwrap().keys().filter(|name| !["apiVersion", "kind"].contains(&name.as_str()));
        let lines: Vec<String> = names.map(|name| format!("{name}: null\n")).collect();
        assert_eq!(read(&lines.concat()).unwrap(), Decoded::default());
    }

    #[test]
    fn what_is_not_a_configuration_is_refused_with_the_place() {
        assert!(Configuration::from_text("kind: Pod\n").unwrap_err().contains("found \"Pod\""));
        assert!(Configuration::from_text("").unwrap_err().contains("found \"\""));
        assert!(read("mode: [").unwrap_err().contains('3'), "the line");
        for (fields, path) in [
            ("nftables: {syncPeriod: soon}\n", "KubeProxyConfiguration.nftables.syncPeriod: \"soon\""),
            ("mode: 5\n", "KubeProxyConfiguration.mode: "),
            ("conntrack: {min: many}\n", "KubeProxyConfiguration.conntrack.min: "),
            (
                "logging: {options: {json: {infoBufferSize: 1Q}}}\n",
                "KubeProxyConfiguration.logging.options.json.infoBufferSize: ",
            ),
            (
                "logging: {flushFrequency: 1.5}\n",
                "KubeProxyConfiguration.logging.flushFrequency: must be a duration such as 5s, or nanoseconds",
            ),
            (
                "logging: {flushFrequency: [5s]}\n",
                "KubeProxyConfiguration.logging.flushFrequency: must be a string or a number",
            ),
        ] {
            let error = read(fields).unwrap_err();
            assert!(error.starts_with(path), "{error}");
        }
    }

    #[test]
    fn what_has_fields_is_a_mapping_and_nothing_else() {
        for (fields, error) in [
            ("clientConnection: [json]\n", "clientConnection: must be a mapping, not a list"),
            ("conntrack: [1]\n", "conntrack: must be a mapping, not a list"),
            ("nftables: []\n", "nftables: must be a mapping, not a list"),
            ("ipvs: rr\n", "ipvs: must be a mapping, not a string"),
            ("featureGates: 1\n", "featureGates: must be a mapping, not a number"),
            ("logging: {options: {json: [true]}}\n", "logging.options.json: must be a mapping, not a list"),
            ("logging: {vmodule: [{}, [a, 3]]}\n", "logging.vmodule[1]: must be a mapping, not a list"),
            ("logging: {vmodule: [null]}\n", "logging.vmodule[0]: must be a mapping, not null"),
        ] {
            assert_eq!(read(fields).unwrap_err(), format!("KubeProxyConfiguration.{error}"));
        }
    }

    #[test]
    fn the_first_document_counts_and_others_are_told_of_unless_they_are_empty() {
        for (rest, passed_over) in [
            ("---\n", None),
            ("---\n# nothing\n", None),
            ("---\nmode: nftables\n", Some("documents after the first are passed over")),
            ("---\nmode: [\n", Some("documents after the first are passed over")),
        ] {
            let decoded = Configuration::from_text(&format!("---\n{HEAD}mode: ipvs\n{rest}")).unwrap();
            assert_eq!(decoded.configuration.mode, "ipvs");
            let said = decoded.passed_over();
            assert_eq!(said.as_deref().map(|text| text.rsplit(": ").next().unwrap()), passed_over, "{rest}");
        }
    }

    #[test]
    fn how_often_logs_are_flushed_may_be_a_number() {
        for (text, duration) in
            [("0", GoDuration(0)), ("5000000000", GoDuration::seconds(5)), ("7s", GoDuration::seconds(7))]
        {
            let decoded = read(&format!("logging: {{flushFrequency: {text}}}\n")).unwrap();
            assert_eq!(decoded.configuration.logging.flush_frequency.0, duration);
        }
    }

    #[test]
    fn sizes_may_be_numbers_with_an_exponent_or_a_fraction() {
        for (text, size) in [("64", "64"), ("1e3", "1000.0"), ("1.5", "1.5"), ("64Ki", "64Ki")] {
            let decoded =
                read(&format!("logging: {{options: {{text: {{infoBufferSize: {text}}}}}}}\n")).unwrap();
            let options = decoded.configuration.logging.options.text;
            assert_eq!(options.info_buffer_size, size.parse().unwrap());
        }
    }

    #[test]
    fn json_is_read_too() {
        let text = Configuration { mode: "ipvs".into(), ..Configuration::default() }.object().to_string();
        assert_eq!(Configuration::from_text(&text).unwrap().configuration.mode, "ipvs");
    }
}
