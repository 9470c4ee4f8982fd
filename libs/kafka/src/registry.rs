//! The schema registry, through the API that Confluent's and its compatible ones share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use headwater_schemas::topics::{HEADER_SCHEMAS, Topic};
use headwater_schemas::wire::{self, WriterSchema};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::settings::Secret;
use crate::{KafkaError, KafkaSettings, RecordError};

const TIMEOUT: Duration = Duration::from_secs(10);
const TRIES: u32 = 5;
const COMPATIBILITY: &str = "FULL_TRANSITIVE";
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// A registry.
pub struct Registry {
    http: ureq::Agent,
    url: String,
    prefix: String,
    authorization: Option<String>,
}

#[derive(Serialize)]
struct NewSchema<'a> {
    schema: &'a str,
}

#[derive(Deserialize)]
struct SchemaId {
    id: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Compatibility {
    compatibility_level: String,
}

#[derive(Deserialize)]
struct SchemaText {
    schema: String,
}

impl Registry {
    pub fn new(settings: &KafkaSettings) -> Registry {
        let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build();
        let authorization = settings.registry_user.as_ref().map(|user| {
            let pair = format!("{user}:{}", settings.registry_password.as_ref().map_or("", Secret::reveal));
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        });
        Registry {
            http: config.into(),
            url: settings.registry_url.clone(),
            prefix: settings.prefix.clone(),
            authorization,
        }
    }

    /// Registers the schema of a topic's values, with the compatibility that Headwater keeps. Returns its id.
    pub fn register_topic(&self, topic: Topic) -> Result<u32, KafkaError> {
        self.register(&format!("{}-value", topic.name(&self.prefix)), topic.schema())
    }

    /// Registers the schema of a header. Returns its id.
    pub fn register_header(&self, header: &str) -> Result<u32, KafkaError> {
        let Some((_, subject, schema)) = HEADER_SCHEMAS.iter().find(|(name, _, _)| *name == header) else {
            return Err(KafkaError::Other { doing: "register a schema".into(), reason: format!("no header {header}") });
        };
        self.register(&format!("{}{subject}", self.prefix), schema)
    }

    /// Registers a schema under a subject. Returns its id, which is the same each time.
    pub fn register(&self, subject: &str, schema: &str) -> Result<u32, KafkaError> {
        let doing = format!("registering the schema of {subject}");
        let body = serde_json::to_string(&NewSchema { schema }).unwrap_or_default();
        let answer = self.call(&doing, Some(("POST", &body)), &format!("/subjects/{subject}/versions"))?;
        let id: SchemaId = self.parse(&doing, &answer)?;
        if let Err(error) = self.keep_compatible(subject) {
            tracing::warn!(subject, %error, "the registry does not keep this subject compatible");
        }
        Ok(id.id)
    }

    /// Sees that the registry takes only versions of this subject that can be read with all others, and the others with them.
    pub fn keep_compatible(&self, subject: &str) -> Result<(), KafkaError> {
        let is_kept = || self.compatibility(subject).is_ok_and(|level| level == COMPATIBILITY);
        if is_kept() {
            return Ok(());
        }
        let body = format!(r#"{{"compatibility": "{COMPATIBILITY}"}}"#);
        match self.call("setting the compatibility", Some(("PUT", &body)), &format!("/config/{subject}")) {
            // Another program may have set it in the meantime, which some registries call a conflict.
            Err(error) if !is_kept() => Err(error),
            _ => Ok(()),
        }
    }

    fn compatibility(&self, subject: &str) -> Result<String, KafkaError> {
        let doing = format!("asking for the compatibility of {subject}");
        let answer = self.call(&doing, None, &format!("/config/{subject}"))?;
        Ok(self.parse::<Compatibility>(&doing, &answer)?.compatibility_level)
    }

    /// The text of a schema; none if the registry does not know the id.
    pub fn schema(&self, id: u32) -> Result<Option<String>, KafkaError> {
        let doing = format!("fetching the schema {id}");
        match self.call(&doing, None, &format!("/schemas/ids/{id}")) {
            Ok(answer) => Ok(Some(self.parse::<SchemaText>(&doing, &answer)?.schema)),
            // What the answer is to an id that no registry can have given differs between registries.
            Err(KafkaError::RegistryRefused { reason, .. })
                if ["400", "404", "422"].iter().any(|status| reason.starts_with(status)) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The names under which schemas are registered.
    pub fn subjects(&self) -> Result<Vec<String>, KafkaError> {
        let doing = "listing the subjects";
        let answer = self.call(doing, None, "/subjects")?;
        self.parse(doing, &answer)
    }

    /// Sends a request, again after a pause if the registry does not answer or is in trouble.
    fn call(&self, doing: &str, body: Option<(&str, &str)>, path: &str) -> Result<String, KafkaError> {
        let mut pause = Duration::from_millis(100);
        let mut tries = 1;
        loop {
            let error = match self.call_once(body, path) {
                Ok((200..=299, text)) => return Ok(text),
                Ok((status @ 400..=499, text)) => {
                    let (url, doing) = (self.url.clone(), doing.to_owned());
                    return Err(KafkaError::RegistryRefused {
                        url,
                        doing,
                        reason: format!("{status} {text}{}", advice(status)),
                    });
                }
                Ok((status, text)) => format!("{status} {text}"),
                Err(error) => error.to_string(),
            };
            if tries == TRIES {
                let (url, doing) = (self.url.clone(), doing.to_owned());
                return Err(KafkaError::RegistryUnreachable { url, doing, reason: error });
            }
            tries += 1;
            std::thread::sleep(pause);
            pause *= 2;
        }
    }

    fn call_once(&self, body: Option<(&str, &str)>, path: &str) -> Result<(u16, String), ureq::Error> {
        let mut request = ureq::http::Request::builder()
            .method(body.map_or("GET", |(method, _)| method))
            .uri(format!("{}{path}", self.url))
            .header("Content-Type", CONTENT_TYPE);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let mut response = match body {
            Some((_, body)) => self.http.run(request.body(body.to_owned())?)?,
            None => self.http.run(request.body(())?)?,
        };
        Ok((response.status().as_u16(), response.body_mut().read_to_string()?))
    }

    fn parse<'a, T: Deserialize<'a>>(&self, doing: &str, text: &'a str) -> Result<T, KafkaError> {
        serde_json::from_str(text).map_err(|error| KafkaError::RegistryRefused {
            url: self.url.clone(),
            doing: doing.to_owned(),
            reason: format!("an answer that is not understood: {error}"),
        })
    }
}

/// What to do about an answer of the registry.
fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => "; check registry.user and registry.password",
        409 => {
            "; another version of Headwater wrote to these topics with schemas that do not fit: take its version, or another kafka.prefix"
        }
        _ => "",
    }
}

/// Schemas by id, as values name them, and the ids of our own. What the registry has said once needs no registry any more. Bounded; an id
/// that is unknown is asked for again only after a while.
pub struct SchemaCache {
    registry: Registry,
    known: FxHashMap<u32, Result<Arc<WriterSchema>, (Instant, String)>>,
    /// Of what this program writes, by topic and by header.
    topics: BTreeMap<Topic, u32>,
    headers: BTreeMap<String, u32>,
}

const CACHE_SCHEMAS_MAX: usize = 1000;
const UNKNOWN_FOR: Duration = Duration::from_secs(30);

impl SchemaCache {
    pub fn new(settings: &KafkaSettings) -> SchemaCache {
        let registry = Registry::new(settings);
        SchemaCache { registry, known: FxHashMap::default(), topics: BTreeMap::new(), headers: BTreeMap::new() }
    }

