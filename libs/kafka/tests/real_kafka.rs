//! Against a real Kafka and a real registry, started by the test.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use headwater_kafka::{
    Assignment, Commit, GroupEvent, GroupMember, KafkaError, KafkaSettings, NewRecord, Next, Offset, Partition,
    PublishError, Publisher, RecordError, Registry, SchemaCache, Start, Tag, TopicPartition, TopicReader, Transactions,
    Wanted, admin, connect_check, read_parts,
};
use headwater_schemas::records::{DeadLetter, Record};
use headwater_schemas::topics::Topic;
use headwater_schemas::wire::Encoder;
use headwater_stack::shared::Shared;
use headwater_stack::{Stack, StackOptions};

const PATIENCE: Duration = Duration::from_secs(30);

/// The Kafka and the registry that tests share, with a topic prefix of the test's own.
fn settings(name: &str) -> KafkaSettings {
    let shared = Shared::get().unwrap();
    let mut settings = KafkaSettings::local(&shared.brokers, &shared.registry_url);
    settings.prefix = Shared::prefix(name);
    settings
}

/// Keys of all committed records of a topic, with their partitions.
fn read_all(settings: &KafkaSettings, topic: Topic) -> Vec<(Partition, String)> {
    let mut reader = TopicReader::start(settings, &[topic.name(&settings.prefix)], &Start::Earliest).unwrap();
    let mut keys = Vec::new();
    reader
        .read_to_end(PATIENCE, |message| {
            keys.push((message.partition(), String::from_utf8_lossy(message.key().unwrap()).into_owned()));
        })
        .unwrap();
    keys.sort();
    keys
}

/// Polls until it holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Polls until the member has this many partitions.
fn assigned(member: &mut GroupMember, count: usize) -> Vec<Assignment> {
    let deadline = Instant::now() + PATIENCE;
    let mut all: Vec<Assignment> = Vec::new();
    while all.len() != count {
        assert!(Instant::now() < deadline, "{} of {count} partitions came", all.len());
        match member.poll(Duration::from_millis(100)).unwrap() {
            GroupEvent::Assigned(new) => all.extend(new),
            GroupEvent::Revoked(gone) => all.retain(|held| !gone.contains(&held.at)),
            GroupEvent::Record(_) | GroupEvent::Idle => {}
        }
    }
    all
}

#[test]
fn what_is_published_is_read_back_with_headers() {
    let settings = settings("publish");
    admin::ensure_topics(&settings, &[Topic::Flows]).unwrap();
    let publisher = Publisher::start(&settings, vec![Topic::Flows.name(&settings.prefix)]).unwrap();
    publisher.publish(0, Partition(2), b"a", Some(b"value"), &[]).unwrap();
    publisher.publish(0, Partition(3), b"b", None, &[("h", b"header")]).unwrap();
    publisher.flush(PATIENCE).unwrap();
    assert_eq!((publisher.delivered(0), publisher.failed(0)), (2, 0));

    let topic = Topic::Flows.name(&settings.prefix);
    let mut reader = TopicReader::start(&settings, &[topic], &Start::Earliest).unwrap();
    let mut seen = Vec::new();
    reader
        .read_to_end(PATIENCE, |message| {
            seen.push((
                message.partition(),
                message.value().map(<[u8]>::to_vec),
                message.header("h").map(<[u8]>::to_vec),
            ));
        })
        .unwrap();
    seen.sort();
    assert_eq!(
        seen,
        vec![(Partition(2), Some(b"value".to_vec()), None), (Partition(3), None, Some(b"header".to_vec()))]
    );
}

#[test]
fn readers_of_committed_records_never_see_an_aborted_transaction() {
    let settings = settings("abort");
    admin::ensure_topics(&settings, &[Topic::Edges, Topic::Partials]).unwrap();
    let edges = Topic::Edges.name(&settings.prefix);
    let mut member = GroupMember::join(&settings, "abort", &[Topic::Partials.name(&settings.prefix)], None).unwrap();
    assigned(&mut member, 4);
    let mut transactions = Transactions::start(&settings, "abort-1").unwrap();
    transactions.send(&NewRecord::new(&edges, Partition(0), b"gone", b"x")).unwrap();
    transactions.renew().unwrap();
    transactions.send(&NewRecord::new(&edges, Partition(0), b"kept", b"x")).unwrap();
    transactions.commit(&[], &member).unwrap();
    assert_eq!(read_all(&settings, Topic::Edges), vec![(Partition(0), "kept".to_owned())]);
}

