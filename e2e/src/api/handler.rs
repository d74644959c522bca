//! Requests and answers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Collected, Full, StreamBody};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::body::Body;
use super::resource::{self, Resource};
use super::rights::Right;
use super::selector::Selector;
use super::store::{Key, Refusal};
use super::{Shared, TOKEN, openapi, patch, strict, validation, watch};

/// API version of objects without all but their metadata.
const METADATA: &str = "meta.k8s.io/v1";

type Reply = Response<BoxBody<Bytes, io::Error>>;

/// One connection, until it ends.
pub(super) async fn serve(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let answer = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(&shared, request).await) }
    });
    // A client that goes away in the middle is none of our concern.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

async fn respond(shared: &Arc<Shared>, request: Request<Incoming>) -> Reply {
    let asked = Asked::new(&request);
    shared.faults().requests.push(request.uri().to_string());
    if shared.faults().unavailable {
        return refused(&Refusal::new(503, "ServiceUnavailable", "unavailable"));
    }
    if !asked.authorized {
        return refused(&Refusal::new(401, "Unauthorized", "Unauthorized"));
    }
    if let Some(page) = openapi::page(&asked.path) {
        return reply(200, &page);
    }
    let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    let Some((resource, parts)) = resource::in_path(&asked.path) else { return refused(&unknown()) };
    let target = Target::new(resource, &parts);
    match shared.faults().withheld {
        Some((plural, 404)) if plural == resource.plural => return refused(&unknown()),
        Some((plural, code)) if plural == resource.plural => {
            return refused(&Refusal::new(code, "Forbidden", format!("{plural} is forbidden")));
        }
        _ => {}
    }
    if let Err(refusal) = shared.faults().guard.ask(Right::of(&asked, &target)) {
        return refused(&refusal);
    }
    if asked.method != Method::GET && shared.faults().forbid == Some(resource.plural) {
        return refused(&Refusal::new(403, "Forbidden", format!("{} is forbidden", resource.plural)));
    }
    if asked.flag("watch") && shared.faults().unwatchable == Some(resource.plural) {
        return refused(&Refusal::new(403, "Forbidden", format!("{} cannot be watched", resource.plural)));
    }
    match (&asked.method, target.name.is_empty()) {
        (&Method::GET, true) if asked.flag("watch") => watching(shared, &target, &asked),
        (&Method::GET, true) => {
            list(shared, &target, &asked).await.unwrap_or_else(|refusal| refused(&refusal))
        }
        _ => single(shared, &target, &asked, &body).unwrap_or_else(|refusal| refused(&refusal)),
    }
}

fn unknown() -> Refusal {
    Refusal::new(404, "NotFound", "the server could not find the requested resource")
}

/// A request without its body.
pub(super) struct Asked {
    pub(super) method: Method,
    path: String,
    query: HashMap<String, String>,
    content_type: String,
    /// Whether a list is to hold metadata only.
    metadata_only: bool,
    authorized: bool,
}

impl Asked {
    fn new(request: &Request<Incoming>) -> Asked {
        let header =
            |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let query = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
        Asked {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query: query.into_owned().collect(),
            content_type: header(CONTENT_TYPE).to_owned(),
            metadata_only: header(ACCEPT).contains("as=PartialObjectMetadataList"),
            authorized: header(AUTHORIZATION) == format!("Bearer {TOKEN}"),
        }
    }

    fn text(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.text(name), "true" | "1")
    }

    fn selector(&self) -> Selector {
        Selector {
            labels: self.text("labelSelector").to_owned(),
            fields: self.text("fieldSelector").to_owned(),
        }
    }
}

/// What a path is about.
pub(super) struct Target {
    pub(super) resource: Resource,
    pub(super) namespace: String,
    pub(super) name: String,
    /// `status`, for example; empty for the object itself.
    pub(super) part: String,
}

impl Target {
    fn new(resource: Resource, parts: &[&str]) -> Target {
        let (namespace, rest) = match parts {
            ["namespaces", namespace, _, rest @ ..] if resource.namespaced => (*namespace, rest),
            [_, rest @ ..] => ("", rest),
            [] => ("", parts),
        };
        let word = |at: usize| rest.get(at).copied().unwrap_or_default().to_owned();
        Target { resource, namespace: namespace.to_owned(), name: word(0), part: word(1) }
    }

    fn key(&self) -> Key {
        (self.resource.plural, self.namespace.clone(), self.name.clone())
    }
}

fn watching(shared: &Arc<Shared>, target: &Target, asked: &Asked) -> Reply {
    let initial = asked.flag("sendInitialEvents");
    if initial && shared.faults().refuse_streaming {
        let message = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        return refused(&Refusal::new(422, "Invalid", message));
    }
    let request = watch::Request {
        resource: target.resource,
        namespace: target.namespace.clone(),
        selector: asked.selector(),
        since: asked.text("resourceVersion").parse().unwrap_or_else(|_| shared.store().version()),
        initial,
        bookmarks: asked.flag("allowWatchBookmarks"),
    };
    let body = StreamBody::new(Box::pin(watch::stream(Arc::clone(shared), request)));
    let mut response = Response::new(BoxBody::new(body));
    response.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
    response
}