    /// The id of the schema of a topic's values, which is registered at the first call.
    pub fn topic_id(&mut self, topic: Topic) -> Result<u32, KafkaError> {
        match self.topics.get(&topic) {
            Some(id) => Ok(*id),
            None => Ok(*self.topics.entry(topic).or_insert(self.registry.register_topic(topic)?)),
        }
    }

    /// The id of the schema of a header, as [`SchemaCache::topic_id`].
    pub fn header_id(&mut self, header: &str) -> Result<u32, KafkaError> {
        match self.headers.get(header) {
            Some(id) => Ok(*id),
            None => Ok(*self.headers.entry(header.to_owned()).or_insert(self.registry.register_header(header)?)),
        }
    }

    /// Splits a framed value into the schema it was written with and its datum.
    pub fn open<'v>(&mut self, value: &'v [u8]) -> Result<(Arc<WriterSchema>, &'v [u8]), RecordError> {
        let (id, datum) = wire::split(value).map_err(|error| RecordError::Bad(error.to_string()))?;
        Ok((self.schema(id)?, datum))
    }

    /// The schema of an id.
    ///
    /// # Errors
    /// The record is at fault only if the registry that does not know the id knows what it must: a proxy whose registry is away answers
    /// with 404 to anything.
    pub fn schema(&mut self, id: u32) -> Result<Arc<WriterSchema>, RecordError> {
        match self.known.get(&id) {
            Some(Ok(schema)) => return Ok(Arc::clone(schema)),
            Some(Err((since, error))) if since.elapsed() < UNKNOWN_FOR => return Err(RecordError::Bad(error.clone())),
            _ => {}
        }
        let fetched = match self.fetch(id).map_err(RecordError::Registry)? {
            None => Err(format!("the registry does not know the schema {id}")),
            Some(text) => WriterSchema::parse(&text).map_err(|error| format!("the schema {id}: {error}")),
        };
        if self.known.len() >= CACHE_SCHEMAS_MAX {
            self.known.clear();
        }
        let entry = fetched.map(Arc::new);
        self.known.insert(id, entry.clone().map_err(|error| (Instant::now(), error)));
        entry.map_err(RecordError::Bad)
    }

    /// The text of a schema; none if the registry does not know the id, though it knows others.
    fn fetch(&self, id: u32) -> Result<Option<String>, KafkaError> {
        if let Some(text) = self.registry.schema(id)? {
            return Ok(Some(text));
        }
        self.require_itself()?;
        // It may have come between the two questions.
        self.registry.schema(id)
    }

    /// Whether it is the registry that answers: it knows an id that it gave before, or at least something.
    fn require_itself(&self) -> Result<(), KafkaError> {
        let read = self.known.iter().filter(|(_, schema)| schema.is_ok()).map(|(id, _)| *id);
        let (is_itself, reason) = match self.topics.values().copied().chain(read).next() {
            Some(id) => {
                (self.registry.schema(id)?.is_some(), format!("it does not know the schema {id}, which it knew before"))
            }
            None => (!self.registry.subjects()?.is_empty(), "it knows no schema at all".to_owned()),
        };
        if is_itself {
            return Ok(());
        }
        Err(KafkaError::RegistryRefused {
            url: self.registry.url.clone(),
            doing: "fetching a schema".to_owned(),
            reason: format!("{reason}; check registry.url, and what is in front of the registry"),
        })
    }
}
