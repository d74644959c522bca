//! `/state` over HTTP: JSON, whatever the outcome.

use hyper::StatusCode;
use kubeweir_plan::ObjectName;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::{Absence, Answer, Asked, Question, rows};
use crate::Event;

/// The page for a query: `service=NAMESPACE/NAME` for one Service, `list=true` for the rows of all, none for a summary.
pub async fn page(query: &str, events: &mpsc::Sender<Event>) -> (StatusCode, String) {
    let question = match question(query) {
        Ok(question) => question,
        Err(complaint) => return problem(StatusCode::BAD_REQUEST, &complaint),
    };
    let (answer, answered) = oneshot::channel();
    let asked = Event::State(Box::new(Asked { question, answer }));
    if events.send(asked).await.is_err() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the daemon ends");
    }
    let Ok(answer) = answered.await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the daemon ends");
    };
    // A list may be long, and others wait for this thread.
    let written = tokio::task::spawn_blocking(move || write(&answer)).await;
    written.unwrap_or_else(|error| problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()))
}

/// What a query asks.
fn question(query: &str) -> Result<Question, String> {
    let mut question = Question::Summary;
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        question = match (&*key, &*value) {
            ("service", name) => Question::Service(service(name)?),
            ("list", "true") => Question::All,
            (key, value) => return Err(format!("{key}={value} is not service=NAMESPACE/NAME or list=true")),
        };
    }
    Ok(question)
}

fn service(text: &str) -> Result<ObjectName, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(ObjectName::new(namespace, name))
        }
        _ => Err(format!("service: {text:?} is not NAMESPACE/NAME")),
    }
}

fn write(answer: &Answer) -> (StatusCode, String) {
    let text = match answer {
        Answer::Summary(summary) => serde_json::to_string(summary),
        Answer::Service(service) => serde_json::to_string(service),
        Answer::All(services) => serde_json::to_string(&rows(services)),
        Answer::Absent(Absence::NotYet) => {
            return problem(StatusCode::SERVICE_UNAVAILABLE, Absence::NotYet.reason());
        }
        Answer::Absent(absence) => return problem(StatusCode::NOT_FOUND, absence.reason()),
    };
    match text {
        Ok(text) => (StatusCode::OK, text + "\n"),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn problem(status: StatusCode, what: &str) -> (StatusCode, String) {
    (status, format!("{}\n", json!({ "error": what })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read() {
        let web = || Question::Service(ObjectName::new("shop", "web"));
        assert_eq!(question(""), Ok(Question::Summary));
        assert_eq!(question("service=shop/web"), Ok(web()));
        assert_eq!(question("service=shop%2Fweb"), Ok(web()));
        assert_eq!(question("list=true"), Ok(Question::All));
        for query in ["service=web", "service=/web", "service=shop/", "service=a/b/c", "list=1", "what=ever"]
        {
            assert!(question(query).is_err(), "{query}");
        }
    }
}
