//! What Headwater does and says where something is wrong: its settings or its surroundings, records that are none, disks that are
//! full. One program, so that it is linked once.

mod bad_input;
mod bad_records;
mod full_disk;
