//! Variables that Kubernetes puts into a container for each Service of its namespace (service links).
//!
//! In: the environment. Out: the names of those variables that belong to a Service whose set is whole and agrees with itself. A
//! Service called `headwater-console` makes `HEADWATER_CONSOLE_PORT`, which looks like one of our settings; what only looks
//! like a link (a part of a set, another value) is not taken for one, so that a mistyped setting is still told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

const HOST: &str = "_SERVICE_HOST";
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// The names of all variables that are links to Services.
pub fn names(environment: &[(String, String)]) -> BTreeSet<String> {
    let variables: BTreeMap<&str, &str> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    variables.keys().filter_map(|name| links_of(name.strip_suffix(HOST)?, &variables)).flatten().collect()
}

/// The links of one Service; none if a variable of its set is missing or disagrees with the others.
fn links_of(service: &str, variables: &BTreeMap<&str, &str>) -> Option<BTreeSet<String>> {
    let value = |suffix: &str| variables.get(format!("{service}{suffix}").as_str()).copied();
    let host: IpAddr = value(HOST)?.parse().ok()?;
    let first_port: u16 = value("_SERVICE_PORT")?.parse().ok()?;
    let mut links: BTreeSet<String> =
        [HOST, "_SERVICE_PORT", "_PORT"].map(|suffix| format!("{service}{suffix}")).into();
    let mut ports = BTreeSet::new();
    for name in variables.keys() {
        let Some(rest) = name.strip_prefix(service).and_then(|rest| rest.strip_prefix("_PORT_")) else { continue };
        let Some((port, protocol)) = port_and_protocol(rest) else { continue };
        let link = format!("{service}_PORT_{rest}");
        let parts = [("_PROTO", protocol.clone()), ("_PORT", port.to_string()), ("_ADDR", host.to_string())];
        let agrees = |(suffix, wanted): &(&str, String)| {
            variables.get(format!("{link}{suffix}").as_str()) == Some(&wanted.as_str())
        };
        if variables[name] != url(&protocol, host, port) || !parts.iter().all(agrees) {
            return None;
        }
        links.extend(parts.map(|(suffix, _)| format!("{link}{suffix}")));
        links.insert(link);
        ports.insert(port);
    }
    let is_first = |protocol: &str| value("_PORT") == Some(&url(protocol, host, first_port));
    if !ports.contains(&first_port) || !PROTOCOLS.iter().any(|protocol| is_first(protocol)) {
        return None;
    }
    // A port that has a name is told once more by it.
    let named = format!("{service}_SERVICE_PORT_");
    let is_port = |value: &str| value.parse().is_ok_and(|port: u16| ports.contains(&port));
    links.extend(
        variables
            .iter()
            .filter(|(name, value)| name.starts_with(&named) && is_port(value))
            .map(|(name, _)| (*name).to_owned()),
    );
    Some(links)
}

/// `8080_TCP` as a port and the protocol's name in lower case.
fn port_and_protocol(text: &str) -> Option<(u16, String)> {
    let (port, protocol) = text.split_once('_')?;
    let protocol = protocol.to_lowercase();
    Some((port.parse().ok()?, PROTOCOLS.contains(&protocol.as_str()).then_some(protocol)?))
}

fn url(protocol: &str, host: IpAddr, port: u16) -> String {
    format!("{protocol}://{}", std::net::SocketAddr::new(host, port))
}
