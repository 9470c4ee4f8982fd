//! Decides where Kafka and the registry come from, and brings them up: what `headwater up` calls.
//!
//! In: the addresses that the user gave, and what this machine has. Out: [`Services`] with two addresses. Order of
//! choice: an existing one; else children (Java and Maven, or a filled cache); else containers; else an error that
//! names what to install.

use std::path::Path;

use crate::artifacts::Artifacts;
use crate::credentials::Credentials;
use crate::docker::{self, Containers};
use crate::error::StackError;
use crate::java;
use crate::ports;
use crate::stack::{Parts, Stack, StackOptions};
use crate::workspace::Workspace;

/// What the user named; each that is missing is started.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// `host:port`, separated by commas, of a Kafka that exists.
    pub brokers: Option<String>,
    /// The root of the Confluent API of a registry that exists.
    pub registry_url: Option<String>,
}

/// Where one of the two comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It exists already, at this address.
    Existing(String),
    /// A child process, from Maven Central's jars.
    Child,
    /// A container of the compose file.
    Container,
}

/// Where Kafka and the registry come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Of Kafka.
    pub kafka: Origin,
    /// Of the registry.
    pub registry: Origin,
}

impl Plan {
    /// Decides for this machine, and starts nothing.
    pub fn choose(wanted: &Wanted) -> Result<Self, StackError> {
        Self::decide(wanted, &Machine::look)
    }

    fn decide(wanted: &Wanted, look: &dyn Fn() -> Machine) -> Result<Self, StackError> {
        let existing = |address: &Option<String>| address.clone().map(Origin::Existing);
        let (kafka, registry) = (existing(&wanted.brokers), existing(&wanted.registry_url));
        if let (Some(kafka), Some(registry)) = (&kafka, &registry) {
            return Ok(Self { kafka: kafka.clone(), registry: registry.clone() });
        }
        let started = look().origin()?;
        Ok(Self { kafka: kafka.unwrap_or_else(|| started.clone()), registry: registry.unwrap_or(started) })
    }
}

/// What this machine has; a missing thing is the sentence that says so.
struct Machine {
    java: Result<(), String>,
    /// True when the jars are there or can be fetched.
    jars: Result<(), String>,
    docker: Result<(), String>,
}

impl Machine {
    fn look() -> Self {
        let java = java::find().map(drop).map_err(|error| match error {
            StackError::NoJava { found } => found,
            other => other.to_string(),
        });
        let jars = match Artifacts::are_cached() || Artifacts::can_be_fetched() {
            true => Ok(()),
            false => Err("there is no `mvn` on the PATH to fetch Kafka with".to_owned()),
        };
        // Asking the engine takes a second, so only when it matters.
        let docker = match java.is_ok() && jars.is_ok() {
            true => Ok(()),
            false => docker::compose_command().map(drop),
        };
        Self { java, jars, docker }
    }

    fn origin(self) -> Result<Origin, StackError> {
        let sentence = |found: Result<(), String>, good: &str| found.err().unwrap_or_else(|| good.to_owned());
        match (&self.java, &self.jars, &self.docker) {
            (Ok(()), Ok(()), _) => Ok(Origin::Child),
            (_, _, Ok(())) => Ok(Origin::Container),
            _ => Err(StackError::NothingToRunWith {
                java: sentence(self.java, "Java is there"),
                maven: sentence(self.jars, "Kafka's jars are there or can be fetched"),
                docker: sentence(self.docker, "a Docker engine is there"),
            }),
        }
    }
}

/// Kafka and a registry, wherever they come from. Dropping it stops what it started, and only that.
#[derive(Debug)]
pub struct Services {
    bootstrap: String,
    registry_url: String,
    kafka_closed_to: Option<Credentials>,
    registry_closed_to: Option<Credentials>,
    // The order counts: the systems stop before their folder is given up.
    stack: Option<Stack>,
    _containers: Option<Containers>,
    _workspace: Option<Workspace>,
}

