//! What handing a record to the producer takes, by the topic's handle and by its name. No broker is needed: what is handed over stays in the queue.
//! Prints nanoseconds for each, the least of some rounds.
//!
//! `cargo run --release -p headwater-kafka --example publish_rate`
#![allow(clippy::print_stdout, reason = "it speaks to people in a terminal")]

use std::time::Instant;

use headwater_kafka::{KafkaSettings, Partition, Publisher, partition_of};

const ROUNDS: usize = 10;
const EACH: usize = 50_000;

fn main() {
    let mut least = [f64::MAX; 2];
    for _ in 0..ROUNDS {
        for (way, least) in least.iter_mut().enumerate() {
            let mut settings = KafkaSettings::local("127.0.0.1:1", "http://127.0.0.1:1");
            settings.queue_bytes = 64 << 20;
            let topics = ["requests", "flows", "agents", "identities"].map(str::to_owned).to_vec();
            let publisher = Publisher::start(&settings, topics).expect("a producer needs no broker");
            let value = [7; 230];
            let keys: Vec<String> = (0..64_u64).map(|key| format!("{key:016x}")).collect();
            let began = Instant::now();
            for number in 0..EACH {
                let key = keys[number % keys.len()].as_bytes();
                let partition: Partition = partition_of(key, 4);
                // A timestamp of its own goes the way by name.
                let timestamp_ms = (way == 1).then_some(1_790_000_000_000);
                let taken = publisher.publish_at(0, partition, key, Some(&value), &[], timestamp_ms);
                taken.expect("there is room in the queue");
            }
            *least = least.min(began.elapsed().as_nanos() as f64 / EACH as f64);
        }
    }
    println!("{:.0} ns by the handle, {:.0} ns by the name", least[0], least[1]);
}
