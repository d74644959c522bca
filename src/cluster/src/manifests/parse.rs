//! One file's text as objects.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::List;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use kubeweir_plan::ObjectName;
use kubeweir_plan::input::{EndpointSlice, Node, Service};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::convert::{self, Converted, Strings};
use crate::event::{Kind, Trigger};
use crate::version::Version;

/// A file that is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {reason}")]
pub struct ParseError {
    /// Name of the file in its directory.
    pub file: String,
    /// Line, counted from 1; the first line of a document if no better is known.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// What an object is known by.
pub(super) type Id = (Kind, ObjectName);

/// An object of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object {
    Service(Arc<Service>, Version),
    Slice(Arc<EndpointSlice>, Version, Option<Trigger>),
    Node(Arc<Node>),
    /// Its addresses.
    OtherNode(Arc<[IpAddr]>),
    ServiceCidr(Arc<[IpNet]>),
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) objects: Vec<(Id, Object)>,
    /// Parts of objects that were left out.
    pub(super) complaints: Vec<String>,
}

/// Where and why a document is wrong; lines counted within the document.
struct Fault {
    line: usize,
    reason: String,
}

#[derive(Deserialize)]
struct Header {
    #[serde(default, rename = "apiVersion")]
    api_version: String,
    #[serde(default)]
    kind: String,
}

/// Reads all objects in a file. Kinds that are not ours are passed over.
pub(super) fn parse(
    file: &str,
    text: &str,
    node: &str,
    strings: &mut Strings,
) -> Result<Content, ParseError> {
    let is_json = Path::new(file).extension().is_some_and(|extension| extension == "json");
    let mut reader = Reader { json: is_json, node, strings, content: Content::default() };
    let documents = if is_json { vec![(0, text)] } else { documents(text) };
    for (before, document) in documents {
        let fail = |fault: Fault| ParseError {
            file: file.to_owned(),
            line: before + fault.line,
            reason: fault.reason,
        };
        reader.document(document).map_err(fail)?;
    }
    Ok(reader.content)
}

/// The documents of a YAML stream, each with the number of lines before it.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let (mut documents, mut start, mut start_line, mut at) = (Vec::new(), 0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let is_marker = line.trim_end() == "---" || line.starts_with("--- ");
        if is_marker {
            documents.push((start_line, &text[start..at]));
            (start, start_line) = (at, number);
        }
        at += line.len();
    }
    documents.push((start_line, &text[start..]));
    documents
}

struct Reader<'a> {
    json: bool,
    node: &'a str,
    strings: &'a mut Strings,
    content: Content,
}

