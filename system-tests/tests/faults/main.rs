//! What Headwater does and says where something is wrong: its settings or its surroundings, records that are none, disks that are
//! full, a Kafka that comes late or goes away. One program, so that it is linked once.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a failed test shows them")]

mod bad_input;
mod bad_records;
mod deleted;
mod disk;
mod full_disk;
mod instances;
mod late_kafka;
mod late_records;
mod other_times;
mod partitions_added;
mod registry_away;
mod spool;
