//! Objects and their history.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use serde_json::{Map, Value, json};

use super::{event, resource};

/// Plural, namespace (empty for none) and name.
pub(crate) type Key = (&'static str, String, String);

/// Services without an address get one from here on.
const FIRST_ADDRESS: u32 = 0x0a60_c800;
/// History kept.
const HISTORY: usize = 100_000;

/// All objects. Every change gets the next version.
#[derive(Debug, Default)]
pub(crate) struct Store {
    objects: BTreeMap<Key, Value>,
    history: VecDeque<Change>,
    version: u64,
    /// Changes up to here are forgotten.
    compacted: u64,
    addresses: u32,
}

/// One change.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) key: Key,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
}

/// Why something was not done: an HTTP status with Kubernetes' words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { code, reason, message: message.into() }
    }

    pub(crate) fn not_found(key: &Key) -> Refusal {
        Refusal::new(404, "NotFound", format!("{} \"{}\" not found", key.0, key.2))
    }

    /// A `Status` object.
    pub(crate) fn status(&self) -> Value {
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code})
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code, self.reason, self.message)
    }
}

/// The key of an object.
pub(super) fn key_of(object: &Value) -> Key {
    try_key(object).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn try_key(object: &Value) -> Result<Key, Refusal> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let unknown = || Refusal::new(400, "BadRequest", format!("no kind {kind:?} in {api_version:?}"));
    let resource = resource::of(&api_version, &kind).ok_or_else(unknown)?;
    let name = text(&object["metadata"]["name"]);
    if name.is_empty() {
        return Err(Refusal::new(422, "Invalid", "metadata.name: Required value"));
    }
    let given = text(&object["metadata"]["namespace"]);
    let namespace = match (resource.namespaced, given.as_str()) {
        (false, _) => String::new(),
        (true, "") => "default".to_owned(),
        (true, _) => given,
    };
    Ok((resource.plural, namespace, name))
}

impl Store {
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.objects.keys()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    /// Objects of a kind, in one namespace or in all.
    pub(crate) fn list<'a>(
        &'a self,
        plural: &'a str,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a Value)> {
        let here = move |key: &Key| key.0 == plural && (namespace.is_empty() || key.1 == namespace);
        self.objects.iter().filter(move |(key, _)| here(key))
    }

    /// Changes after a version, unless they are forgotten.
    pub(crate) fn since(&self, version: u64) -> Option<Vec<Change>> {
        let first = self.history.partition_point(|change| change.version <= version);
        (version >= self.compacted).then(|| self.history.iter().skip(first).cloned().collect())
    }

    /// Forgets what led here. Only a watch that has seen the latest version can go on.
    pub(crate) fn compact(&mut self) {
        self.compacted = self.version;
        self.history.clear();
    }

    /// Creates an object that must not exist.
    pub(crate) fn create(&mut self, object: Value) -> Result<Value, Refusal> {
        let key = try_key(&object)?;
        if key.0 == "events" {
            event::check(&object)?;
        }
        if self.objects.contains_key(&key) {
            return Err(Refusal::new(
                409,
                "AlreadyExists",
                format!("{} \"{}\" already exists", key.0, key.2),
            ));
        }
        self.put(object)
    }

    /// Creates or replaces an object. One that stays the same keeps its version.
    pub(crate) fn put(&mut self, mut object: Value) -> Result<Value, Refusal> {
        let key = try_key(&object)?;
        let before = self.objects.get(&key).cloned();
        self.complete(&key, before.as_ref(), &mut object);
        if before.as_ref().is_some_and(|before| same(before, &object)) {
            return Ok(before.unwrap_or_default());
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(key.clone(), object.clone());
        self.remember(key, before, Some(object.clone()));
        Ok(object)
    }

    /// Deletes an object.
    pub(crate) fn delete(&mut self, key: &Key) -> Result<Value, Refusal> {
        let mut object = self.objects.remove(key).ok_or_else(|| Refusal::not_found(key))?;
        let before = object.clone();
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.history.push_back(Change {
            version: self.version,
            key: key.clone(),
            before: Some(before),
            after: None,
        });
        Ok(object)
    }

    fn remember(&mut self, key: Key, before: Option<Value>, after: Option<Value>) {
        self.history.push_back(Change { version: self.version, key, before, after });
        if self.history.len() > HISTORY
            && let Some(old) = self.history.pop_front()
        {
            self.compacted = old.version;
        }
    }

    /// Fills in what a server does.
    fn complete(&mut self, key: &Key, before: Option<&Value>, object: &mut Value) {
        let metadata = object["metadata"].as_object_mut().expect("metadata");
        let kept = |field: &str| before.map(|before| before["metadata"][field].clone());
        // A real server lets nobody choose it; here objects may be as old as a scenario says.
        let given = metadata.get("creationTimestamp").filter(|time| !time.is_null()).cloned();
        let born = given.unwrap_or_else(|| json!("2026-01-02T03:04:05Z"));
        metadata.insert("creationTimestamp".into(), kept("creationTimestamp").unwrap_or(born));
        let uid = json!(format!("00000000-0000-0000-0000-{:012}", self.version + 1));
        metadata.insert("uid".into(), kept("uid").unwrap_or(uid));
        if let Some(version) = kept("resourceVersion") {
            metadata.insert("resourceVersion".into(), version);
        }
        if !key.1.is_empty() {
            metadata.insert("namespace".into(), json!(key.1));
        }
        if key.0 == "services" {
            let address = before.and_then(|before| before["spec"].get("clusterIP").cloned());
            self.complete_service(address, object["spec"].as_object_mut().expect("spec"));
        }
    }

    fn complete_service(&mut self, address: Option<Value>, spec: &mut Map<String, Value>) {
        let fresh = || json!(std::net::Ipv4Addr::from_bits(FIRST_ADDRESS + self.addresses + 1).to_string());
        let is_alias = spec.get("type") == Some(&json!("ExternalName"));
        if !is_alias && !spec.contains_key("clusterIP") {
            let address = address.unwrap_or_else(fresh);
            self.addresses += 1;
            spec.insert("clusterIP".into(), address);
        }
        if let (Some(address), false) = (spec.get("clusterIP").cloned(), spec.contains_key("clusterIPs")) {
            spec.insert("clusterIPs".into(), json!([address]));
        }
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            port.as_object_mut().expect("port").entry("protocol").or_insert_with(|| json!("TCP"));
        }
        for (field, value) in
            [("type", "ClusterIP"), ("sessionAffinity", "None"), ("internalTrafficPolicy", "Cluster")]
        {
            spec.entry(field).or_insert_with(|| json!(value));
        }
    }
}

fn same(before: &Value, after: &Value) -> bool {
    let mut after = after.clone();
    after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    *before == after
}