impl Reader<'_> {
    fn document(&mut self, text: &str) -> Result<(), Fault> {
        let Some(header) = self.read::<Option<Header>>(text)? else { return Ok(()) };
        match (header.api_version.as_str(), header.kind.as_str()) {
            ("v1", "Service") => self.service(&self.read(text)?),
            ("discovery.k8s.io/v1", "EndpointSlice") => self.slice(&self.read(text)?),
            ("v1", "Node") => self.node(&self.read(text)?),
            ("networking.k8s.io/v1" | "networking.k8s.io/v1beta1", "ServiceCIDR") => {
                self.cidr(&self.read(text)?);
            }
            ("v1", "ServiceList") => {
                self.read::<List<core::Service>>(text)?.items.iter().for_each(|o| self.service(o));
            }
            ("v1", "NodeList") => {
                self.read::<List<core::Node>>(text)?.items.iter().for_each(|o| self.node(o));
            }
            ("discovery.k8s.io/v1", "EndpointSliceList") => {
                self.read::<List<discovery::EndpointSlice>>(text)?.items.iter().for_each(|o| self.slice(o));
            }
            ("networking.k8s.io/v1", "ServiceCIDRList") => {
                self.read::<List<networking::ServiceCIDR>>(text)?.items.iter().for_each(|o| self.cidr(o));
            }
            ("v1", "List") => self.mixed(&self.read::<MixedList>(text)?)?,
            ("", _) | (_, "") => return Err(Fault::new("apiVersion or kind is missing")),
            (version, kind @ ("Service" | "EndpointSlice" | "Node" | "ServiceCIDR")) => {
                return Err(Fault::new(&format!("{kind} of {version} is not supported")));
            }
            _ => {}
        }
        Ok(())
    }

    fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, Fault> {
        if self.json {
            return serde_json::from_str(text)
                .map_err(|error| Fault { line: error.line().max(1), reason: error.to_string() });
        }
        // Manifests are the operator's own: no budget for what they may hold.
        let mut options = serde_saphyr::Options::default();
        options.budget = None;
        options.with_snippet = false;
        serde_saphyr::from_str_with_options(text, options).map_err(|error| Fault {
            line: error.location().map_or(1, |at| usize::try_from(at.line()).unwrap_or(1)),
            reason: error.to_string(),
        })
    }

    fn mixed(&mut self, list: &MixedList) -> Result<(), Fault> {
        for (position, item) in list.items.iter().enumerate() {
            let text = |field: &str| item.get(field).and_then(|value| value.as_str()).unwrap_or_default();
            let fail = |error: serde_json::Error| Fault::new(&format!("items[{position}]: {error}"));
            match (text("apiVersion"), text("kind")) {
                ("v1", "Service") => self.service(&core::Service::deserialize(item).map_err(fail)?),
                ("v1", "Node") => self.node(&core::Node::deserialize(item).map_err(fail)?),
                ("discovery.k8s.io/v1", "EndpointSlice") => {
                    self.slice(&discovery::EndpointSlice::deserialize(item).map_err(fail)?);
                }
                ("networking.k8s.io/v1", "ServiceCIDR") => {
                    self.cidr(&networking::ServiceCIDR::deserialize(item).map_err(fail)?);
                }
                ("", _) | (_, "") => {
                    return Err(Fault::new(&format!("items[{position}]: apiVersion or kind is missing")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn service(&mut self, object: &core::Service) {
        let name = convert::name(&object.metadata, self.strings);
        if let Some(converted) = convert::service(object, self.strings) {
            let service = self.take(Kind::Service, &name, converted);
            let object = Object::Service(Arc::new(service), Version::of(&object.metadata));
            self.content.objects.push(((Kind::Service, name), object));
        }
    }

    fn slice(&mut self, object: &discovery::EndpointSlice) {
        let name = convert::name(&object.metadata, self.strings);
        if let Some((converted, trigger)) = convert::endpoint_slice(object, self.strings) {
            let slice = self.take(Kind::EndpointSlice, &name, converted);
            let object = Object::Slice(Arc::new(slice), Version::of(&object.metadata), trigger);
            self.content.objects.push(((Kind::EndpointSlice, name), object));
        }
    }

    fn node(&mut self, object: &core::Node) {
        let name = ObjectName::new("", object.metadata.name.as_deref().unwrap_or_default());
        let node = if *name.name == *self.node {
            Object::Node(Arc::new(self.take(Kind::Node, &name, convert::node(object))))
        } else {
            Object::OtherNode(self.take(Kind::Node, &name, convert::node_addresses(object)))
        };
        self.content.objects.push(((Kind::Node, name), node));
    }

    fn cidr(&mut self, object: &networking::ServiceCIDR) {
        let name = ObjectName::new("", object.metadata.name.as_deref().unwrap_or_default());
        let prefixes = self.take(Kind::ServiceCidr, &name, convert::service_cidr(object));
        self.content.objects.push(((Kind::ServiceCidr, name), Object::ServiceCidr(prefixes)));
    }

    fn take<T>(&mut self, kind: Kind, name: &ObjectName, converted: Converted<T>) -> T {
        let complaints =
            converted.complaints.into_iter().map(|complaint| format!("{kind} {name}: {complaint}"));
        self.content.complaints.extend(complaints);
        converted.object
    }
}

#[derive(Deserialize)]
struct MixedList {
    #[serde(default)]
    items: Vec<serde_json::Value>,
}

impl Fault {
    fn new(reason: &str) -> Fault {
        Fault { line: 1, reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests;