/// A page of a list. The continue token is the position to go on from, and the version it belongs to.
async fn list(shared: &Shared, target: &Target, asked: &Asked) -> Result<Reply, Refusal> {
    let mut version = shared.version.subscribe();
    while shared.faults().hold == Some(target.resource.plural) {
        if version.changed().await.is_err() {
            break;
        }
    }
    let store = shared.store();
    let (from, at): (usize, u64) = match asked.text("continue").split_once('@') {
        Some((from, at)) => (from.parse().unwrap_or(0), at.parse().unwrap_or(0)),
        None => (0, store.version()),
    };
    if store.since(at).is_none() {
        return Err(Refusal::new(410, "Expired", "the provided continue parameter is too old"));
    }
    let selector = asked.selector();
    let all = store.list(target.resource.plural, &target.namespace).map(|(_, object)| object);
    let selected: Vec<&Value> = all.filter(|object| selector.admits(object)).collect();
    let limit = asked.text("limit").parse().ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let end = from.saturating_add(limit).min(selected.len());
    let next = if end < selected.len() { format!("{end}@{at}") } else { String::new() };
    let page = &selected[from.min(end)..end];
    let (kind, api_version, items) = if asked.metadata_only {
        (
            "PartialObjectMetadata",
            METADATA.to_owned(),
            page.iter().map(|object| metadata_of(object)).collect(),
        )
    } else {
        (target.resource.kind, target.resource.api_version(), json!(page))
    };
    Ok(reply(
        200,
        &json!({
            "kind": format!("{kind}List"), "apiVersion": api_version,
            "metadata": {"resourceVersion": at.to_string(), "continue": next}, "items": items,
        }),
    ))
}

fn metadata_of(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": METADATA, "metadata": object["metadata"]})
}

fn single(shared: &Shared, target: &Target, asked: &Asked, body: &[u8]) -> Result<Reply, Refusal> {
    let key = target.key();
    let current = shared.store().get(&key).cloned();
    let missing = || Refusal::not_found(&key);
    let (code, object) = match asked.method {
        Method::GET => (200, current.ok_or_else(missing)?),
        Method::POST => {
            let object = admitted(Body::parse(body)?, target, asked, None)?;
            (201, shared.store().create(object)?)
        }
        Method::PUT if current.is_some() => {
            let object = admitted(Body::parse(body)?, target, asked, current.as_ref())?;
            (200, shared.store().put(object)?)
        }
        Method::PATCH => patched(shared, target, asked, current.as_ref(), Body::parse(body)?)?,
        Method::DELETE => (200, shared.store().delete(&key)?),
        _ => return Err(missing()),
    };
    shared.changed();
    Ok(reply(code, &object))
}

/// `kubectl apply --server-side` may create the object, other patches may not.
fn patched(
    shared: &Shared,
    target: &Target,
    asked: &Asked,
    current: Option<&Value>,
    change: Body,
) -> Result<(u16, Value), Refusal> {
    let is_apply = asked.content_type.starts_with("application/apply-patch");
    let code = if current.is_none() { 201 } else { 200 };
    let missing = || Refusal::not_found(&target.key());
    let mut object = match current {
        Some(current) => current.clone(),
        None if is_apply => json!({}),
        None => return Err(missing()),
    };
    match asked.content_type.as_str() {
        "application/strategic-merge-patch+json" => patch::strategic(&mut object, &change.object),
        _ => patch::merge(&mut object, &change.object),
    }
    let object = admitted(Body { object, ..change }, target, asked, current)?;
    Ok((code, shared.store().put(object)?))
}

/// What is asked to be stored, if a real server would take it.
fn admitted(body: Body, target: &Target, asked: &Asked, before: Option<&Value>) -> Result<Value, Refusal> {
    let object = placed(body.object, target);
    let is_strict = asked.text("fieldValidation") == "Strict";
    strict::check(&object, &target.resource, if is_strict { Some(&body.duplicate) } else { None })?;
    validation::check(&object, &target.resource, before)?;
    Ok(object)
}

/// With the kind and namespace of the path, which an object may leave out.
fn placed(mut object: Value, target: &Target) -> Value {
    object["apiVersion"] = json!(target.resource.api_version());
    object["kind"] = json!(target.resource.kind);
    if !target.namespace.is_empty() {
        object["metadata"]["namespace"] = json!(target.namespace);
    }
    object
}

fn refused(refusal: &Refusal) -> Reply {
    reply(refusal.code, &refusal.status())
}

fn reply(code: u16, object: &Value) -> Reply {
    let body = Full::new(Bytes::from(object.to_string())).map_err(|never| match never {});
    let mut response = Response::new(BoxBody::new(body));
    *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap();
    response.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
    response
}
