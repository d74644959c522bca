//! Watches: a stream of JSON lines, each an event.

use std::io;
use std::sync::Arc;

use futures::Stream;
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};

use super::Shared;
use super::resource::Resource;
use super::selector::Selector;
use super::store::{Change, Refusal};

/// What a client asked to watch.
pub(super) struct Request {
    pub(super) resource: Resource,
    pub(super) namespace: String,
    pub(super) selector: Selector,
    /// Changes after this version are wanted.
    pub(super) since: u64,
    /// All objects first, then a bookmark that says so.
    pub(super) initial: bool,
    pub(super) bookmarks: bool,
}

/// The body of the answer. Ends with an error, and so with a broken connection, when connections are cut.
pub(super) fn stream(
    shared: Arc<Shared>,
    request: Request,
) -> impl Stream<Item = Result<Frame<Bytes>, io::Error>> {
    let mut version = shared.version.subscribe();
    let mut cut = shared.cut.subscribe();
    cut.mark_unchanged();
    let state = (shared, request, true);
    futures::stream::unfold(Some((state, version.clone(), cut.clone())), move |state| {
        let _ = (&mut version, &mut cut);
        async move {
            let ((shared, mut request, mut first), mut version, mut cut) = state?;
            loop {
                version.mark_unchanged();
                let (lines, over) = next_lines(&shared, &mut request, first);
                first = false;
                if !lines.is_empty() {
                    let frame = Frame::data(Bytes::from(lines));
                    let rest = (!over).then_some(((shared, request, first), version, cut));
                    return Some((Ok(frame), rest));
                }
                tokio::select! {
                    changed = version.changed() => drop(changed.ok()?),
                    changed = cut.changed() => {
                        changed.ok()?;
                        return Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), None));
                    }
                }
            }
        }
    })
}

/// What can be told now, and whether that is the end.
fn next_lines(shared: &Shared, request: &mut Request, first: bool) -> (String, bool) {
    if shared.faults().hold == Some(request.resource.plural) && request.initial {
        return (String::new(), false);
    }
    let store = shared.store();
    let mut lines = String::new();
    if request.initial {
        request.initial = false;
        for (_, object) in store.list(request.resource.plural, &request.namespace) {
            if request.selector.admits(object) {
                push(&mut lines, "ADDED", object);
            }
        }
        request.since = store.version();
        push(&mut lines, "BOOKMARK", &bookmark(request, true));
        return (lines, false);
    }
    let Some(changes) = store.since(request.since) else {
        let expired = Refusal::new(410, "Expired", "too old resource version");
        push(&mut lines, "ERROR", &expired.status());
        return (lines, true);
    };
    for change in &changes {
        if let Some((kind, object)) = told(request, change) {
            push(&mut lines, kind, &object);
        }
    }
    let moved = request.since != store.version();
    request.since = store.version();
    if lines.is_empty() && request.bookmarks && moved && !first {
        push(&mut lines, "BOOKMARK", &bookmark(request, false));
    }
    (lines, false)
}

/// How a change looks through the request's selectors.
fn told(request: &Request, change: &Change) -> Option<(&'static str, Value)> {
    let here = change.key.0 == request.resource.plural
        && (request.namespace.is_empty() || change.key.1 == request.namespace);
    let visible = |object: &Option<Value>| {
        here && object.as_ref().is_some_and(|object| request.selector.admits(object))
    };
    match (visible(&change.before), visible(&change.after)) {
        (false, false) => None,
        (false, true) => Some(("ADDED", change.after.clone()?)),
        (true, true) => Some(("MODIFIED", change.after.clone()?)),
        (true, false) => {
            let mut gone = change.before.clone()?;
            gone["metadata"]["resourceVersion"] = json!(change.version.to_string());
            Some(("DELETED", gone))
        }
    }
}

fn bookmark(request: &Request, initial_end: bool) -> Value {
    let mut metadata = json!({"resourceVersion": request.since.to_string(), "creationTimestamp": null});
    if initial_end {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    json!({"kind": request.resource.kind, "apiVersion": request.resource.api_version(), "metadata": metadata})
}

fn push(lines: &mut String, kind: &str, object: &Value) {
    lines.push_str(&json!({"type": kind, "object": object}).to_string());
    lines.push('\n');
}
