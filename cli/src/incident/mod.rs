//! `headwater incident ID`: what happened, from the topics of alerts and edges.
//!
//! In: the id that alerts of one incident share, its beginning, or the name of the service that they blame. Out: the alerts in their order, the edges of the blamed
//! service before and meanwhile, and where the records stand that show it. Without an id: the newest incidents.

mod find;
mod story;
mod text;

use std::time::Duration;

use anyhow::Result;
use headwater_console::records::{Item, ItemReader, place};
use headwater_kafka::{KafkaSettings, RecordError, Start, TopicReader, connect_check};
use headwater_schemas::records::Alert;
use headwater_schemas::topics::Topic;

use self::find::{Incidents, NotFound};
use self::story::{Story, Told};
use crate::clock::now_us;
use crate::compare::{Comparison, compare};
use crate::past::range::Range;
use crate::past::read::read;
use crate::running;
use crate::settings::Settings;
use crate::terminal::{colours_wanted, print};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);
/// Of the time before an incident, and of the incident itself.
const BEFORE_US: i64 = 10 * 60_000_000;
const MEANWHILE_US_MAX: i64 = 60 * 60_000_000;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater incident                    the newest incidents
  headwater incident shop-payments      the newest one that blames this service
  headwater incident '//program/shop-payments 1796'

An id is the `incident_id` of alerts (`headwater tail alerts --json`).")]
pub struct IncidentArgs {
    /// Its id, as much of its beginning as no other has, or a service: the newest incident that blames it
    id: Option<String>,
    /// Print one JSON object: the incident, or a line for each without ID
    #[arg(long)]
    json: bool,
}

pub fn run(settings: &Settings, args: &IncidentArgs) -> Result<()> {
    connect_check(&settings.kafka, CONNECT_TIMEOUT)?;
    let mut incidents = Incidents::default();
    each_alert(&settings.kafka, |told| incidents.note(&told.alert))?;
    let colours = colours_wanted();
    let Some(wanted) = &args.id else {
        return match args.json {
            true => incidents.newest_first().try_for_each(|one| print(&format!("{}\n", serde_json::to_string(one)?))),
            false => print(&text::list(&incidents, now_us(), colours)),
        };
    };
    let found = incidents.find(wanted).map_err(|error| advise(error, &settings.kafka))?;
    let mut story = Story::of(&found.incident_id);
    each_alert(&settings.kafka, |told| story.take(told))?;
    let edges = edges(&settings.kafka, &story);
    if args.json {
        return print(&format!("{}\n", serde_json::to_string(&story.json(&edges))?));
    }
    print(&text::story(&story, &edges, found.others, (&settings.kafka.prefix, &kcat(settings)), colours))
}

/// How another client reaches this Kafka.
fn kcat(settings: &Settings) -> String {
    let running = running::find(&settings.up_folder).into_iter().find(|one| one.brokers == settings.kafka.brokers);
    let file = running.and_then(|one| one.access).and_then(|access| access.client_file);
    match file {
        Some(file) => format!("kcat -F {}", file.display()),
        None => format!("kcat -b {}", settings.kafka.brokers),
    }
}

/// All alerts that are kept, in the order of their topic.
fn each_alert(kafka: &KafkaSettings, mut each: impl FnMut(Told)) -> Result<()> {
    let mut reader = TopicReader::start(kafka, &[Topic::Alerts.name(&kafka.prefix)], &Start::Earliest)?;
    let mut items = ItemReader::new(kafka);
    let mut away = None;
    reader.read_to_end(PATIENCE, |message| match items.read(Topic::Alerts, message) {
        Ok(Item::Alert(alert)) => {
            each(Told { partition: message.partition().0, offset: message.offset().0, alert: *alert });
        }
        Ok(_) => {}
        Err(RecordError::Bad(error)) => eprintln!("passed over {}: {error}", place(Topic::Alerts, message)),
        Err(RecordError::Registry(error)) => away = Some(error),
    })?;
    away.map_or(Ok(()), |error| Err(error.into()))
}

fn advise(error: NotFound, kafka: &KafkaSettings) -> anyhow::Error {
    let topic = Topic::Alerts.name(&kafka.prefix);
    anyhow::Error::new(error).context(format!("find the incident in {topic}"))
}

/// The edges of the blamed service before the incident and since; why not, if there are none.
fn edges(kafka: &KafkaSettings, story: &Story) -> Result<Comparison, String> {
    let (from_us, to_us) = story.span_us(now_us());
    let range = |from_us: i64, to_us: i64| Range { prefix: kafka.prefix.clone(), from_us, to_us };
    let of = |range: Range| read(kafka, Topic::Edges, &range).map_err(|error| format!("{error:#}"));
    let before = of(range(from_us - BEFORE_US, from_us))?;
    let meanwhile = of(range(from_us, to_us.min(from_us + MEANWHILE_US_MAX)))?;
    if before.windows == 0 && meanwhile.windows == 0 {
        return Err("the windows of that time are not kept any more, which edges are for 7 days".to_owned());
    }
    let mut comparison = compare(before, meanwhile, [&kafka.prefix, &kafka.prefix]);
    comparison.retain(|subject| story.is_about(&subject.client) || story.is_about(&subject.server));
    Ok(comparison)
}

/// Whether an alert is part of what has this id: one that says none is an incident of its own.
fn id_of(alert: &Alert) -> &str {
    if alert.incident_id.is_empty() { &alert.alert_id } else { &alert.incident_id }
}
