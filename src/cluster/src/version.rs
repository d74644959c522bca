//! `metadata.resourceVersion` of objects, beside them: a new version alone is no change.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kubeweir_plan::{ObjectName, Snapshot};

/// A `resourceVersion`. To everybody but the API server it is only equal to another one or not. All API servers there are
/// write numbers, so that most take no memory besides: there is one for each object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// The object says none, as in manifests.
    #[default]
    Unknown,
    /// A number.
    Number(u64),
    /// Anything else.
    Other(Box<Opaque>),
}

/// A version that is no number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque(Box<str>);

impl Version {
    /// From its text; an empty one says nothing.
    pub fn new(text: &str) -> Version {
        match text.parse::<u64>() {
            _ if text.is_empty() => Version::Unknown,
            // Not where it would be written otherwise, such as with leading zeroes.
            Ok(number) if number.to_string() == text => Version::Number(number),
            _ => Version::Other(Box::new(Opaque(text.into()))),
        }
    }

    /// Of an object.
    pub fn of(meta: &ObjectMeta) -> Version {
        Version::new(meta.resource_version.as_deref().unwrap_or_default())
    }

    /// Whether the object says none.
    pub fn is_unknown(&self) -> bool {
        *self == Version::Unknown
    }
}

/// As the object has it; empty if it says none.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Unknown => Ok(()),
            Version::Number(number) => write!(f, "{number}"),
            Version::Other(text) => f.write_str(&text.0),
        }
    }
}

/// Of a Service and of its EndpointSlices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceVersions {
    /// Of the Service; `None` if there is none.
    pub service: Option<Version>,
    /// Of its slices, by their names, ordered.
    pub slices: Vec<(ObjectName, Version)>,
}

/// Of all objects, and what those of changed Services were when they were in force last.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    services: BTreeMap<ObjectName, Version>,
    slices: BTreeMap<ObjectName, Version>,
    /// By Service.
    before: BTreeMap<ObjectName, ServiceVersions>,
}

impl Versions {
    pub(crate) fn service_is(&mut self, name: &ObjectName, version: Version) {
        self.services.insert(name.clone(), version);
    }

    pub(crate) fn slice_is(&mut self, name: &ObjectName, version: Version) {
        self.slices.insert(name.clone(), version);
    }

    pub(crate) fn lose_service(&mut self, name: &ObjectName) {
        self.services.remove(name);
    }

    pub(crate) fn lose_slice(&mut self, name: &ObjectName) {
        self.slices.remove(name);
    }

    /// As the API has them now.
    pub(crate) fn of(&self, service: &ObjectName, snapshot: &Snapshot) -> ServiceVersions {
        let of = |slice: &kubeweir_plan::input::EndpointSlice| {
            (slice.name.clone(), self.slices.get(&slice.name).cloned().unwrap_or_default())
        };
        ServiceVersions {
            service: self.services.get(service).cloned(),
            slices: snapshot.slices_of(service).map(of).collect(),
        }
    }

    /// What is in force of a Service that has changed since.
    pub(crate) fn before(&self, service: &ObjectName) -> Option<&ServiceVersions> {
        self.before.get(service)
    }

    /// Services that have changed and are not in force as they are.
    pub(crate) fn changed(&self) -> impl Iterator<Item = &ObjectName> {
        self.before.keys()
    }

    /// A Service changed: this is what it was before. Of several changes the first counts.
    pub(crate) fn keep(&mut self, service: ObjectName, before: ServiceVersions) {
        self.before.entry(service).or_insert(before);
    }

    /// Everything is in force as it is.
    pub(crate) fn settle(&mut self) {
        self.before.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_written_as_it_was_read_and_takes_two_words() {
        for text in ["", "1", "18446744073709551615", "18446744073709551616", "007", "+1", "W/\"x\""] {
            assert_eq!(Version::new(text).to_string(), text);
        }
        assert_eq!(Version::new("12"), Version::Number(12));
        assert!(Version::new("").is_unknown());
        assert_eq!(size_of::<Version>(), 16);
    }
}
