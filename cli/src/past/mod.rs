//! Past windows of the topics of edges and latencies: which ones are meant, what they hold, and what is missing of them.

pub mod collect;
pub mod incomplete;
pub mod range;
pub mod read;
