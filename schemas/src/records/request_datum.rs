//! The datum of a [`Request`] that stands for one exchange, written straight: on a node with much traffic there are more of them than of all
//! else together, and the general way, which looks up each field in the schema, takes several times as long.
//!
//! In: a request. Out: the bytes that the schema says (Avro 1.12, "Binary encoding"), which the test below holds against the general way.

use super::Request;

/// The places of the two types of a union in the schema, as they are written.
const NULL: u8 = 0;
const VALUE: u8 = 2;

/// The most bytes of a number.
const LONG_BYTES_MAX: usize = 10;

/// Appends the datum. False if the request has sums: then nothing is written.
pub fn write(request: &Request<'_>, datum: &mut Vec<u8>) -> bool {
    // Whole, so that a new field is not forgotten here. The order of the fields below is that of the schema.
    let Request {
        connection_id,
        side,
        request_position,
        started_at_us,
        completed_at_us,
        duration_ns,
        time_to_first_byte_ns,
        protocol,
        kind,
        method,
        path,
        operation,
        resource,
        status,
        outcome,
        code,
        error,
        failure,
        request_bytes,
        response_bytes,
        request_messages,
        response_messages,
        trace_id,
        parent_span_id,
        request_id,
        request_thread_id,
        request_call,
        response_thread_id,
        response_call,
        weight,
        sums,
        node,
        cluster,
        namespace,
        workload_kind,
        workload,
        pod,
        container,
        pid,
        local_address,
        local_port,
        remote_address,
        remote_port,
        remote_name,
    } = request;
    if sums.is_some() {
        return false;
    }
    text(datum, connection_id);
    long(datum, *side as i64);
    long(datum, *request_position);
    long(datum, *started_at_us);
    long(datum, *completed_at_us);
    long(datum, *duration_ns);
    long(datum, *time_to_first_byte_ns);
    text(datum, protocol);
    long(datum, *kind as i64);
    text(datum, method);
    text(datum, path);
    text(datum, operation);
    text(datum, resource);
    long(datum, i64::from(*status));
    long(datum, *outcome as i64);
    text(datum, code);
    datum.push(u8::from(*error));
    option(datum, *failure, text);
    long(datum, *request_bytes);
    long(datum, *response_bytes);
    option(datum, *request_messages, |datum, count| long(datum, i64::from(count)));
    option(datum, *response_messages, |datum, count| long(datum, i64::from(count)));
    text(datum, trace_id);
    text(datum, parent_span_id);
    text(datum, request_id);
    long(datum, i64::from(*request_thread_id));
    long(datum, *request_call);
    long(datum, i64::from(*response_thread_id));
    long(datum, *response_call);
    long(datum, *weight);
    datum.push(NULL);
    text(datum, node);
    text(datum, cluster);
    text(datum, namespace);
    text(datum, workload_kind);
    text(datum, workload);
    text(datum, pod);
    text(datum, container);
    long(datum, i64::from(*pid));
    text(datum, local_address);
    long(datum, i64::from(*local_port));
    text(datum, remote_address);
    long(datum, i64::from(*remote_port));
    text(datum, remote_name);
    true
}

/// Zigzag, then seven bits a byte, the lowest first.
fn long(datum: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    if left < 0x80 {
        return datum.push(left as u8);
    }
    let (mut bytes, mut length) = ([0; LONG_BYTES_MAX], 0);
    while left >= 0x80 {
        bytes[length] = left as u8 | 0x80;
        left >>= 7;
        length += 1;
    }
    bytes[length] = left as u8;
    datum.extend_from_slice(&bytes[..=length]);
}

fn text(datum: &mut Vec<u8>, text: &str) {
    long(datum, text.len() as i64);
    datum.extend_from_slice(text.as_bytes());
}

fn option<T>(datum: &mut Vec<u8>, value: Option<T>, write: impl Fn(&mut Vec<u8>, T)) {
    match value {
        None => datum.push(NULL),
        Some(value) => {
            datum.push(VALUE);
            write(datum, value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::records::{Kind, Outcome, Record, Side};
    use crate::samples;

    /// What the schema says of it.
    fn by_schema(request: &Request<'_>) -> Vec<u8> {
        let schema: serde_avro_fast::Schema = Request::SCHEMA.parse().unwrap();
        let mut config = serde_avro_fast::ser::SerializerConfig::new(&schema);
        serde_avro_fast::to_datum_vec(request, &mut config).unwrap()
    }

    fn straight(request: &Request<'_>) -> Vec<u8> {
        let mut datum = vec![];
        assert!(write(request, &mut datum));
        datum
    }

    #[test]
    fn every_field_is_written_as_the_schema_says() {
        let whole = Request { sums: None, ..samples::request() };
        assert_eq!(straight(&whole), by_schema(&whole));
        for kind in [Kind::Call, Kind::OneWay, Kind::Stream, Kind::Wait] {
            for outcome in
                [Outcome::Unknown, Outcome::Ok, Outcome::ClientError, Outcome::ServerError, Outcome::Unanswered]
            {
                let request = Request {
                    kind,
                    outcome,
                    side: Side::Client,
                    error: false,
                    failure: None,
                    request_messages: None,
                    ..whole.clone()
                };
                assert_eq!(straight(&request), by_schema(&request));
            }
        }
    }

    #[test]
    fn numbers_of_every_length_are_written_as_the_schema_says() {
        for shift in 0..64 {
            for number in [1_i64 << shift, (1_i64 << shift).wrapping_sub(1), (1_i64 << shift).wrapping_neg()] {
                let request = Request {
                    request_position: number,
                    status: number as i32,
                    request_messages: Some(number as i32),
                    sums: None,
                    ..samples::request()
                };
                assert_eq!(straight(&request), by_schema(&request), "{number}");
            }
        }
    }

    #[test]
    fn sums_are_left_to_the_schema() {
        let mut datum = vec![1];
        assert!(!write(&samples::request(), &mut datum));
        assert_eq!(datum, [1]);
    }
}
