//! What every answer carries, and who gets one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // The page belongs to the program that serves it: after an update an old copy must not stay.
    (header::CACHE_CONTROL, "no-store"),
];

pub async fn add_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The names under which the console may be asked.
///
/// A web page elsewhere, whose name its owner makes point to this machine or to the near end of a port-forward, could read the
/// console through the browser of whoever looks at that page. The browser then says that page's name as the host, so a name
/// that nobody configured gets no answer. An address cannot be made to point elsewhere; a console on loopback still answers
/// to loopback's alone.
#[derive(Debug, Clone)]
pub struct Hosts {
    loopback_only: bool,
    names: Arc<[String]>,
}

impl Hosts {
    /// `names` are those of the settings; this machine's own is known besides, unless only loopback is served.
    pub fn new(listen: SocketAddr, names: &[String]) -> Hosts {
        let loopback_only = listen.ip().is_loopback();
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let own = Some(own.trim()).filter(|name| !loopback_only && !name.is_empty());
        let names = names.iter().map(String::as_str).chain(own).map(canonical).collect();
        Hosts { loopback_only, names }
    }

    fn contain(&self, host: &str) -> bool {
        let name = canonical(host_of(host));
        match name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) if address.is_loopback() || !self.loopback_only => true,
            _ => name == "localhost" || self.names.contains(&name),
        }
    }
}

pub async fn refuse_foreign_hosts(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = header.unwrap_or_default();
    if !hosts.contain(host) {
        let told = "the console does not answer to this name; add it to the setting console.hosts if it is yours\n";
        return (StatusCode::MISDIRECTED_REQUEST, told).into_response();
    }
    next.run(request).await
}

/// Without the port.
fn host_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hosts(listen: &str, names: &[&str]) -> Hosts {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Hosts::new(listen.parse().unwrap(), &names)
    }

    #[test]
    fn on_loopback_only_names_of_loopback_and_configured_ones_pass() {
        let hosts = hosts("127.0.0.1:8470", &["map.example.org"]);
        for host in ["localhost", "localhost:8470", "127.0.0.1:1", "127.0.0.1", "[::1]:80", "LOCALHOST:9", "localhost."]
        {
            assert!(hosts.contain(host), "{host}");
        }
        assert!(hosts.contain("Map.Example.org:80"));
        for host in
            ["", "example.org", "example.org:8470", "localhost.example.org:1", "10.0.0.1:80", "127.0.0.1.nip.io"]
        {
            assert!(!hosts.contain(host), "{host}");
        }
    }

    #[test]
    fn elsewhere_addresses_pass_and_names_of_others_do_not() {
        let hosts = hosts("0.0.0.0:8470", &[]);
        for host in ["localhost:8470", "10.1.2.3:8470", "[fd00::1]:8470", "127.0.0.1:9000"] {
            assert!(hosts.contain(host), "{host}");
        }
        for host in ["", "evil.example:8470", "10.1.2.3.nip.io", "8470"] {
            assert!(!hosts.contain(host), "{host}");
        }
    }
}
