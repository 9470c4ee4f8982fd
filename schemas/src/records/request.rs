use headwater_histogram::Histogram;
use serde::{Deserialize, Serialize};

/// Which end of a TCP connection. The client is the one that opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Side {
    /// It opened the connection.
    Client,
    /// It accepted the connection.
    Server,
}

/// What an exchange is to those who wait for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Kind {
    /// Somebody asks and waits for the answer.
    #[default]
    Call,
    /// Nobody answers.
    OneWay,
    /// The answer goes on as long as there is something to tell: nobody waits for its end.
    Stream,
    /// The answer comes when there is something to tell, or when the time is up that was asked for, or it is the client that answers: how
    /// long that takes is no latency.
    Wait,
}

/// What became of an exchange, by the rules of its protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// Its client left before it could be told.
    #[default]
    Unknown,
    /// What was asked for was done.
    Ok,
    /// It was asked for what cannot be had.
    ClientError,
    /// Whoever was asked has failed.
    ServerError,
    /// Nothing came back.
    Unanswered,
}

/// [`Request::failure`] where the client closed the connection in the middle of the response.
pub const CLIENT_LEFT: &str = "client_left";

/// One request with its response, as one side saw it. See `avro/request.avsc` for the meaning of each field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request<'a> {
    /// 16 hex digits, equal on both sides of the connection, also through NAT.
    pub connection_id: &'a str,
    /// Which end this is.
    pub side: Side,
    /// Byte position in the client-to-server stream at which the request starts; of an exchange in which the server asks (a broker that
    /// delivers), 2^62 more than its position in the server-to-client stream.
    pub request_position: i64,
    /// First byte of the request sent (client) or read (server), in microseconds since the epoch.
    pub started_at_us: i64,
    /// When it was known that the exchange was over, in microseconds since the epoch. The event time: windows and watermarks refer
    /// to it.
    pub completed_at_us: i64,
    /// From the first byte of the request to the last byte of the response, in nanoseconds; to the failure if there was no
    /// response.
    pub duration_ns: i64,
    /// From the first byte of the request to the first byte of the response, in nanoseconds; -1 if there was no response.
    pub time_to_first_byte_ns: i64,
    /// What both sides speak, in lower case: `http`, `http2`, `grpc`, `redis` and the like. New ones may come at any time.
    pub protocol: &'a str,
    /// What it is to those who wait for it.
    pub kind: Kind,
    /// Method, command, or shape of a statement.
    pub method: &'a str,
    /// Without query. Identifiers are replaced by placeholders unless the agent's setting `http.paths` is `full`.
    /// Empty where the protocol has none.
    pub path: &'a str,
    /// Method and templated path, or the command, or the shape of the statement, of bounded number; `{other}` past the bound, `unknown` if not understood.
    pub operation: &'a str,
    /// What was asked there, as the client named it: host and port, database. At most 128 bytes; empty where it is not known, in records with
    /// sums, and where the protocol has none.
    #[serde(default)]
    pub resource: &'a str,
    /// The protocol's status code; 0 if there was no response, or where the protocol has none.
    pub status: i32,
    /// What became of it.
    pub outcome: Outcome,
    /// What the protocol says of the outcome, such as `WRONGTYPE`; empty if it says nothing, or says it in `status`.
    pub code: &'a str,
    /// The server failed: [`Outcome::ServerError`] (HTTP status 500 and above), or no whole response unless the client wanted no more of it.
    pub error: bool,
    /// Why there was no whole response: `request_incomplete`, `no_response`, `response_incomplete`, [`CLIENT_LEFT`], `reset` or
    /// `timed_out`.
    #[serde(borrow)]
    pub failure: Option<&'a str>,
    /// Head and body on the wire, in bytes.
    pub request_bytes: i64,
    /// Head and body on the wire, interim responses included, in bytes.
    pub response_bytes: i64,
    /// How many messages the client sent within it; `None` if that is not known, or where the protocol has none.
    pub request_messages: Option<i32>,
    /// How many messages the server sent within it, likewise.
    pub response_messages: Option<i32>,
    /// The trace that the client says it belongs to, in 32 hex digits; empty if it said nothing, or two things.
    #[serde(default)]
    pub trace_id: &'a str,
    /// The span that asked, in 16 hex digits; empty with `trace_id`.
    #[serde(default)]
    pub parent_span_id: &'a str,
    /// The number that the client says the request has (`x-request-id`), if that is one of 128 bits; empty if it said nothing, something else, or two things.
    #[serde(default)]
    pub request_id: &'a str,
    /// The thread that sent (client) or read (server) the first byte of the request, as the machine numbers it; 0 if that is not known.
    #[serde(default)]
    pub request_thread_id: i32,
    /// The how-manieth event that the agent was told of this was, so that what one thread did has an order; 0 if that is not known.
    #[serde(default)]
    pub request_call: i64,
    /// The thread that read (client) or sent (server) the first byte of the response, likewise.
    #[serde(default)]
    pub response_thread_id: i32,
    /// The how-manieth event, likewise.
    #[serde(default)]
    pub response_call: i64,
    /// How many exchanges this record stands for: 1 if `sums` is `None`. Count with it, not with records.
    pub weight: i64,
    /// Totals over all `weight` exchanges; `None` in a record of one exchange. All have this record's operation, protocol, kind,
    /// status, outcome and error, and were completed no later than `completed_at_us` and within the same whole second. The other fields
    /// describe the last of them. Boxed, since few records have it.
    pub sums: Option<Box<Sums>>,
    /// Host on which this side runs.
    pub node: &'a str,
    /// The cluster of this side's workload; empty outside of one, or where it has no name.
    pub cluster: &'a str,
    /// Of Kubernetes; empty outside of it.
    pub namespace: &'a str,
    /// Of Kubernetes, such as `Deployment`; else `container`, `unit` or `program`; `unknown` if nobody has named it.
    pub workload_kind: &'a str,
    /// Name of this side's workload.
    pub workload: &'a str,
    /// Of Kubernetes; empty outside of it.
    pub pod: &'a str,
    /// The container within the pod, or by itself; empty outside of one.
    pub container: &'a str,
    /// Process that used the socket first; 0 if unknown.
    pub pid: i32,
    /// This side's IP address, as this side sees it.
    pub local_address: &'a str,
    /// This side's TCP port.
    pub local_port: i32,
    /// The other side's IP address, as this side sees it, so before or after NAT.
    pub remote_address: &'a str,
    /// The other side's TCP port, as this side sees it.
    pub remote_port: i32,
    /// The name by which a client came to it; empty if that is not known.
    #[serde(default)]
    pub remote_name: &'a str,
}

