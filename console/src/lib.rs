//! The console: one more subscriber of Headwater's topics, for people.
//!
//! [`live`] is the model, [`feed`] fills it from Kafka, and [`server`] shows it to browsers. [`alerting`] and [`otlp`] tell others of it who
//! are to be told. The `headwater` command starts it.

pub mod alerting;
pub mod clock;
pub mod feed;
pub mod live;
pub mod metrics;
pub mod otlp;
pub mod post;
pub mod records;
pub mod server;
