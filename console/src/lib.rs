//! The console: one more subscriber of Headwater's topics, for people.
//!
//! [`live`] is the model, [`feed`] fills it from Kafka, and [`server`] shows it to browsers. The `headwater` command starts it.

pub mod clock;
pub mod feed;
pub mod live;
pub mod records;
pub mod server;