/// Totals over all exchanges of a record that stands for several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// `request_position` of the first exchange counted; the record's own is the last one's. Exchanges of other operations or
    /// statuses may lie between, in records of their own.
    pub from_position: i64,
    /// Heads and bodies of the requests on the wire, in bytes.
    pub request_bytes: i64,
    /// Heads and bodies of the responses on the wire, interim responses included, in bytes.
    pub response_bytes: i64,
    /// What [`Request::latency_ns`] is of each: `weight` values.
    pub duration_ns: Histogram,
}

record!(Request<'_>, "Request", "request", straight);

impl Request<'_> {
    /// How long whoever asked had to wait, in nanoseconds: for the whole response; of a stream, and of a response that its client
    /// cut off, for the first byte.
    pub fn latency_ns(&self) -> i64 {
        let waits_for_end = self.kind != Kind::Stream && self.failure != Some(CLIENT_LEFT);
        if waits_for_end || self.time_to_first_byte_ns < 0 { self.duration_ns } else { self.time_to_first_byte_ns }
    }

    /// Whether that says anything of whoever answers.
    pub fn has_latency(&self) -> bool {
        self.kind != Kind::Wait
    }

    /// The class of the status: `2xx` and the like. Where the protocol has a code of its own or no status, that of the outcome: a call of
    /// gRPC fails with the status 200. `none` for a request without response.
    pub fn status_class(&self) -> &'static str {
        match self.status {
            0 => {}
            _ if !self.code.is_empty() => {}
            100..=199 => return "1xx",
            200..=299 => return "2xx",
            300..=399 => return "3xx",
            400..=499 => return "4xx",
            500..=599 => return "5xx",
            _ => return "other",
        }
        match self.outcome {
            Outcome::Ok => "ok",
            Outcome::ClientError => "client_error",
            Outcome::ServerError => "server_error",
            Outcome::Unanswered | Outcome::Unknown => "none",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_code_of_its_own_says_more_than_the_status_that_carries_it() {
        for (status, code, outcome, class) in [
            (200, "", Outcome::Ok, "2xx"),
            (404, "", Outcome::ClientError, "4xx"),
            (200, "OK", Outcome::Ok, "ok"),
            (200, "UNAVAILABLE", Outcome::ServerError, "server_error"),
            (200, "NOT_FOUND", Outcome::ClientError, "client_error"),
            (0, "WRONGTYPE", Outcome::ClientError, "client_error"),
            (0, "", Outcome::Ok, "ok"),
            (0, "REFUSED_STREAM", Outcome::Unanswered, "none"),
        ] {
            let request = Request { status, code, outcome, ..samples::request() };
            assert_eq!(request.status_class(), class, "{status} {code}");
        }
    }
}
