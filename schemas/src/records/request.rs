use serde::{Deserialize, Serialize};

/// Which end of a TCP connection. The client is the one that opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Side {
    Client,
    Server,
}

/// One request with its response, as one side saw it. See `avro/request.avsc` for the meaning of each field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request<'a> {
    pub connection_id: &'a str,
    pub side: Side,
    pub request_position: i64,
    pub started_at_us: i64,
    pub completed_at_us: i64,
    pub duration_ns: i64,
    pub time_to_first_byte_ns: i64,
    pub protocol: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    pub operation: &'a str,
    pub status: i32,
    pub error: bool,
    #[serde(borrow)]
    pub failure: Option<&'a str>,
    pub request_bytes: i64,
    pub response_bytes: i64,
    pub weight: i64,
    pub node: &'a str,
    pub workload: &'a str,
    pub workload_kind: &'a str,
    pub pid: i32,
    pub local_address: &'a str,
    pub local_port: i32,
    pub remote_address: &'a str,
    pub remote_port: i32,
}

record!(Request<'_>, "Request", "request");

/// The class of a status: `2xx` and the like; `none` for a request without response.
pub fn status_class(status: i32) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        0 => "none",
        _ => "other",
    }
}
