//! What programs answer to those who look at them.

use std::net::SocketAddr;

use crate::lab::PATIENCE;

/// Status and body of an answer; none while nothing listens.
pub fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).build();
    let mut response = ureq::Agent::from(config).get(format!("http://{address}{path}")).call().ok()?;
    Some((response.status().as_u16(), response.body_mut().read_to_string().ok()?))
}
