//! Notices: what operators are told through Events (`events.k8s.io/v1`) about Services and this Node.
//!
//! All nodes plan the same cluster, so most of what one says of a Service every other would say too. An Event's name is made of
//! what it says: the first node tells it, and to the others the API server answers that it is known.
//!
//! `kube`'s own recorder is not used: it takes two notes with one reason about one object for a series of one Event and
//! keeps the first note only, and each node would tell everything again. Permissions needed: `create` for Events, `list` for
//! Services and Nodes.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, ObjectReference, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use kubeweir_plan::ObjectName;

/// Who Events say they are from: what operators look for, and alerts match.
const CONTROLLER: &str = "kube-proxy";
/// Bytes of a note that the API server takes (`pkg/apis/core/validation/events.go`).
const LONGEST_NOTE: usize = 1024;
/// Bytes of an object's name.
const LONGEST_NAME: usize = 253;
const LONGEST_INSTANCE: usize = 128;
/// Events about Nodes are here, since Nodes have no namespace.
const NAMESPACE_OF_NODES: &str = "default";

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub about: About,
    /// Whether somebody should do something about it.
    pub severity: Severity,
    /// Whether others tell it too.
    pub reach: Reach,
    /// Why, in one CamelCase word; at most 128 bytes.
    pub reason: &'static str,
    /// What was being done, in one CamelCase word; at most 128 bytes.
    pub action: &'static str,
    /// A sentence; cut off after 1024 bytes.
    pub note: String,
}

/// What a notice is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// A Service.
    Service(ObjectName),
    /// The Node that we run on.
    Node,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// All is well.
    Normal,
    /// Something does not work.
    Warning,
}

/// What makes a notice the same as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every node says it: there is one Event for the cluster.
    Cluster,
    /// It is so on this node: there is one Event for the node.
    Node,
    /// It happens now: there is one Event for each time.
    Occasion,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// There is a new Event.
    New,
    /// There was one already.
    Known,
    /// What it is about is gone.
    Moot,
}

/// Tells the cluster, as the node with this name.
pub async fn post(client: &Client, node: &Arc<str>, notice: &Notice) -> Result<Posted, kube::Error> {
    let Some(uid) = uid(client, node, &notice.about).await? else { return Ok(Posted::Moot) };
    let event = event(notice, node, &uid, Timestamp::now());
    let namespace = event.metadata.namespace.as_deref().unwrap_or(NAMESPACE_OF_NODES);
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    match events.create(&PostParams::default(), &event).await {
        Ok(_) => Ok(Posted::New),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(Posted::Known),
        Err(error) => Err(error),
    }
}

/// `kubectl describe` looks for Events by it, and snapshots do without. A list of one, since `kube-proxy`'s role may not get
/// Services.
async fn uid(client: &Client, node: &str, about: &About) -> Result<Option<String>, kube::Error> {
    let only = |name: &str| ListParams::default().fields(&format!("metadata.name={name}"));
    let client = client.clone();
    let found = match about {
        About::Service(name) => {
            let services: Api<Service> = Api::namespaced(client, &name.namespace);
            services.list_metadata(&only(&name.name)).await?.items.pop().map(|object| object.metadata)
        }
        About::Node => {
            let nodes: Api<Node> = Api::all(client);
            nodes.list_metadata(&only(node)).await?.items.pop().map(|object| object.metadata)
        }
    };
    Ok(found.and_then(|metadata| metadata.uid))
}

fn event(notice: &Notice, node: &str, uid: &str, now: Timestamp) -> Event {
    let regarding = regarding(&notice.about, node, uid);
    let text = cut(&notice.note, LONGEST_NOTE);
    let occasion = now.as_nanosecond().to_string();
    let distinct = match notice.reach {
        Reach::Cluster => "",
        Reach::Node => node,
        Reach::Occasion => &occasion,
    };
    let hash = hash(&[uid, notice.reason, text, distinct]);
    let suffix = format!(".{hash:016x}");
    let subject = regarding.name.as_deref().unwrap_or_default();
    // A part of a name may not end with a dash.
    let subject = cut(subject, LONGEST_NAME - suffix.len()).trim_end_matches(['-', '.']);
    let name = format!("{subject}{suffix}");
    let namespace = regarding.namespace.clone().unwrap_or_else(|| NAMESPACE_OF_NODES.to_owned());
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() },
        action: Some(notice.action.to_owned()),
        event_time: Some(MicroTime(now)),
        note: Some(text.to_owned()),
        reason: Some(notice.reason.to_owned()),
        regarding: Some(regarding),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(cut(&format!("{CONTROLLER}-{node}"), LONGEST_INSTANCE).to_owned()),
        type_: Some(format!("{:?}", notice.severity)),
        ..Event::default()
    }
}