#[test]
fn what_was_written_in_parts_is_read_whole_or_not_at_all() {
    let settings = settings("parts");
    let topic = format!("{}internal.parts", settings.prefix);
    assert_eq!(admin::ensure_internal(&settings, &topic, 2, &[]).unwrap(), 2);
    assert_eq!(admin::ensure_internal(&settings, &topic, 7, &[]).unwrap(), 2, "it is there already");
    let kafka = KafkaSettings { partitions: 1, ..settings.clone() };
    admin::ensure_topics(&kafka, &[Topic::Flows]).unwrap();
    let flows = Topic::Flows.name(&settings.prefix);
    let mut member = GroupMember::join(&settings, "parts", std::slice::from_ref(&flows), None).unwrap();
    let at = assigned(&mut member, 1).remove(0).at;
    let mut transactions = Transactions::start(&settings, "parts-1").unwrap();
    // Another transaction is open in the same partition all the time, and parts of it stand between.
    let mut other = Transactions::start(&settings, "parts-2").unwrap();
    let send = |transactions: &mut Transactions, partition: i32, key: &str, part: &[u8]| {
        let ticket =
            transactions.send_noted(&NewRecord::new(&topic, Partition(partition), key.as_bytes(), part)).unwrap();
        transactions.settle().unwrap();
        transactions.place(ticket).unwrap()
    };
    send(&mut other, 0, "other", b"?");
    let first = send(&mut transactions, 0, "one", b"abc");
    send(&mut other, 0, "other", b"?");
    send(&mut transactions, 0, "one", b"def");
    let elsewhere = send(&mut transactions, 1, "two", b"xyz");
    let wanted = |partition, offset: Offset, key: &str, parts, bytes| Wanted {
        at: TopicPartition::new(&topic, Partition(partition)),
        offset,
        key: key.as_bytes().to_vec(),
        parts,
        bytes,
    };
    transactions.commit(&[Commit { at: at.clone(), next: Offset(0), note: String::new() }], &member).unwrap();
    let read = |wanted: &[Wanted]| {
        let found = read_parts(&settings, wanted, PATIENCE).unwrap();
        found.into_iter().map(|parts| parts.map(|it| String::from_utf8(it).unwrap())).collect::<Vec<_>>()
    };
    let whole = |text: &str| Some(text.to_owned());
    let both = [wanted(0, first, "one", 2, 6), wanted(1, elsewhere, "two", 1, 3)];
    assert_eq!(read(&both), [whole("abcdef"), whole("xyz")]);
    for (none, why) in [
        (wanted(0, first, "one", 3, 9), "one part is missing"),
        (wanted(0, first.next(), "one", 2, 6), "it begins before that"),
        (wanted(1, Offset(1_000_000), "two", 1, 3), "nothing is there"),
        (wanted(1, elsewhere, "two", 1, 2), "it is longer"),
        (wanted(0, first, "two", 1, 3), "it is elsewhere"),
    ] {
        assert_eq!(read(&[none]), [None], "{why}");
    }
}

#[test]
fn a_member_goes_on_elsewhere_from_the_moment_at_which_it_has_a_partition() {
    let settings = settings("seek");
    let kafka = KafkaSettings { partitions: 4, ..settings.clone() };
    admin::ensure_topics(&kafka, &[Topic::Flows, Topic::Requests]).unwrap();
    let flows = Topic::Flows.name(&settings.prefix);
    let publisher = Publisher::start(&settings, vec![flows.clone()]).unwrap();
    for partition in 0..4 {
        for number in 0..200_i32 {
            publisher.publish(0, Partition(partition), b"key", Some(&number.to_be_bytes()), &[]).unwrap();
        }
    }
    publisher.flush(PATIENCE).unwrap();
    let mut member = GroupMember::join(&settings, "seek", std::slice::from_ref(&flows), None).unwrap();
    let places: Vec<_> = assigned(&mut member, 4)
        .into_iter()
        .map(|assignment| (Offset(100 + i64::from(assignment.at.partition.0)), assignment.at))
        .map(|(offset, at)| (at, offset))
        .collect();
    member.seek(&places).unwrap();
    let mut next: Vec<i64> = (0..4).map(|partition| 100 + partition).collect();
    until("all is read", || {
        if let GroupEvent::Record(message) = member.poll(Duration::from_millis(100)).unwrap() {
            let next = &mut next[message.partition().0 as usize];
            assert_eq!(message.offset(), Offset(*next));
            *next += 1;
        }
        next.iter().all(|next| *next == 200)
    });
}

