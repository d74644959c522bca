use std::time::Instant;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use kubeweir_plan::ObjectName;
use serde::Serialize;
use serde_json::ser::PrettyFormatter;
use tokio::sync::watch;

use crate::health::Health;

/// Balancers that weigh nodes read it.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// What a socket answers, whatever it is asked. Cheap to clone.
#[derive(Clone)]
pub(super) struct Page {
    /// Of which Service.
    pub(super) service: ObjectName,
    /// How many addresses of ready endpoints are here. Closed when the socket is.
    pub(super) ready: watch::Receiver<u32>,
    /// What the loop published last.
    pub(super) health: watch::Receiver<Health>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    service: Name<'a>,
    local_endpoints: u32,
    service_proxy_healthy: bool,
}

#[derive(Serialize)]
struct Name<'a> {
    namespace: &'a str,
    name: &'a str,
}

impl Page {
    /// The answer now. Whoever still asks after the Service or its port has gone must send nothing here.
    pub(super) fn answer(&self, now: Instant) -> Response<Full<Bytes>> {
        let is_closed = self.ready.has_changed().is_err();
        let ready = if is_closed { 0 } else { *self.ready.borrow() };
        let healthy = self.health.borrow().is_live(now);
        let mut response = Response::new(Full::new(self.body(ready, healthy).into()));
        if ready == 0 || !healthy {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(WEIGHT, HeaderValue::from(ready));
        response
    }

    /// As kube-proxy writes it: a line each, tabs, and no end of line at the end.
    fn body(&self, local_endpoints: u32, service_proxy_healthy: bool) -> Vec<u8> {
        let service = Name { namespace: &self.service.namespace, name: &self.service.name };
        let mut text = Vec::new();
        let mut writer =
            serde_json::Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"\t"));
        // Writing to memory does not fail, and neither do these types.
        let _ = Body { service, local_endpoints, service_proxy_healthy }.serialize(&mut writer);
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use http_body_util::BodyExt;

    use super::*;
    use crate::core::{Counts, Standing};

    fn health(waiting_since: Option<Instant>) -> Health {
        let standing =
            Standing { waiting_since, awaited: vec![], eligible: false, pending: Counts::default() };
        Health { last_sync: Some(SystemTime::now()), standing, patience: Duration::from_secs(30) }
    }

    /// Status, weight and body.
    fn told(page: &Page, now: Instant) -> (u16, String, String) {
        let response = page.answer(now);
        let weight = response.headers()[WEIGHT].to_str().unwrap().to_owned();
        let status = response.status().as_u16();
        let body = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(response.into_body().collect())
            .unwrap()
            .to_bytes();
        (status, weight, String::from_utf8(body.to_vec()).unwrap())
    }

    fn body(ready: u32, healthy: bool) -> String {
        format!(
            "{{\n\t\"service\": {{\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t}},\n\
             \t\"localEndpoints\": {ready},\n\t\"serviceProxyHealthy\": {healthy}\n}}"
        )
    }

    #[test]
    fn a_node_is_good_with_endpoints_and_a_live_proxy_whether_eligible_or_not() {
        let now = Instant::now();
        let late = now + Duration::from_secs(60);
        let (count, ready) = watch::channel(2);
        let (published, health_now) = watch::channel(health(None));
        let page = Page { service: ObjectName::new("shop", "web"), ready, health: health_now };
        assert_eq!(told(&page, late), (200, "2".to_owned(), body(2, true)));
        published.send_replace(health(Some(now)));
        assert_eq!(told(&page, now).0, 200);
        assert_eq!(told(&page, late), (503, "2".to_owned(), body(2, false)));
        count.send_replace(0);
        assert_eq!(told(&page, now), (503, "0".to_owned(), body(0, true)));
    }

    #[test]
    fn who_asks_when_the_socket_was_closed_is_told_to_go_elsewhere() {
        let (count, ready) = watch::channel(2);
        let (_published, health) = watch::channel(health(None));
        let page = Page { service: ObjectName::new("shop", "web"), ready, health };
        drop(count);
        assert_eq!(told(&page, Instant::now()), (503, "0".to_owned(), body(0, true)));
    }
}