fn regarding(about: &About, node: &str, uid: &str) -> ObjectReference {
    let (kind, name, namespace) = match about {
        About::Service(name) => ("Service", name.name.to_string(), Some(name.namespace.to_string())),
        About::Node => ("Node", node.to_owned(), None),
    };
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some(kind.to_owned()),
        name: Some(name),
        namespace,
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

/// Not more than so many bytes of a text, in whole characters.
fn cut(text: &str, longest: usize) -> &str {
    let end = (0..=longest.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// FNV-1a with a byte between parts that is in none: the same on every node, whatever it was built by.
fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> Notice {
        Notice {
            about: About::Service(ObjectName::new("shop", "web")),
            severity: Severity::Warning,
            reach: Reach::Cluster,
            reason: "FrontendTaken",
            action: "Plan",
            note: "10.96.0.1:80/TCP belongs to the older Service shop/old".to_owned(),
        }
    }

    fn at(nanosecond: i128) -> Timestamp {
        Timestamp::from_nanosecond(nanosecond).unwrap()
    }

    fn name(notice: &Notice, node: &str, uid: &str, now: i128) -> String {
        event(notice, node, uid, at(now)).metadata.name.unwrap()
    }

    #[test]
    fn an_event_says_what_about_what_and_from_whom() {
        let event = event(&notice(), "node-1", "u-1", at(0));
        let regarding = event.regarding.unwrap();
        assert_eq!(regarding.kind.as_deref(), Some("Service"));
        assert_eq!((regarding.namespace.as_deref(), regarding.name.as_deref()), (Some("shop"), Some("web")));
        assert_eq!(regarding.uid.as_deref(), Some("u-1"));
        assert_eq!(event.metadata.namespace.as_deref(), Some("shop"));
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert_eq!(event.reporting_instance.as_deref(), Some("kube-proxy-node-1"));
        assert_eq!(event.note.as_deref(), Some("10.96.0.1:80/TCP belongs to the older Service shop/old"));
    }

    #[test]
    fn an_event_about_the_node_is_in_the_default_namespace() {
        let event = event(&Notice { about: About::Node, ..notice() }, "node-1", "u-1", at(0));
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
        let regarding = event.regarding.unwrap();
        assert_eq!((regarding.name.as_deref(), regarding.namespace), (Some("node-1"), None));
    }

    #[test]
    fn what_is_the_same_has_the_same_name_as_far_as_it_reaches() {
        let same = |reach, other_node, other_time| {
            let notice = Notice { reach, ..notice() };
            let node = if other_node { "node-2" } else { "node-1" };
            name(&notice, node, "u-1", other_time) == name(&notice, "node-1", "u-1", 1)
        };
        assert!(same(Reach::Cluster, true, 2));
        assert!(!same(Reach::Node, true, 1) && same(Reach::Node, false, 2));
        assert!(same(Reach::Occasion, true, 1) && !same(Reach::Occasion, false, 2));
        let first = name(&notice(), "node-1", "u-1", 1);
        assert!(first.starts_with("web."));
        assert_ne!(first, name(&notice(), "node-1", "u-2", 1), "a new Service of the same name");
        assert_ne!(first, name(&Notice { note: "another".into(), ..notice() }, "node-1", "u-1", 1));
        assert_ne!(first, name(&Notice { reason: "Other", ..notice() }, "node-1", "u-1", 1));
    }

    #[test]
    fn what_the_server_would_find_too_long_is_cut_between_characters() {
        let long = Notice { about: About::Node, note: "\u{e9}".repeat(600), ..notice() };
        let event = event(&long, &"n".repeat(253), "u-1", at(0));
        assert_eq!(event.note.unwrap().len(), 1024);
        assert_eq!(event.metadata.name.unwrap().len(), 253);
        let dashed = super::event(&long, &format!("{}-{}", "n".repeat(235), "n".repeat(17)), "u-1", at(0));
        assert!(dashed.metadata.name.unwrap().starts_with(&format!("{}.", "n".repeat(235))));
        assert_eq!(event.reporting_instance.unwrap().len(), 128);
        assert_eq!(cut("\u{e9}\u{e9}", 3), "\u{e9}");
        assert_eq!(cut("ab", 3), "ab");
    }
}