#[test]
fn offsets_commit_with_their_notes_and_a_member_goes_back_to_them() {
    let settings = settings("notes");
    admin::ensure_topics(&settings, &[Topic::Partials, Topic::Edges]).unwrap();
    let partials = Topic::Partials.name(&settings.prefix);
    let publisher = Publisher::start(&settings, vec![partials.clone()]).unwrap();
    for key in ["r0", "r1", "r2"] {
        publisher.publish(0, Partition(1), key.as_bytes(), Some(b"x"), &[]).unwrap();
    }
    publisher.flush(PATIENCE).unwrap();

    let mut member = GroupMember::join(&settings, "notes", std::slice::from_ref(&partials), None).unwrap();
    assert!(assigned(&mut member, 4).iter().all(|at| at.committed.is_none()));
    let mut transactions = Transactions::start(&settings, "notes-1").unwrap();
    let place = TopicPartition::new(&partials, Partition(1));
    let commit = Commit { at: place.clone(), next: Offset(1), note: "closed 7".to_owned() };
    transactions.commit(&[commit], &member).unwrap();
    let expected = Assignment { at: place.clone(), committed: Some(Offset(1)), note: "closed 7".into() };
    assert_eq!(member.rewind(&[place]).unwrap(), vec![expected.clone()]);

    let mut keys = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while keys.last().map(String::as_str) != Some("r2") || keys.iter().filter(|key| *key == "r2").count() < 1 {
        assert!(Instant::now() < deadline, "{keys:?}");
        if let GroupEvent::Record(message) = member.poll(Duration::from_millis(100)).unwrap() {
            keys.push(String::from_utf8_lossy(message.key().unwrap()).into_owned());
        }
    }
    assert!(keys.ends_with(&["r1".to_owned(), "r2".to_owned()]), "{keys:?}");

    drop(member);
    let mut successor = GroupMember::join(&settings, "notes", &[partials], None).unwrap();
    assert!(assigned(&mut successor, 4).contains(&expected));
}

#[test]
fn a_member_knows_what_it_has_not_read_and_when_it_is_one() {
    const RECORDS: u64 = 50;
    let settings = settings("lag");
    admin::ensure_topics(&settings, &[Topic::Flows]).unwrap();
    let topic = Topic::Flows.name(&settings.prefix);
    let at = TopicPartition::new(&topic, Partition(1));
    let mut transactions = Transactions::start(&settings, "lag-writer").unwrap();
    let group = settings.prefix.clone() + "lag";
    let mut member = GroupMember::join(&settings, &group, std::slice::from_ref(&topic), None).unwrap();
    assert!(!member.state().is_member, "it has only asked");
    let assignments = assigned(&mut member, 4);
    let commits: Vec<Commit> =
        assignments.iter().map(|held| Commit { at: held.at.clone(), next: Offset(0), note: String::new() }).collect();
    for i in 0..RECORDS {
        transactions.send(&NewRecord::new(&topic, at.partition, b"key", &i.to_be_bytes())).unwrap();
    }
    transactions.commit(&commits, &member).unwrap();

    // It stops on the way, until that is told. The marker of the transaction stands behind the records.
    let mut read = 0;
    let mut read_one = |member: &mut GroupMember| {
        read += u64::from(matches!(member.poll(Duration::from_millis(100)).unwrap(), GroupEvent::Record(_)));
        read
    };
    until("half of it is read", || read_one(&mut member) >= RECORDS / 2);
    member.hold(std::slice::from_ref(&at), true).unwrap();
    let lag = |member: &GroupMember| member.state().lag_records.get(&at).copied();
    until("the lag of the rest is told", || {
        let read = read_one(&mut member);
        lag(&member).is_some_and(|lag| (RECORDS - read..=RECORDS - read + 1).contains(&lag))
    });
    member.hold(std::slice::from_ref(&at), false).unwrap();
    until("the lag is gone", || read_one(&mut member) == RECORDS && lag(&member) == Some(0));
    assert!(member.state().is_member);
}

