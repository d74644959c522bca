//! `/configz`, `/flagz` and `/statusz`, as components of Kubernetes have them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use hyper::header::{HeaderValue, WARNING};
use serde::Serialize;
use serde_json::json;

use super::accept::{self, Revision, Shape};
use super::reply::{self, Reply, TEXT, reply, text};
use super::version::Info;
use crate::metrics::start_seconds;
use crate::shown::Shown;

/// Whose place this program takes.
const COMPONENT: &str = "kube-proxy";
const YAML: &str = "application/yaml";
const CAUTION: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.";
const DEPRECATED: [(&str, &str); 2] = [
    ("Flagz", "299 - \"This version of the flagz endpoint is deprecated. Please use a newer version.\""),
    ("Statusz", "299 - \"This version of the statusz endpoint is deprecated. Please use a newer version.\""),
];

/// A page as an object of the API.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Object<B> {
    kind: &'static str,
    api_version: &'static str,
    metadata: BTreeMap<&'static str, &'static str>,
    #[serde(flatten)]
    body: B,
}

#[derive(Serialize)]
struct Flags<'a> {
    flags: &'a BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    start_time: String,
    uptime_seconds: u64,
    go_version: &'static str,
    binary_version: &'static str,
    emulation_version: String,
    paths: &'a [&'static str],
}

/// The configuration in effect.
pub(super) fn configz(shown: &Shown) -> Reply {
    reply::json(StatusCode::OK, &json!({"kubeproxy.config.k8s.io": shown.configuration}))
}

/// All flags.
pub(super) fn flagz(shown: &Shown, accepted: &str) -> Reply {
    let mut page = format!("\n{COMPONENT} flagz\n{CAUTION}\n");
    for (name, value) in &shown.flags {
        page.extend([name, "=", value, "\n"]);
    }
    negotiated("Flagz", accepted, page, Flags { flags: &shown.flags })
}

/// What runs here, and since when.
pub(super) fn statusz(paths: &[&'static str], accepted: &str) -> Reply {
    let now = SystemTime::now();
    let started = start_seconds().map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds));
    let status = Status::new(started.unwrap_or(now), now, paths);
    let page = status.page();
    negotiated("Statusz", accepted, page, status)
}

impl<'a> Status<'a> {
    fn new(started: SystemTime, now: SystemTime, paths: &'a [&'static str]) -> Status<'a> {
        let seconds = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let whole =
            jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or_default()).unwrap_or_default();
        let version = Info::ours();
        Status {
            start_time: whole.to_string(),
            uptime_seconds: now.duration_since(started).unwrap_or_default().as_secs(),
            go_version: "",
            binary_version: version.binary(),
            emulation_version: version.emulated(),
            paths,
        }
    }

    /// No line for Go: there is none in here.
    fn page(&self) -> String {
        let Status { start_time, uptime_seconds, binary_version, emulation_version, paths, .. } = self;
        let (hours, minutes, seconds) =
            (uptime_seconds / 3600, uptime_seconds / 60 % 60, uptime_seconds % 60);
        format!(
            "\n{COMPONENT} statusz\n{CAUTION}\n\nStarted: {start_time}\nUp: {hours} hr {minutes:02} min {seconds:02} sec\n\
            Binary version: {binary_version}\nEmulation version: {emulation_version}\nPaths: {}\n",
            paths.join(" ")
        )
    }
}

fn negotiated(kind: &'static str, accepted: &str, page: String, body: impl Serialize) -> Reply {
    match accept::shape(accepted, kind) {
        Some(Shape::Text) => text(page),
        Some(Shape::Json(revision)) => {
            with_warning(reply::json(StatusCode::OK, &object(kind, revision, body)), kind, revision)
        }
        Some(Shape::Yaml(revision)) => with_warning(yaml(&object(kind, revision, body)), kind, revision),
        None => not_acceptable(kind),
    }
}

fn object<B>(kind: &'static str, revision: Revision, body: B) -> Object<B> {
    Object { kind, api_version: revision.api_version, metadata: [("name", COMPONENT)].into(), body }
}

fn yaml(object: &impl Serialize) -> Reply {
    match serde_saphyr::to_string(object) {
        Ok(body) => reply(StatusCode::OK, YAML, body),
        Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
    }
}

fn with_warning(mut reply: Reply, kind: &str, revision: Revision) -> Reply {
    let text = DEPRECATED.into_iter().find(|(of, _)| *of == kind && revision.deprecated);
    if let Some((_, text)) = text {
        reply.headers_mut().insert(WARNING, HeaderValue::from_static(text));
    }
    reply
}

fn not_acceptable(kind: &str) -> Reply {
    let message = format!(
        "only the following media types are accepted: text/plain, application/json, application/yaml; the latter as {kind} of config.k8s.io v1beta1 or v1alpha1"
    );
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": "NotAcceptable", "code": 406});
    reply::json(StatusCode::NOT_ACCEPTABLE, &status)
}
