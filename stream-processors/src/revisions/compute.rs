//! Windows as the logs tell of them now.
//!
//! In: a range of windows, and `flows` and `requests` up to their ends. Out: what join and merges make of them, if windows close there. One pair of partitions is read
//! after the other, so that no more than the records of one pair are held. Bounded as a join is.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use headwater_kafka::offsets::{self, Place as Found};
use headwater_kafka::{Next, Offset, Partition, SchemaCache, Start, TopicPartition, TopicReader, partition_of};
use headwater_schemas::records::{Edge, Latency, Partial, WindowClosed};
use headwater_schemas::topics::Topic;

use super::READS;
use super::compare::Windows;
use crate::merge::{LatencyView, Merge, ServiceMapView, View};
use crate::modes::Mode;
use crate::processor::{Output, Processor};
use crate::replay::{Place, Plan};
use crate::runtime::unit::Unit;
use crate::settings::Settings;

/// Brokers that say nothing for so long are away.
const PATIENCE: Duration = Duration::from_secs(30);
const TURN: Duration = Duration::from_millis(200);

/// All records of some windows.
#[derive(Default)]
pub struct Computed {
    pub edges: Windows<Edge>,
    pub latencies: Windows<Latency>,
}

/// What the partitions of the raw topics make of a window.
#[derive(Default)]
struct Parts {
    partials: Vec<Partial>,
    markers: Vec<WindowClosed>,
}

/// Computes the windows of a plan. Nothing if records that this needs are not kept any more, or `goes_on` said no.
///
/// # Errors
/// If the brokers or the registry do not answer.
pub fn compute(
    settings: &Settings,
    partitions: &BTreeMap<Topic, i32>,
    plan: &Plan,
    schemas: &mut SchemaCache,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Computed>> {
    let names = READS.map(|topic| topic.name(&settings.raw_prefix));
    let look = || offsets::places_at(&settings.kafka, &names, plan.read_from_us() / 1000);
    let found = look()?;
    if found.iter().any(|place| Plan::is_cut(Place { first: place.kept.first, at: place.reached })) {
        return Ok(None);
    }
    let mut parts = BTreeMap::<i64, Parts>::new();
    for at in found.iter().filter(|place| place.at.topic == names[0]).map(|place| place.at.partition) {
        let place = |name: &String| found.iter().find(|place| place.at.topic == *name && place.at.partition == at);
        let places: Vec<&Found> = names.iter().filter_map(place).collect();
        let Ok(places) = <[&Found; 3]>::try_from(places) else {
            bail!("{} must have the same number of partitions", names.join(", "));
        };
        let Some(outputs) = join(settings, partitions, plan, at, places, schemas, goes_on)? else {
            return Ok(None);
        };
        for output in outputs {
            match output {
                Output::Partial(partial) => {
                    parts.entry(partial.window_start_us).or_default().partials.push(partial);
                }
                Output::Closed(_, marker) => parts.entry(marker.window_start_us).or_default().markers.push(marker),
                // A join gives nothing else.
                Output::Edge(_) | Output::Latency(_) | Output::Alert(_) => {}
            }
        }
    }
    // What retention took meanwhile was not read.
    let is_cut = |now: &Found| found.iter().any(|place| place.at == now.at && now.kept.first > place.reached);
    if look()?.iter().any(is_cut) {
        return Ok(None);
    }
    Ok(Some(merged(parts, partitions.get(&Topic::Partials).copied().unwrap_or(1))?))
}

/// What the join of the partitions of one number gives.
fn join(
    settings: &Settings,
    partitions: &BTreeMap<Topic, i32>,
    plan: &Plan,
    at: Partition,
    places: [&Found; 3],
    schemas: &mut SchemaCache,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Vec<Output>>> {
    let ends = places.map(|place| place.kept.end);
    let starts = places.map(|place| Place { first: place.kept.first, at: place.reached });
    let checkpoints = plan.checkpoints_at_end(starts, ends).map(Some);
    let mut unit = Unit::new(Mode::Join, settings, partitions, at, &checkpoints, None).quietly();
    let from: Vec<(TopicPartition, Offset)> = places
        .iter()
        .filter(|place| place.reached < place.kept.end)
        .map(|place| (place.at.clone(), place.reached))
        .collect();
    if !from.is_empty() {
        let names: Vec<String> = from.iter().map(|(at, _)| at.topic.clone()).collect();
        let mut reader = TopicReader::start(&settings.kafka, &names, &Start::Offsets(from))?;
        let (mut open, mut silent) = (reader.partitions().len(), Duration::ZERO);
        while open > 0 {
            if !goes_on() {
                return Ok(None);
            }
            let message = match reader.next(TURN)? {
                Next::Record(message) => message,
                Next::End(_) => {
                    open -= 1;
                    continue;
                }
                Next::Idle if silent < PATIENCE => {
                    silent += TURN;
                    continue;
                }
                Next::Idle => bail!("nothing came of {at} for {PATIENCE:?}"),
            };
            silent = Duration::ZERO;
            if let Some(stream) = places.iter().position(|place| place.at.topic == message.topic()) {
                unit.record(Mode::Join, stream, &message, schemas)?;
            }
        }
    }
    unit.end();
    Ok(Some(unit.take_outputs()))
}

/// What the merges make of it, window by window.
fn merged(parts: BTreeMap<i64, Parts>, partitions: i32) -> Result<Computed> {
    let mut edges: Vec<Merge<ServiceMapView>> =
        (0..partitions).map(|at| Merge::new(Partition(at), partitions, None)).collect();
    let mut latencies: Vec<Merge<LatencyView>> =
        (0..partitions).map(|at| Merge::new(Partition(at), partitions, None)).collect();
    let mut computed = Computed::default();
    for Parts { partials, markers } in parts.into_values() {
        for partial in partials {
            // It is one of so many.
            let at = partition_of(partial.key().as_bytes(), partitions).0 as usize;
            edges[at].partial(Offset::FIRST, partial.clone())?;
            latencies[at].partial(Offset::FIRST, partial)?;
        }
        for marker in markers {
            for at in 0..partitions as usize {
                edges[at].closed(Offset::FIRST, marker.clone(), None);
                latencies[at].closed(Offset::FIRST, marker.clone(), None);
            }
        }
        edges.iter_mut().flat_map(Processor::take_outputs).for_each(|output| computed.take(output));
        latencies.iter_mut().flat_map(Processor::take_outputs).for_each(|output| computed.take(output));
    }
    Ok(computed)
}

impl Computed {
    fn take(&mut self, output: Output) {
        match output {
            Output::Edge(edge) => {
                self.edges.take(edge.window_start_us, edge.key(), edge);
            }
            Output::Latency(latency) => self.latencies.take(latency.window_start_us, latency.key(), latency),
            Output::Closed(ServiceMapView::TOPIC, marker) => self.edges.mark(marker),
            Output::Closed(LatencyView::TOPIC, marker) => self.latencies.mark(marker),
            Output::Closed(..) | Output::Partial(_) | Output::Alert(_) => {}
        }
    }
}