#[test]
fn a_partition_that_was_held_back_when_it_went_is_read_when_it_comes_again() {
    let settings = settings("held");
    let topics = pairs(&settings);
    let mut member = GroupMember::join(&settings, &settings.prefix, &topics, None).unwrap();
    let all: Vec<TopicPartition> = assigned(&mut member, 8).into_iter().map(|held| held.at).collect();
    member.hold(&all, true).unwrap();

    let mut other = GroupMember::join(&settings, &settings.prefix, &topics, None).unwrap();
    shared_by([&mut member, &mut other], &topics);
    drop(other);
    assigned(&mut member, 8);

    let publisher = Publisher::start(&settings, topics.to_vec()).unwrap();
    for at in &all {
        let topic = topics.iter().position(|topic| *topic == at.topic).unwrap();
        publisher.publish(topic, at.partition, b"key", Some(b"x"), &[]).unwrap();
    }
    publisher.flush(PATIENCE).unwrap();
    let mut read = BTreeSet::new();
    until("all partitions are read", || {
        if let GroupEvent::Record(message) = member.poll(Duration::from_millis(100)).unwrap() {
            read.insert(TopicPartition::new(message.topic(), message.partition()));
        }
        read.len() == all.len()
    });
}

#[test]
fn partition_p_of_all_topics_goes_to_one_member() {
    for protocol in ["classic", "consumer"] {
        let settings = KafkaSettings { group_protocol: protocol, ..settings("pairs") };
        let topics = pairs(&settings);
        let mut first = GroupMember::join(&settings, &settings.prefix, &topics, None).unwrap();
        assigned(&mut first, 8);
        let mut second = GroupMember::join(&settings, &settings.prefix, &topics, None).unwrap();
        for held in shared_by([&mut first, &mut second], &topics) {
            let of = |topic: &String| {
                let mut partitions: Vec<Partition> =
                    held.iter().filter(|at| at.topic == *topic).map(|at| at.partition).collect();
                partitions.sort_unstable();
                partitions
            };
            assert_eq!(of(&topics[0]), of(&topics[1]), "{protocol}: {held:?}");
        }
    }
}

#[test]
fn a_member_with_a_name_that_starts_again_gets_its_partitions_and_the_others_keep_theirs() {
    for protocol in ["classic", "consumer"] {
        let settings = KafkaSettings { group_protocol: protocol, ..settings("named") };
        let topics = pairs(&settings);
        let join = |name| GroupMember::join(&settings, &settings.prefix, &topics, Some(name)).unwrap();
        let mut first = join("a");
        assigned(&mut first, 8);
        let mut second = join("b");
        let [held, _] = shared_by([&mut first, &mut second], &topics);
        drop(first);
        let mut again = join("a");
        let deadline = Instant::now() + PATIENCE;
        let mut back: Vec<TopicPartition> = Vec::new();
        while back.len() < held.len() {
            assert!(Instant::now() < deadline, "{protocol}: {back:?} of {held:?}");
            if let GroupEvent::Assigned(new) = again.poll(Duration::from_millis(50)).unwrap() {
                back.extend(new.into_iter().map(|assignment| assignment.at));
            }
            let change = match second.poll(Duration::from_millis(50)).unwrap() {
                GroupEvent::Assigned(new) => Some(format!("got {new:?}")),
                GroupEvent::Revoked(gone) => Some(format!("lost {gone:?}")),
                GroupEvent::Record(_) | GroupEvent::Idle => None,
            };
            assert_eq!(change, None, "{protocol}: the other one");
        }
        back.sort_unstable();
        assert_eq!(back, held, "{protocol}");
    }
}

#[test]
fn of_two_members_with_one_name_the_first_one_is_told() {
    let settings = settings("one-name");
    let topics = pairs(&settings);
    let join = || GroupMember::join(&settings, &settings.prefix, &topics, Some("a")).unwrap();
    let mut first = join();
    assigned(&mut first, 8);
    let mut second = join();
    let mut told = String::new();
    until("the first one fails", || {
        assert!(second.poll(Duration::from_millis(50)).is_ok());
        told = first.poll(Duration::from_millis(50)).err().map(|error| error.to_string()).unwrap_or_default();
        !told.is_empty()
    });
    assert!(told.contains("read as a member of the group"), "{told}");
}

/// Two topics of four partitions each.
fn pairs(settings: &KafkaSettings) -> [String; 2] {
    admin::ensure_topics(settings, &[Topic::Flows, Topic::Requests]).unwrap();
    [Topic::Flows, Topic::Requests].map(|topic| topic.name(&settings.prefix))
}

