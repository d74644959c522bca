//! Complaints about values, as kube-proxy words them.

use std::fmt;

use serde::Serialize;

use super::KIND;

/// One value that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The field, by its path in the file.
    pub path: String,
    value: String,
    why: String,
}

impl Complaint {
    /// About the value of a field.
    pub fn invalid(path: impl Into<String>, value: &impl Serialize, why: impl Into<String>) -> Complaint {
        let value = serde_json::to_string(value).unwrap_or_default();
        Complaint { path: path.into(), value, why: why.into() }
    }
}

impl fmt::Display for Complaint {
    /// As `field.Error` of `k8s.io/apimachinery/pkg/util/validation/field`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Complaint { path, value, why } = self;
        write!(f, "{KIND}.{path}: Invalid value: {value}: {why}")
    }
}

/// All complaints about a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaints(pub Vec<Complaint>);

impl Complaints {
    /// The value, or its default and a complaint.
    pub fn check<T: Default>(&mut self, checked: Result<T, Complaint>) -> T {
        checked.unwrap_or_else(|complaint| {
            self.0.push(complaint);
            T::default()
        })
    }

    /// Complains about a value unless the condition holds.
    pub fn unless(&mut self, holds: bool, path: &str, value: &impl Serialize, why: &str) {
        if !holds {
            self.0.push(Complaint::invalid(path, value, why));
        }
    }
}

impl fmt::Display for Complaints {
    /// As an aggregate of errors: one by itself, several in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        match all.as_slice() {
            [one] => f.write_str(one),
            several => write!(f, "[{}]", several.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_worded_as_upstream_words_them() {
        let mut complaints = Complaints::default();
        complaints.unless(false, "iptables.masqueradeBit", &99, "must be within the range [0, 31]");
        let one = "KubeProxyConfiguration.iptables.masqueradeBit: Invalid value: 99: must be within the range [0, 31]";
        assert_eq!(complaints.to_string(), one);
        complaints.unless(true, "mode", &"x", "is fine");
        let value: u8 = complaints.check(Err(Complaint::invalid("mode", &"x", "is unheard of")));
        assert_eq!(value, 0);
        let two = "KubeProxyConfiguration.mode: Invalid value: \"x\": is unheard of";
        assert_eq!(complaints.to_string(), format!("[{one}, {two}]"));
    }
}
