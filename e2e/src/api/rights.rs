//! Who may ask for what: rules of roles, and what was asked for.

use std::collections::BTreeSet;
use std::fmt;

use hyper::Method;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use serde::Deserialize;
use serde_json::Value;

use super::handler::{Asked, Target};
use super::store::Refusal;

/// One thing that may be asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// API group; empty for the core group.
    pub group: String,
    /// What objects are called in paths, with `/status` for example if it is about a part of them.
    pub resource: String,
    /// What is done with them, in RBAC's word.
    pub verb: String,
}

impl Right {
    /// What a request asks for.
    pub(super) fn of(asked: &Asked, target: &Target) -> Right {
        let part = if target.part.is_empty() { String::new() } else { format!("/{}", target.part) };
        let verb = match asked.method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ if !target.name.is_empty() => "get",
            _ if asked.flag("watch") => "watch",
            _ => "list",
        };
        Right {
            group: target.resource.group.to_owned(),
            resource: format!("{}{part}", target.resource.plural),
            verb: verb.to_owned(),
        }
    }

    /// All that a `ClusterRole` grants, one by one; wildcards stand for themselves.
    pub fn all_of(role: &Value) -> BTreeSet<Right> {
        let right = |group: &String, resource: &String, verb: &String| Right {
            group: group.clone(),
            resource: resource.clone(),
            verb: verb.clone(),
        };
        let mut all = BTreeSet::new();
        for rule in rules(role) {
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    all.extend(rule.verbs.iter().map(|verb| right(group, resource, verb)));
                }
            }
        }
        all
    }

    /// Whether a rule grants it. One for single names grants nothing here.
    fn is_granted_by(&self, rule: &PolicyRule) -> bool {
        let has = |list: &[String], word: &str| list.iter().any(|one| one == "*" || one == word);
        let any = |list: &Option<Vec<String>>, word: &str| has(list.as_deref().unwrap_or_default(), word);
        any(&rule.api_groups, &self.group)
            && any(&rule.resources, &self.resource)
            && has(&rule.verbs, &self.verb)
            && rule.resource_names.as_ref().is_none_or(Vec::is_empty)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} resource {:?} in API group {:?}", self.verb, self.resource, self.group)
    }
}

fn rules(role: &Value) -> Vec<PolicyRule> {
    ClusterRole::deserialize(role).unwrap_or_else(|error| panic!("{error}")).rules.unwrap_or_default()
}

/// Grants, and remembers what it was asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard {
    /// `None` grants everything.
    rules: Option<Vec<PolicyRule>>,
    pub(super) granted: BTreeSet<Right>,
    pub(super) denied: BTreeSet<Right>,
}

impl Guard {
    pub(super) fn authorize_by(&mut self, roles: &[Value]) {
        self.rules = Some(roles.iter().flat_map(rules).collect());
    }

    pub(super) fn ask(&mut self, right: Right) -> Result<(), Refusal> {
        if self.rules.as_ref().is_none_or(|rules| rules.iter().any(|rule| right.is_granted_by(rule))) {
            self.granted.insert(right);
            return Ok(());
        }
        let message = format!("{} is forbidden: the client cannot {right}", right.resource);
        self.denied.insert(right);
        Err(Refusal::new(403, "Forbidden", message))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_a_rule_grants_is_granted() {
        let right = |group: &str, resource: &str, verb: &str| Right {
            group: group.to_owned(),
            resource: resource.to_owned(),
            verb: verb.to_owned(),
        };
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {}, "rules": [
            {"apiGroups": ["", "a"], "resources": ["nodes"], "verbs": ["list"]},
            {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"], "resourceNames": ["n"]},
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["watch"]}]});
        let mut guard = Guard::default();
        assert_eq!(guard.ask(right("x", "y", "z")), Ok(()), "before anything is said");
        guard.authorize_by(std::slice::from_ref(&role));
        for granted in [right("", "nodes", "list"), right("a", "nodes", "list"), right("x", "y", "watch")] {
            assert_eq!(guard.ask(granted), Ok(()));
        }
        let denied =
            [right("b", "nodes", "list"), right("", "nodes", "get"), right("", "nodes/status", "list")];
        for denied in denied.clone() {
            assert_eq!(guard.ask(denied).unwrap_err().code, 403);
        }
        assert_eq!((guard.granted.len(), guard.denied), (4, denied.into()));
        assert_eq!(Right::all_of(&role).len(), 4);
    }
}