/// Waits until two members, the first of which had all, have four partitions each. Gives them in order.
fn shared_by(mut members: [&mut GroupMember; 2], topics: &[String; 2]) -> [Vec<TopicPartition>; 2] {
    let deadline = Instant::now() + PATIENCE;
    let mut held = [Vec::new(), Vec::new()];
    held[0] = topics.iter().flat_map(|topic| (0..4).map(move |p| TopicPartition::new(topic, Partition(p)))).collect();
    while held.iter().any(|held| held.len() != 4) {
        assert!(Instant::now() < deadline, "{held:?}");
        for (member, held) in members.iter_mut().zip(&mut held) {
            match member.poll(Duration::from_millis(50)).unwrap() {
                GroupEvent::Assigned(new) => held.extend(new.into_iter().map(|assignment| assignment.at)),
                GroupEvent::Revoked(gone) => held.retain(|at| !gone.contains(at)),
                GroupEvent::Record(_) | GroupEvent::Idle => {}
            }
        }
    }
    held.each_mut().into_iter().for_each(|held| held.sort_unstable());
    held
}

#[test]
fn a_successor_fences_the_producer_before_it() {
    let settings = settings("fence");
    admin::ensure_topics(&settings, &[Topic::Edges, Topic::Partials]).unwrap();
    let edges = Topic::Edges.name(&settings.prefix);
    let mut member = GroupMember::join(&settings, "fence", &[Topic::Partials.name(&settings.prefix)], None).unwrap();
    assigned(&mut member, 4);
    let mut zombie = Transactions::start(&settings, "fence-1").unwrap();
    zombie.send(&NewRecord::new(&edges, Partition(0), b"zombie", b"x")).unwrap();
    let mut successor = Transactions::start(&settings, "fence-1").unwrap();
    assert!(zombie.commit(&[], &member).is_err());
    successor.send(&NewRecord::new(&edges, Partition(0), b"successor", b"x")).unwrap();
    successor.commit(&[], &member).unwrap();
    assert_eq!(read_all(&settings, Topic::Edges), vec![(Partition(0), "successor".to_owned())]);
}

