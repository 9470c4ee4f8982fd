//! What is captured is what happened, exactly: each test starts servers, clients and the agent in a cgroup of its own, and mostly
//! waits for what the topics then say. One program, so that it is linked once.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a failed test shows them")]

mod amqp;
mod brokers;
mod budget;
mod busy;
mod cassandra;
mod closing;
mod dns;
mod exact;
mod foreign;
mod h2c;
mod handover;
mod hostile;
mod hosts;
mod hot;
mod http2;
mod idle;
mod kafka;
mod memcached;
mod mongodb;
mod mqtt;
mod mysql;
mod named;
mod names;
mod nat;
mod nats;
mod odd;
mod overload;
mod own_traffic;
mod processes;
mod redis;
mod soak;
mod sums;
mod tls;
mod tls_carried;
mod tls_gnutls;
mod tls_go;
mod tls_plaintext;
mod tls_postgres;
mod tls_rustls;
mod unix;
mod uring;
mod websocket;