impl Services {
    /// Returns when what it started answers. Existing systems are not asked: their clients do that, with the user's
    /// settings for encryption and passwords.
    pub fn open(wanted: &Wanted, options: StackOptions) -> Result<Self, StackError> {
        let plan = Plan::choose(wanted)?;
        let is_from = |origin: Origin| Parts { kafka: plan.kafka == origin, registry: plan.registry == origin };
        let children = is_from(Origin::Child);
        let boxed = is_from(Origin::Container);

        let mut services = Self {
            bootstrap: String::new(),
            registry_url: String::new(),
            kafka_closed_to: None,
            registry_closed_to: None,
            stack: None,
            _containers: None,
            _workspace: None,
        };
        if children.kafka || children.registry {
            let closed_to = options.closed_to.clone();
            services.kafka_closed_to = closed_to.clone().filter(|_| children.kafka);
            services.registry_closed_to = closed_to.filter(|_| children.registry);
            let stack = Stack::start_parts(options, children)?;
            services.take_addresses(children, stack.bootstrap(), stack.registry_url());
            services.stack = Some(stack);
        } else if boxed.kafka || boxed.registry {
            let (workspace, containers) = start_containers(&options, boxed)?;
            services.take_addresses(boxed, containers.bootstrap(), containers.registry_url());
            services._containers = Some(containers);
            services._workspace = Some(workspace);
        }
        if let Origin::Existing(address) = plan.kafka {
            services.bootstrap = address;
        }
        if let Origin::Existing(url) = plan.registry {
            services.registry_url = url;
        }
        Ok(services)
    }

    /// For `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The root of the registry's Confluent API.
    pub fn registry_url(&self) -> &str {
        &self.registry_url
    }

    /// Who alone is let into Kafka, if it was started here and closed to others.
    pub fn kafka_closed_to(&self) -> Option<&Credentials> {
        self.kafka_closed_to.as_ref()
    }

    /// The same of the registry.
    pub fn registry_closed_to(&self) -> Option<&Credentials> {
        self.registry_closed_to.as_ref()
    }

    /// Where data and logs of the children are, if there are children.
    pub fn data_dir(&self) -> Option<&Path> {
        self.stack.as_ref().map(Stack::data_dir)
    }

    fn take_addresses(&mut self, parts: Parts, bootstrap: String, registry_url: String) {
        if parts.kafka {
            self.bootstrap = bootstrap;
        }
        if parts.registry {
            self.registry_url = registry_url;
        }
    }
}

fn start_containers(options: &StackOptions, parts: Parts) -> Result<(Workspace, Containers), StackError> {
    let kafka_port = ports::claim(options.kafka_port, "Kafka", "--kafka-port")?;
    let registry_port = ports::claim(options.registry_port, "the registry", "--registry-port")?;
    let workspace = Workspace::open(options.data_dir.as_deref())?;
    // The registry of the compose file keeps its schemas in the Kafka of the compose file, so it never comes alone.
    let services: &[&str] = if parts.registry { &["kafka", "registry"] } else { &["kafka"] };
    let containers =
        Containers::start(workspace.path(), services, kafka_port.number(), registry_port.number(), &options.progress)?;
    Ok((workspace, containers))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn machine(java: bool, jars: bool, docker: bool) -> Machine {
        let has = |it: bool, name: &str| if it { Ok(()) } else { Err(format!("no {name}")) };
        Machine { java: has(java, "Java"), jars: has(jars, "Maven"), docker: has(docker, "Docker") }
    }

    fn origin(java: bool, jars: bool, docker: bool) -> Result<Origin, StackError> {
        machine(java, jars, docker).origin()
    }

    #[test]
    fn children_come_before_containers() {
        assert_eq!(origin(true, true, true).unwrap(), Origin::Child);
        assert_eq!(origin(true, true, false).unwrap(), Origin::Child);
        assert_eq!(origin(false, true, true).unwrap(), Origin::Container);
        assert_eq!(origin(true, false, true).unwrap(), Origin::Container);
    }

    #[test]
    fn a_machine_with_nothing_is_told_what_to_install() {
        let error = origin(false, false, false).unwrap_err().to_string();
        for part in ["no Java", "no Maven", "no Docker", "apt-get install", "--brokers"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }

    #[test]
    fn existing_systems_need_nothing_of_the_machine() {
        let wanted = Wanted { brokers: Some("k:9092".into()), registry_url: Some("http://r".into()) };
        let plan = Plan::decide(&wanted, &|| panic!("nobody should look at the machine")).unwrap();
        assert_eq!(plan.kafka, Origin::Existing("k:9092".into()));
        assert_eq!(plan.registry, Origin::Existing("http://r".into()));
    }

    #[test]
    fn only_what_is_missing_is_started() {
        let wanted = Wanted { brokers: Some("k:9092".into()), registry_url: None };
        let plan = Plan::decide(&wanted, &|| machine(true, true, false)).unwrap();
        assert_eq!(plan, Plan { kafka: Origin::Existing("k:9092".into()), registry: Origin::Child });
    }
}