#[test]
fn wrong_addresses_and_passwords_are_told_apart() {
    let mut absent = settings("absent");
    absent.brokers = "127.0.0.1:1".into();
    let error = connect_check(&absent, Duration::from_secs(3)).unwrap_err();
    assert!(matches!(&error, KafkaError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("check kafka.brokers"), "{error}");

    let mut secured = settings("secured");
    secured.brokers = Shared::get().unwrap().sasl_brokers;
    secured.security.protocol = "sasl_plaintext";
    secured.security.user = Some("user".into());
    secured.security.password = Some("right".into());
    connect_check(&secured, PATIENCE).unwrap();
    secured.security.password = Some("wrong".into());
    let error = connect_check(&secured, PATIENCE).unwrap_err();
    assert!(matches!(&error, KafkaError::Authentication { .. }), "{error}");
}

#[test]
fn a_schema_gets_one_id_and_an_unknown_id_is_the_records_fault() {
    let settings = settings("schemas");
    let registry = Registry::new(&settings);
    let id = registry.register_topic(Topic::DeadLetters).unwrap();
    assert_eq!(registry.register_topic(Topic::DeadLetters).unwrap(), id);
    let subject = format!("{}-value", Topic::DeadLetters.name(&settings.prefix));
    registry.keep_compatible(&subject).expect("it is kept compatible already");
    let other = r#"{"type": "record", "name": "DeadLetter", "fields": [{"name": "other", "type": "string"}]}"#;
    let refused = registry.register(&subject, other);
    assert!(matches!(refused, Err(KafkaError::RegistryRefused { .. })), "an incompatible schema: {refused:?}");
    let letter =
        DeadLetter { topic: "t", partition: 1, offset: 2, error: "e", read_by: "r", value: &[0, 255], value_bytes: 2 };
    let value = Encoder::of::<DeadLetter<'_>>(id).unwrap().encode(&letter).unwrap();
    let mut cache = SchemaCache::new(&settings);
    let (schema, datum) = cache.open(&value).unwrap();
    assert_eq!(schema.decode::<DeadLetter<'_>>(datum).unwrap(), letter, "{}", DeadLetter::NAME);

    let unknown = [0, 0x7f, 0, 0, 1, 9];
    assert!(matches!(cache.open(&unknown), Err(RecordError::Bad(_))));
    assert!(matches!(cache.open(b"random"), Err(RecordError::Bad(_))));
    let mut away = settings.clone();
    away.registry_url = "http://127.0.0.1:1".into();
    assert!(matches!(SchemaCache::new(&away).open(&value), Err(RecordError::Registry(_))));
}

/// As a proxy does whose registry is away.
#[test]
fn a_record_is_not_at_fault_where_nothing_but_404_is_answered() {
    let settings = settings("proxied");
    let id = Registry::new(&settings).register_topic(Topic::DeadLetters).unwrap();
    let letter =
        DeadLetter { topic: "t", partition: 1, offset: 2, error: "e", read_by: "r", value: &[], value_bytes: 0 };
    let value = Encoder::of::<DeadLetter<'_>>(id).unwrap().encode(&letter).unwrap();
    let unknown = [0, 0x7f, 0, 0, 3, 9];

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxied = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = client.read(&mut request);
            let _ = client.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    let mut away = settings.clone();
    away.registry_url = proxied.clone();
    for value in [&value[..], &unknown] {
        let told = SchemaCache::new(&away).open(value).err().unwrap();
        assert!(matches!(told, RecordError::Registry(_)) && told.to_string().contains(&proxied), "{told}");
    }
    // Nor does it need the registry for what it has been told.
    let mut cache = SchemaCache::new(&settings);
    assert!(matches!(cache.open(&unknown), Err(RecordError::Bad(_))));
    cache.open(&value).unwrap();
    assert_eq!(cache.topic_id(Topic::DeadLetters).unwrap(), id);
}

#[test]
fn a_reader_finds_records_by_time_and_by_offset() {
    let settings = settings("times");
    admin::ensure_topics(&settings, &[Topic::Agents]).unwrap();
    let topic = Topic::Agents.name(&settings.prefix);
    let publisher = Publisher::start(&settings, vec![topic.clone()]).unwrap();
    for key in ["a", "b"] {
        publisher.publish(0, Partition(0), key.as_bytes(), Some(b"x"), &[]).unwrap();
    }
    publisher.flush(PATIENCE).unwrap();
    let first_of = |start: &Start| {
        let mut reader = TopicReader::start(&settings, std::slice::from_ref(&topic), start).unwrap();
        match reader.next(PATIENCE).unwrap() {
            Next::Record(message) => Some(message.offset()),
            _ => None,
        }
    };
    assert_eq!(first_of(&Start::AtMs(0)), Some(Offset(0)));
    assert_eq!(
        first_of(&Start::Offsets(vec![(TopicPartition::new(&topic, Partition(0)), Offset(1))])),
        Some(Offset(1))
    );
    assert_eq!(first_of(&Start::Latest), None);
    // What is written from now on, also at once.
    for (number, start) in [Start::Latest, Start::AtMs(i64::MAX / 2)].into_iter().cycle().take(40).enumerate() {
        let mut reader = TopicReader::start(&settings, std::slice::from_ref(&topic), &start).unwrap();
        publisher.publish(0, Partition(0), b"c", Some(b"x"), &[]).unwrap();
        publisher.flush(PATIENCE).unwrap();
        let first = loop {
            match reader.next(PATIENCE).unwrap() {
                Next::Record(message) => break message.offset(),
                Next::End(_) => {}
                Next::Idle => panic!("{start:?} passed over what was written behind it"),
            }
        };
        assert_eq!(first, Offset(2 + number as i64), "{start:?}");
    }
    let nothing = TopicReader::start(&settings, &[], &Start::Earliest).err().unwrap().to_string();
    assert!(nothing.contains("no topic is named"), "{nothing}");
}

#[test]
fn each_partition_ends_once_whatever_is_written_meanwhile() {
    let settings = settings("ends");
    admin::ensure_topics(&settings, &[Topic::Flows, Topic::Requests]).unwrap();
    let topics = [Topic::Flows, Topic::Requests].map(|topic| topic.name(&settings.prefix));
    let publisher = Publisher::start(&settings, topics.to_vec()).unwrap();
    let publish = |key: &str| {
        publisher.publish(0, Partition(0), key.as_bytes(), Some(b"x"), &[]).unwrap();
        publisher.flush(PATIENCE).unwrap();
    };
    publish("before");
    let mut reader = TopicReader::start(&settings, &topics, &Start::Earliest).unwrap();
    let (mut ends, mut keys) = (BTreeSet::new(), Vec::new());
    while ends.len() < reader.partitions().len() {
        match reader.next(PATIENCE).unwrap() {
            Next::Record(message) => keys.push(message.key().unwrap().to_vec()),
            Next::End(at) => assert!(ends.insert(at), "an end came twice"),
            Next::Idle => panic!("nothing came after {ends:?}"),
        }
    }
    assert_eq!(ends, reader.partitions().iter().cloned().collect());
    for key in ["after", "last"] {
        publish(key);
        match reader.next(PATIENCE).unwrap() {
            Next::Record(message) => keys.push(message.key().unwrap().to_vec()),
            Next::End(_) => panic!("an end came twice"),
            Next::Idle => panic!("{key} did not come"),
        }
    }
    assert_eq!(keys, [b"before".to_vec(), b"after".to_vec(), b"last".to_vec()]);
}

#[test]
fn a_process_killed_in_mid_transaction_leaves_nothing_and_holds_readers_up_only_briefly() {
    const CHILD: &str = "TEST_BROKERS_AND_PREFIX_OF_THE_CHILD";
    if let Ok(place) = std::env::var(CHILD) {
        // This is the child: it opens a transaction and waits to be killed.
        let (brokers, prefix) = place.split_once(' ').unwrap();
        let settings = KafkaSettings { prefix: prefix.into(), ..KafkaSettings::local(brokers, "") };
        let mut transactions = Transactions::start(&settings, "killed-1").unwrap();
        transactions.send(&NewRecord::new(&Topic::Edges.name(&settings.prefix), Partition(0), b"gone", b"x")).unwrap();
        loop {
            std::thread::park();
        }
    }
    let settings = settings("killed");
    admin::ensure_topics(&settings, &[Topic::Edges, Topic::Partials]).unwrap();
    let name = "a_process_killed_in_mid_transaction_leaves_nothing_and_holds_readers_up_only_briefly";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact"])
        .env(CHILD, format!("{} {}", settings.brokers, settings.prefix))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let edges = Topic::Edges.name(&settings.prefix);
    // Our own readers see nothing of an open transaction, which is what the brokers give up after 15 to 35 seconds.
    let written = || {
        let asked = Command::new("kcat")
            .args(["-C", "-q", "-b", &settings.brokers, "-X", "isolation.level=read_uncommitted"])
            .args(["-t", &edges, "-p", "0", "-o", "beginning", "-e", "-f", "%k"])
            .output()
            .expect("start kcat: is it installed?");
        asked.stdout == b"gone"
    };
    until("the child writes something", written);
    child.kill().unwrap();
    child.wait().unwrap();

    // Behind the dead transaction, from another one: readers get there when the brokers give the dead one up.
    let mut member = GroupMember::join(&settings, "killed", &[Topic::Partials.name(&settings.prefix)], None).unwrap();
    assigned(&mut member, 4);
    let mut other = Transactions::start(&settings, "killed-2").unwrap();
    other.send(&NewRecord::new(&edges, Partition(0), b"kept", b"x")).unwrap();
    other.commit(&[], &member).unwrap();
    let mut reader = TopicReader::start(&settings, &[edges], &Start::Earliest).unwrap();
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "readers are still held up");
        if let Next::Record(message) = reader.next(Duration::from_millis(200)).unwrap() {
            assert_eq!(message.key(), Some(b"kept".as_slice()));
            break;
        }
    }
}

