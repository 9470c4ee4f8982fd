//! A worker of Kafka Connect, with Kafka's sink for files and Apicurio's converter for Avro. Its sinks are told what docs/topics shows and nothing else, so
//! they neither skip nor transform a record: one that cannot be read ends a task, and one without a value becomes a line that is none of a record.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use headwater_kafka::KafkaSettings;
use headwater_process::{Child, Launch, Port};
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::{shared, wait_up_to};
use headwater_system_tests::{http, topics};
use serde_json::Value;

use super::{POSITION, fill, public_topics, readers};

/// The worker reads the jars of all its plugins before it begins.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the distribution's connect-standalone.properties says of converters, which each sink says otherwise.
const WORKER: &str = "key.converter=org.apache.kafka.connect.json.JsonConverter\nvalue.converter=org.apache.kafka.connect.json.JsonConverter\n";

#[test]
fn sinks_of_kafka_connect_take_every_record() {
    let settings = shared("connect").unwrap();
    let folder = tempfile::tempdir().unwrap();
    fill(&settings, folder.path());
    let wanted: BTreeMap<String, usize> =
        public_topics().map(|topic| (topic.name(&settings.prefix), messages(&settings, topic))).collect();
    assert!(wanted.values().all(|records| *records > 0), "a topic without records: {wanted:?}");

    let connect = Connect::start(&settings, folder.path(), wanted.keys()).unwrap();
    let came = wait_up_to(PATIENCE, "all records", || {
        let ended: Vec<_> = connect.tasks()?.into_iter().filter(|(_, task)| task["state"] == "FAILED").collect();
        ensure!(ended.is_empty(), "tasks have failed: {ended:#?}");
        Ok(wanted.iter().all(|(topic, records)| connect.lines(topic).len() >= *records))
    });
    let found: BTreeMap<String, usize> =
        wanted.keys().map(|topic| (topic.clone(), connect.lines(topic).len())).collect();
    came.unwrap_or_else(|error| panic!("{error}\n{found:?} of {wanted:?}\n{}", connect.process.log_text()));
    assert_eq!(found, wanted);
    let states: BTreeMap<String, Value> =
        connect.tasks().unwrap().into_iter().map(|(topic, task)| (topic, task["state"].clone())).collect();
    let running: BTreeMap<String, Value> = wanted.keys().map(|topic| (topic.clone(), "RUNNING".into())).collect();
    assert_eq!(states, running);

    for topic in wanted.keys() {
        let others: Vec<String> =
            connect.lines(topic).into_iter().filter(|line| !line.starts_with("Struct{")).collect();
        assert_eq!(others, [""; 0], "{topic} has what is no record");
    }
    let mut requests = connect.lines(&Topic::Requests.name(&settings.prefix));
    assert!(requests.iter().any(|line| line.contains(&format!("request_position={POSITION},"))), "{requests:?}");
    let read = requests.len();
    requests.sort_unstable();
    requests.dedup();
    assert_eq!(requests.len(), read, "each once");
}

/// A worker with a sink for each topic, which writes into a file of the topic's name.
struct Connect {
    process: Child,
    port: Port,
    folder: PathBuf,
}

impl Connect {
    fn start<'a>(settings: &KafkaSettings, folder: &Path, topics: impl Iterator<Item = &'a String>) -> Result<Connect> {
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/connect");
        let kafka = headwater_testing::jars("connect-worker", &files.join("worker"))?;
        let converter = headwater_testing::jars("connect-converter", &files.join("converter"))?;
        let port = Port::free()?;
        let mut java = Command::new("java");
        java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]).arg(kafka.join("worker/*"));
        java.arg("org.apache.kafka.connect.cli.ConnectStandalone");

        let worker = folder.join("worker.properties");
        let brokers = &settings.brokers;
        let [plugins, converter, offsets] =
            [kafka.join("plugins"), converter, folder.join("offsets")].map(|path| path.display().to_string());
        let lines = format!(
            "bootstrap.servers={brokers}\nplugin.path={plugins},{converter}\n\
             offset.storage.file.filename={offsets}\nlisteners=http://{}\n",
            port.address()
        );
        std::fs::write(&worker, WORKER.to_owned() + &lines)?;
        java.arg(worker);

        let shown = std::fs::read_to_string(readers().join("sink.properties"))?;
        let registry = settings.registry_url.replace("/apis/ccompat/v7", "/apis/registry/v2");
        for topic in topics {
            let file = folder.join(topic).display().to_string();
            // Of two lines with one name the last one counts.
            let own = format!(
                "name={topic}\ntopics={topic}\nfile={file}.txt\nvalue.converter.apicurio.registry.url={registry}\n"
            );
            let sink = folder.join(format!("{topic}.properties"));
            std::fs::write(&sink, format!("{shown}\n{own}"))?;
            java.arg(sink);
        }
        let process = Launch::new("connect", java, folder.join("connect.log")).spawn()?;
        Ok(Connect { process, port, folder: folder.to_owned() })
    }

    /// What the worker says of each topic's tasks; nothing before it listens.
    fn tasks(&self) -> Result<Vec<(String, Value)>> {
        let Some((200, body)) = http::get(self.port.address(), "/connectors?expand=status") else {
            return Ok(Vec::new());
        };
        let sinks: BTreeMap<String, Value> = serde_json::from_str(&body)?;
        let mut all = Vec::new();
        for (topic, sink) in sinks {
            let tasks = sink["status"]["tasks"].as_array().with_context(|| format!("no tasks in {sink}"))?;
            all.extend(tasks.iter().map(|task| (topic.clone(), task.clone())));
        }
        Ok(all)
    }

    fn lines(&self, topic: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.join(format!("{topic}.txt"))).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// Also those without a value.
fn messages(settings: &KafkaSettings, topic: Topic) -> usize {
    let mut messages = 0;
    topics::each_message(settings, topic, |_| messages += 1).unwrap();
    messages
}
