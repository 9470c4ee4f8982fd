//! The topics and the rights of the overlay for Strimzi are those of the programs.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use headwater_manifests::{kustomize, objects};
use headwater_processors::modes::Mode;
use headwater_processors::runtime::snapshots;
use headwater_processors::{revisions, rollups};
use headwater_schemas::topics::Topic;
use serde_json::{Value, json};

const PREFIX: &str = "headwater.";

fn of_kind(kind: &str) -> Vec<Value> {
    let objects = objects(&kustomize("overlays/strimzi").unwrap()).unwrap();
    objects.into_iter().filter(|object| object["kind"] == kind).collect()
}

#[test]
fn topics_are_as_the_programs_would_make_them() {
    let topics = of_kind("KafkaTopic");
    let mut wanted: Vec<_> =
        Topic::ALL.map(|topic| (topic.name(PREFIX), topic.partitions(4), topic.config())).into_iter().collect();
    for (kept, partitions) in [(snapshots::OF_JOINS, 4), (snapshots::OF_OBJECTIVES, 1)] {
        wanted.push((format!("{PREFIX}{}", kept.topic), partitions, snapshots::config(kept)));
    }
    assert_eq!(topics.len(), wanted.len());
    for (name, partitions, config) in wanted {
        let made = topics.iter().find(|made| made["metadata"]["name"] == name).unwrap();
        // Numbers are written as such.
        let value = |text: String| text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number));
        let config: BTreeMap<_, _> = config.into_iter().map(|(key, text)| (key, value(text))).collect();
        assert_eq!(made["spec"], json!({"partitions": partitions, "config": config}), "{name}");
    }
}

/// Rights as `operation kind name`, with a star where names begin so.
type Rights = BTreeSet<String>;

fn add(rights: &mut Rights, operation: &str, kind: &str, name: &str) {
    rights.insert(format!("{operation} {kind} {name}"));
    rights.insert(format!("Describe {kind} {name}"));
}

fn topic_rights(reads: &[Topic], writes: &[Topic]) -> Rights {
    let mut rights = Rights::new();
    reads.iter().for_each(|topic| add(&mut rights, "Read", "topic", &topic.name(PREFIX)));
    writes.iter().for_each(|topic| add(&mut rights, "Write", "topic", &topic.name(PREFIX)));
    rights
}

#[test]
fn a_user_may_do_what_its_program_does_and_nothing_else() {
    let mut wanted = vec![
        (
            "headwater-agent".to_owned(),
            topic_rights(
                &[],
                &[Topic::Flows, Topic::Requests, Topic::Identities, Topic::Processes, Topic::Agents, Topic::Progress],
            ),
        ),
        (
            "headwater-console".to_owned(),
            topic_rights(
                &[
                    Topic::Edges,
                    Topic::EdgeWindows,
                    Topic::Latencies,
                    Topic::LatencyWindows,
                    Topic::Alerts,
                    Topic::Agents,
                ],
                &[],
            ),
        ),
    ];
    for mode in Mode::ALL {
        let mut rights = topic_rights(mode.inputs(), &[mode.outputs(), &[Topic::DeadLetters]].concat());
        let kept = match mode {
            Mode::Join => Some(snapshots::OF_JOINS),
            Mode::Bottlenecks => Some(snapshots::OF_OBJECTIVES),
            _ => None,
        };
        if let Some(kept) = kept {
            let name = format!("{PREFIX}{}", kept.topic);
            ["Read", "Write"].iter().for_each(|operation| add(&mut rights, operation, "topic", &name));
        }
        let group = mode.group(PREFIX);
        add(&mut rights, "Read", "group", &group);
        add(&mut rights, "Write", "transactionalId", &format!("{group}-*"));
        wanted.push((format!("headwater-{}", mode.name()), rights));
    }
    let mut rights = topic_rights(&[&revisions::READS[..], &revisions::WRITES].concat(), &revisions::WRITES);
    // How many partitions it has.
    rights.insert(format!("Describe topic {}", Topic::Partials.name(PREFIX)));
    let group = revisions::group(PREFIX);
    add(&mut rights, "Read", "group", &group);
    add(&mut rights, "Write", "transactionalId", &format!("{group}-*"));
    wanted.push((format!("headwater-{}", revisions::NAME), rights));
    // It makes hours of minutes.
    let reads = [&rollups::READS[..], &[Topic::EdgeMinutes, Topic::LatencyMinutes]].concat();
    let mut rights = topic_rights(&reads, &rollups::WRITES);
    let group = rollups::group(PREFIX);
    add(&mut rights, "Read", "group", &group);
    add(&mut rights, "Write", "transactionalId", &format!("{group}-*"));
    wanted.push((format!("headwater-{}", rollups::NAME), rights));
    let users = of_kind("KafkaUser");
    assert_eq!(users.len(), wanted.len());
    for (name, wanted) in wanted {
        let user = users.iter().find(|user| user["metadata"]["name"] == name).unwrap();
        let mut rights = Rights::new();
        for acl in user["spec"]["authorization"]["acls"].as_array().unwrap() {
            let resource = &acl["resource"];
            let star = if resource["patternType"] == "prefix" { "*" } else { "" };
            for operation in acl["operations"].as_array().unwrap() {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let (kind, name) = (text(&resource["type"]), text(&resource["name"]));
                rights.insert(format!("{} {kind} {name}{star}", text(operation)));
            }
        }
        assert_eq!(rights, wanted, "{name}");
    }
}