#[test]
fn a_broker_that_is_killed_in_mid_publishing_loses_and_doubles_nothing() {
    const RECORDS: u32 = 30_000;
    // One of its own: the other tests need theirs.
    let stack = Stack::start(StackOptions::default()).unwrap();
    let settings = KafkaSettings::local(&stack.bootstrap(), &stack.registry().url());
    admin::ensure_topics(&settings, &[Topic::Agents]).unwrap();
    let topic = Topic::Agents.name(&settings.prefix);
    let publisher = Publisher::start(&settings, vec![topic.clone()]).unwrap();
    let publish = |numbers: std::ops::Range<u32>| {
        numbers.for_each(|n| publisher.publish(0, Partition(0), &n.to_be_bytes(), Some(&[7; 100]), &[]).unwrap());
    };
    publish(0..RECORDS / 3);
    until("something is delivered", || {
        publisher.take_reports();
        publisher.delivered(0) > 0
    });
    publish(RECORDS / 3..2 * RECORDS / 3);
    stack.kafka().kill();
    publish(2 * RECORDS / 3..RECORDS);
    stack.kafka().restart().unwrap();
    publisher.flush(2 * PATIENCE).unwrap();
    assert_eq!((publisher.delivered(0), publisher.failed(0)), (u64::from(RECORDS), 0));
    publisher.check().unwrap();

    let mut reader = TopicReader::start(&settings, &[topic], &Start::Earliest).unwrap();
    let mut numbers = Vec::new();
    reader
        .read_to_end(PATIENCE, |message| {
            numbers.push(u32::from_be_bytes(message.key().unwrap().try_into().unwrap()));
        })
        .unwrap();
    assert_eq!(numbers.len(), RECORDS as usize);
    assert!(numbers.iter().copied().eq(0..RECORDS), "the order changed");
}

