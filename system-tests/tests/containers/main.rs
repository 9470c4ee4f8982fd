//! What people start with Docker, run by a Docker engine of the test's own.
//!
//! Images cannot be fetched where these tests run, so each is made on the spot from this machine's programs under the name that
//! docker-compose.yml asks for: the same Kafka, registry and Prometheus, other packaging. There is nothing to make Grafana from; its
//! dashboards are held against the real Prometheus instead.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod compose;
mod dockerfile;
mod engine;
mod images;
mod up;
