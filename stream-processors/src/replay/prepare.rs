//! Before a replay begins: what would make it wrong is found out, and the join's group is put where it has to start.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use headwater_kafka::offsets::{self, Place as Found};
use headwater_kafka::{Assignment, Commit, KafkaSettings, Next, Offset, Start, TopicPartition, TopicReader, admin};
use headwater_schemas::topics::Topic;

use super::{Place, Plan};
use crate::modes::Mode;
use crate::processor::{Checkpoint, Memo};

/// What agents write: never under the prefix of a replay.
const RAW: [Topic; 4] = [Topic::Flows, Topic::Requests, Topic::Progress, Topic::Agents];
/// How long the oldest record of a partition may take to come.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// What holds when a replay begins.
pub struct Prepared {
    /// Where each input partition ends: no further is read.
    pub ends: BTreeMap<TopicPartition, Offset>,
    /// An earlier run of the same replay has left off in the middle.
    pub goes_on: bool,
}

/// `source` and `target` differ in their prefix alone.
pub fn prepare(source: &KafkaSettings, target: &KafkaSettings, plan: &Plan) -> Result<Prepared> {
    let into = &target.prefix;
    if *into == source.prefix {
        bail!("a replay cannot write into {into}, the topics that it reads: give it another prefix");
    }
    let inputs = Mode::Join.inputs();
    require_inputs(source, inputs)?;
    let has_records = look_at_outputs(target)?;

    let names: Vec<String> = inputs.iter().map(|topic| topic.name(&source.prefix)).collect();
    let found = offsets::places_at(source, &names, plan.read_from_us() / 1000)?;
    let ends = found.iter().map(|place| (place.at.clone(), place.kept.end)).collect();
    let group = Mode::Join.group(into);
    if has_records {
        let pairs: Vec<_> = found.iter().map(|place| place.at.clone()).collect();
        check_left_off(plan, into, &offsets::committed(source, &group, &pairs)?, &found)?;
        return Ok(Prepared { ends, goes_on: true });
    }
    for place in &found {
        if Plan::is_cut(Place { first: place.kept.first, at: place.reached }) {
            return Err(cut(source, plan, place)?);
        }
    }
    offsets::commit(source, &group, &starts(plan, &names, &found)?)?;
    Ok(Prepared { ends, goes_on: false })
}

fn require_inputs(source: &KafkaSettings, inputs: &[Topic]) -> Result<()> {
    let there = admin::topics(source)?;
    for topic in inputs {
        let name = topic.name(&source.prefix);
        if !there.iter().any(|state| state.name == name) {
            bail!("the topic {name}, which a replay reads, is not there: check kafka.prefix ({})", source.prefix);
        }
    }
    Ok(())
}

/// Whether anything was written there before.
fn look_at_outputs(target: &KafkaSettings) -> Result<bool> {
    let mut has_records = false;
    for state in admin::topics(target)? {
        match Topic::from_name(&target.prefix, &state.name) {
            Some(topic) if RAW.contains(&topic) => {
                bail!(
                    "the topic {} is there, which only agents write: {} is not a prefix for a replay, give it another one",
                    state.name,
                    target.prefix
                );
            }
            Some(_) => has_records |= state.kept.iter().any(|kept| kept.end > Offset::FIRST),
            None => {}
        }
    }
    Ok(has_records)
}

/// Only the same replay may go on where records are.
fn check_left_off(plan: &Plan, into: &str, committed: &[Assignment], found: &[Found]) -> Result<()> {
    for Assignment { at, committed, note } in committed {
        // What is not there, or cannot be read, is not of this replay.
        let is_of_it = serde_json::from_str::<Memo>(note).is_ok_and(|memo| plan.is_of(&memo));
        let Some(offset) = committed.filter(|_| is_of_it) else {
            bail!(
                "the topics under {into} hold records that are not of this replay: give it another prefix, or delete them \
                 (only the same command as before goes on where it left off)"
            );
        };
        if found.iter().any(|place| place.at == *at && place.kept.first > offset) {
            bail!(
                "{at} is no longer kept from offset {offset} on, where this replay left off: start it anew with a later \
                 --from and another prefix"
            );
        }
    }
    Ok(())
}

fn starts(plan: &Plan, names: &[String], found: &[Found]) -> Result<Vec<Commit>> {
    let mut starts = Vec::new();
    let place = |topic: &str, partition| {
        let found = found.iter().find(|place| place.at.topic == topic && place.at.partition == partition);
        found.map(|found| Place { first: found.kept.first, at: found.reached })
    };
    for partition in found.iter().filter(|place| place.at.topic == names[0]).map(|place| place.at.partition) {
        let places: Vec<Place> = names.iter().filter_map(|name| place(name, partition)).collect();
        let Ok(places) = <[Place; 3]>::try_from(places) else {
            bail!("{} must have the same number of partitions", names.join(", "));
        };
        for (topic, Checkpoint { needed_from, memo }) in names.iter().zip(plan.checkpoints(places)) {
            let note = serde_json::to_string(&memo)?;
            starts.push(Commit { at: TopicPartition::new(topic, partition), next: needed_from, note });
        }
    }
    Ok(starts)
}

/// The error that names what retention took, and what can still be computed.
fn cut(source: &KafkaSettings, plan: &Plan, place: &Found) -> Result<anyhow::Error> {
    let (at, first) = (&place.at, place.kept.first);
    let needed = rfc3339(plan.read_from_us());
    let from = rfc3339(plan.from_us);
    let told = format!("the first window, {from}, needs records from {needed} on, but {at}");
    let Some(oldest_us) = oldest_us(source, place)? else {
        return Ok(anyhow::anyhow!("{told} holds no record any more: its retention has passed"));
    };
    Ok(anyhow::anyhow!(
        "{told} begins at offset {first}, {}: its retention has taken what was before. Use --from {} or later",
        rfc3339(oldest_us),
        rfc3339(plan.earliest_from_us(oldest_us))
    ))
}

/// Kafka's timestamp of the oldest record of a partition.
fn oldest_us(source: &KafkaSettings, place: &Found) -> Result<Option<i64>> {
    if place.kept.first >= place.kept.end {
        return Ok(None);
    }
    let start = Start::Offsets(vec![(place.at.clone(), place.kept.first)]);
    let mut reader = TopicReader::start(source, std::slice::from_ref(&place.at.topic), &start)?;
    match reader.next(READ_TIMEOUT).context("read the oldest record")? {
        Next::Record(message) => Ok(Some(message.timestamp_ms() * 1000)),
        Next::End(_) | Next::Idle => Ok(None),
    }
}

/// A time for people, in UTC.
fn rfc3339(us: i64) -> String {
    let time = UNIX_EPOCH + Duration::from_micros(us.max(0) as u64);
    humantime::format_rfc3339_seconds(time).to_string()
}