#[test]
fn a_partition_that_is_added_takes_records_soon() {
    let settings = settings("added");
    admin::ensure_topics(&settings, &[Topic::Flows]).unwrap();
    let publisher = Publisher::start(&settings, vec![Topic::Flows.name(&settings.prefix)]).unwrap();
    publisher.publish(0, Partition(3), b"key", Some(b"x"), &[]).unwrap();
    publisher.flush(PATIENCE).unwrap();
    admin::add_partitions(&settings, &[Topic::Flows], 6).unwrap();
    until("it is added, once", || admin::add_partitions(&settings, &[Topic::Flows], 6).is_ok());
    until("it is known", || publisher.publish(0, Partition(5), b"key", Some(b"x"), &[]).is_ok());
    publisher.flush(PATIENCE).unwrap();
    assert_eq!((publisher.delivered(0), publisher.failed(0)), (2, 0));
}

#[test]
fn a_full_queue_has_room_again_once_its_records_are_delivered() {
    let mut settings = settings("room");
    settings.queue_bytes = 1 << 20;
    admin::ensure_topics(&settings, &[Topic::Agents]).unwrap();
    let publisher = Publisher::start(&settings, vec![Topic::Agents.name(&settings.prefix)]).unwrap();
    let publish = || publisher.publish(0, Partition(0), b"k", Some(&[0; 100_000]), &[]);
    let taken = (0..100).take_while(|_| publish().is_ok()).count();
    assert!((5..=20).contains(&taken), "{taken} records of 100 kB fit in 1 MiB");
    until("the queue has room", || match publish() {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error, PublishError::QueueFull);
            false
        }
    });
    publisher.flush(PATIENCE).unwrap();
    assert_eq!((publisher.delivered(0), publisher.failed(0)), (taken as u64 + 1, 0));
}

#[test]
fn what_fails_without_being_a_record_counts_as_none() {
    let settings = settings("absent-partition");
    admin::ensure_topics(&settings, &[Topic::Agents]).unwrap();
    let publisher = Publisher::start(&settings, vec![Topic::Agents.name(&settings.prefix)]).unwrap();
    // The topic has fewer partitions, which only the delivery can tell.
    let tag = |number| Tag { number, is_reported: true, is_counted: true };
    publisher.publish_tagged(0, Partition(99), b"a", Some(b"a record"), &[], tag(Tag::NUMBERS - 1)).unwrap();
    publisher.publish(0, Partition(99), b"b", None, &[("h", b"headers alone")]).unwrap();
    let uncounted = Tag { is_counted: false, ..tag(7) };
    publisher.publish_tagged(0, Partition(0), b"c", None, &[("h", b"headers alone")], uncounted).unwrap();
    until("all is reported", || {
        publisher.take_reports();
        publisher.delivered(0) + publisher.failed(0) == 3
    });
    assert_eq!((publisher.delivered(0), publisher.failed(0)), (1, 2));
    assert_eq!((publisher.records_delivered(0), publisher.records_failed(0)), (0, 1));
    let mut reported = publisher.reported();
    reported.sort_unstable();
    assert_eq!(reported, [7, Tag::NUMBERS - 1], "what has a tag is named, whatever became of it");
    assert!(publisher.reported().is_empty(), "each is named once");
}

#[test]
fn what_is_not_taken_says_why() {
    let mut settings = settings("refused");
    settings.brokers = "127.0.0.1:1".into();
    settings.queue_bytes = 1 << 20;
    let publisher = Publisher::start(&settings, vec!["t".into()]).unwrap();
    let publish = |bytes: usize| publisher.publish(0, Partition(0), b"k", Some(&vec![0; bytes]), &[]);
    assert_eq!(publish(2_000_000), Err(PublishError::TooLarge));
    let taken = (0..100).take_while(|_| publish(100_000).is_ok()).count();
    assert!((5..=20).contains(&taken), "{taken} records of 100 kB fit in 1 MiB");
    assert_eq!(publish(100_000), Err(PublishError::QueueFull));
    publisher.check().unwrap();
}
