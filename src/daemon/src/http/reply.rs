//! Answers.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// The type of JSON.
pub(super) const JSON: &str = "application/json";
/// The type of text for people.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// An answer with a body.
pub(super) type Reply = Response<Full<Bytes>>;

/// An answer. Nobody is to guess what its type might be.
pub(super) fn reply(status: StatusCode, kind: &'static str, body: String) -> Reply {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A good answer for people.
pub(super) fn text(body: String) -> Reply {
    reply(StatusCode::OK, TEXT, body)
}

/// An answer for programs.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    match serde_json::to_string(body) {
        Ok(body) => reply(status, JSON, body),
        Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
    }
}

/// As Go's servers say it.
pub(super) fn not_found() -> Reply {
    reply(StatusCode::NOT_FOUND, TEXT, "404 page not found\n".to_owned())
}
