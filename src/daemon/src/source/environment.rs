//! HTTP proxies between the node and the API server, chosen as programs in Go choose them
//! (`golang.org/x/net/http/httpproxy`), kube-proxy among them. Pure, but for [`Environment::read`].

use std::env;
use std::net::IpAddr;

use hyper::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

/// What variables say of proxies. kubeadm copies those of whoever runs it into kube-proxy's DaemonSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Environment {
    /// `HTTPS_PROXY`, for servers at `https:`.
    pub(super) https: String,
    /// `HTTP_PROXY`, for servers at `http:`.
    pub(super) http: String,
    /// `NO_PROXY`: servers that are reached without.
    pub(super) no: String,
}

impl Environment {
    /// Of this process. Of two spellings the first that is not empty counts.
    pub(super) fn read() -> Environment {
        let first = |names: [&str; 2]| {
            names.iter().find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()))
        };
        let value = |names| first(names).unwrap_or_default();
        Environment {
            https: value(["HTTPS_PROXY", "https_proxy"]),
            http: value(["HTTP_PROXY", "http_proxy"]),
            no: value(["NO_PROXY", "no_proxy"]),
        }
    }

    /// What to go through to reach this server. A value that is no proxy's address counts as none.
    pub(super) fn proxy_to(&self, server: &Uri) -> Option<Intercept> {
        let host = server.host()?.trim_matches(['[', ']']);
        let is_here = host.parse::<IpAddr>().map_or(host == "localhost", |address| address.is_loopback());
        if is_here {
            return None;
        }
        let port = server.port_u16().unwrap_or(if server.scheme_str() == Some("http") { 80 } else { 443 });
        let exceptions = exceptions(&self.no, host, port);
        let matcher = Matcher::builder().https(escaped(&self.https)).http(escaped(&self.http)).no(exceptions);
        matcher.build().intercept(server)
    }
}

/// The proxy that a kubeconfig names, for whichever server.
pub(super) fn named(address: &str, server: &Uri) -> Option<Intercept> {
    Matcher::builder().all(escaped(address)).build().intercept(server)
}

/// With each `@` of a password escaped: the last one ends it.
fn escaped(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((before, host)) => format!("{}@{host}", before.replace('@', "%40")),
        None => address.to_owned(),
    }
}

/// Of these exceptions those for this port, as curl writes them: without ports, without `*.example.com`, and with a `*` that means
/// names alone. `.example.com` and `*.example.com` are not about `example.com` itself, which curl takes them for.
fn exceptions(list: &str, server: &str, port: u16) -> String {
    let of_port = |entry: &str| {
        let entry = entry.trim();
        match entry.rsplit_once(':') {
            // More colons are an IPv6 address, unless it is in brackets.
            Some((host, number)) if !host.contains(':') || host.ends_with(']') => {
                (number.parse() == Ok(port)).then(|| host.to_owned())
            }
            _ => Some(entry.to_owned()),
        }
    };
    let plain = |entry: String| {
        let entry = entry.trim_matches(['[', ']']);
        match entry.strip_prefix('*') {
            Some("") => "*,0.0.0.0/0,::/0".to_owned(),
            Some(domain) => domain.to_owned(),
            None => entry.to_owned(),
        }
    };
    let itself =
        |entry: &String| entry.strip_prefix('.').is_some_and(|name| name.eq_ignore_ascii_case(server));
    let entries = list.split(',').filter_map(of_port).map(plain).filter(|entry| !itself(entry));
    entries.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
