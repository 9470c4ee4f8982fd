//! The console: one more subscriber of Headwater's topics, for people.
//!
//! [`live`] is the model, [`feed`] fills it from Kafka, [`server`] shows it to browsers, and [`command`] is the `headwater`
//! command, which shows the same in a terminal and brings a whole Headwater up.

pub mod clock;
pub mod command;
pub mod feed;
pub mod format;
pub mod live;
pub mod records;
pub mod server;
pub mod terminal;
