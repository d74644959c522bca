//! The smallest HTTP client: asks one question of a server inside a namespace.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use kubeweir_playground::Namespace;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers, their names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Status and body of `GET path`; `None` if nobody answers.
pub fn get(namespace: &Namespace, address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let answer = ask(namespace, address, &format!("GET {path}"), &[])?;
    Some((answer.status, answer.body))
}

/// The answer to a method and path, such as `DELETE /metrics/slis`, with these header lines; `None` if nobody answers.
pub fn ask(namespace: &Namespace, address: SocketAddr, line: &str, headers: &[&str]) -> Option<Answer> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let more: String = headers.iter().flat_map(|header| [*header, "\r\n"]).collect();
        write!(stream, "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{more}\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = namespace.run(ask).unwrap().ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split_whitespace().nth(1)?.parse().ok()?;
    let mut headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(key, value)| (key.to_ascii_lowercase(), value.to_owned()))
        .collect();
    headers.sort();
    Some(Answer { status, headers, body: body.to_owned() })
}

/// The value of a metric that counts something: of the first sample whose line begins with `name`.
pub fn count(page: &str, name: &str) -> Option<u64> {
    let line =
        page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))?;
    line.rsplit(' ').next()?.parse().ok()
}
