//! How to reach Kafka and the registry.

use std::fmt;

use headwater_settings::{Key, Values, take_userinfo};
use rdkafka::ClientConfig;

/// Settings of every program that talks to Kafka.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// What all topics' names start with.
    pub prefix: String,
    /// Partitions of flows, requests and partials when they are created.
    pub partitions: i32,
    /// Copies of topics when they are created; the brokers decide if absent.
    pub replication: Option<i32>,
    /// What brokers' logs and quotas know this program by.
    pub client_id: String,
    /// Where this program is, as the brokers' `broker.rack` names it: it reads from the nearest copy.
    pub rack: Option<String>,
    /// How groups agree on who reads what: `classic`, or `consumer` (KIP-848).
    pub group_protocol: &'static str,
    pub security: Security,
    /// Bytes that may wait in a producer's queue.
    pub queue_bytes: u32,
    /// Confluent-compatible registry; user and password are taken out of it.
    pub registry_url: String,
    pub registry_user: Option<String>,
    pub registry_password: Option<Secret>,
}

/// Kafka's names of topics have at most 249 characters.
const PREFIX_BYTES_MAX: usize = 200;

/// How a connection is secured.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.
    pub protocol: &'static str,
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: &'static str,
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// Certificates of the authorities that are trusted, in PEM; the system's if absent.
    pub ca_file: Option<String>,
}

impl Security {
    /// SASL PLAIN without encryption: for a Kafka on the same machine.
    pub fn plain(user: &str, password: &str) -> Security {
        let (user, password) = (Some(user.to_owned()), Some(password.into()));
        Security { protocol: "sasl_plaintext", mechanism: "PLAIN", user, password, ca_file: None }
    }
}

/// A password, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl KafkaSettings {
    pub const KEYS: &'static [Key] = &[
        Key::new("kafka.brokers", "127.0.0.1:9092", "Kafka brokers, host:port, separated by commas"),
        Key::new("kafka.prefix", "headwater.", "What the names of all topics start with"),
        Key::new("kafka.partitions", "4", "Partitions of flows, requests and partials when they are created"),
        Key::optional(
            "kafka.replication",
            "Replication factor of topics when they are created; the brokers' default if absent",
        ),
        Key::new("kafka.client_id", "headwater", "What the logs and quotas of the brokers know this program by"),
        Key::optional("kafka.rack", "Where this program is, as broker.rack names it; it reads from the nearest copy"),
        Key::new("kafka.group_protocol", "classic", "How processors share partitions: classic, or consumer (KIP-848)"),
        Key::new("kafka.security_protocol", "plaintext", "plaintext, ssl, sasl_plaintext or sasl_ssl"),
        Key::new("kafka.sasl_mechanism", "PLAIN", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
        Key::optional("kafka.user", "User for SASL"),
        Key::optional(
            "kafka.password",
            "Password for SASL, in the environment or the settings file; better in a file of its own",
        ),
        Key::optional("kafka.password_file", "File that holds the password for SASL"),
        Key::optional("kafka.ca_file", "Trusted authorities in PEM; the system's if absent"),
        Key::new(
            "kafka.queue_bytes",
            "32MiB",
            "Bytes that may wait to be sent; past that records are dropped and counted",
        ),
        Key::new("registry.url", "http://127.0.0.1:8081", "Confluent-compatible schema registry"),
        Key::optional("registry.user", "User for the registry"),
        Key::optional("registry.password", "Password for the registry, as that for SASL"),
        Key::optional("registry.password_file", "File that holds the password for the registry"),
    ];

    /// Reads the settings; problems are noted in `values`.
    pub fn read(values: &mut Values) -> KafkaSettings {
        let protocols = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"].map(|word| (word, word));
        let mechanisms = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].map(|word| (word, word));
        let security = Security {
            protocol: values.choice("kafka.security_protocol", &protocols),
            mechanism: values.choice("kafka.sasl_mechanism", &mechanisms),
            user: values.optional("kafka.user"),
            password: values.secret("kafka.password", "kafka.password_file").map(Secret),
            ca_file: values.optional("kafka.ca_file"),
        };
        if security.protocol.starts_with("sasl") && (security.user.is_none() || security.password.is_none()) {
            values
                .problem("kafka.security_protocol", "SASL needs kafka.user and kafka.password or kafka.password_file");
        }
        let brokers = values.text("kafka.brokers");
        if let Some(broker) = brokers.split(',').find(|broker| !is_broker(broker.trim())) {
            values.problem("kafka.brokers", format!("`{broker}` is not host:port"));
        }
        let prefix = values.text("kafka.prefix");
        if prefix.len() > PREFIX_BYTES_MAX || !prefix.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
            values.problem(
                "kafka.prefix",
                format!("`{prefix}` is not at most {PREFIX_BYTES_MAX} letters, digits, dots, dashes and underscores"),
            );
        }
        values.refuse_flag("kafka.password", "kafka.password_file");
        values.refuse_flag("registry.password", "registry.password_file");
        let (registry_url, userinfo) = take_userinfo(values.text("registry.url").trim_end_matches('/'));
        let (mut registry_user, mut registry_password) =
            (values.optional("registry.user"), values.secret("registry.password", "registry.password_file"));
        if let Some(userinfo) = userinfo {
            if userinfo.password.is_some() {
                values.refuse_flag("registry.url", "registry.password_file");
            }
            if registry_user.is_some() || registry_password.is_some() {
                values.problem("registry.url", "it names a user, and registry.user or registry.password do too");
            }
            (registry_user, registry_password) = (Some(userinfo.user), userinfo.password);
        }
        if !registry_url.starts_with("http://") && !registry_url.starts_with("https://") {
            values.problem("registry.url", format!("`{registry_url}` does not start with http:// or https://"));
        }
        KafkaSettings {
            brokers,
            prefix,
            partitions: values.number("kafka.partitions", 1..=1024),
            replication: values.optional("kafka.replication").map(|_| values.number("kafka.replication", 1..=16)),
            client_id: values.text("kafka.client_id"),
            rack: values.optional("kafka.rack"),
            group_protocol: values.choice("kafka.group_protocol", &["classic", "consumer"].map(|word| (word, word))),
            security,
            queue_bytes: values.bytes("kafka.queue_bytes", 1 << 20..=1 << 30),
            registry_url,
            registry_user,
            registry_password: registry_password.map(Secret),
        }
    }

    /// Settings that reach a Kafka and a registry without security, everything else as by default. For tests and `up`.
    pub fn local(brokers: &str, registry_url: &str) -> KafkaSettings {
        KafkaSettings {
            brokers: brokers.to_owned(),
            prefix: "headwater.".to_owned(),
            partitions: 4,
            replication: None,
            client_id: "headwater".to_owned(),
            rack: None,
            group_protocol: "classic",
            security: Security { protocol: "plaintext", mechanism: "PLAIN", ..Security::default() },
            queue_bytes: 32 << 20,
            registry_url: registry_url.trim_end_matches('/').to_owned(),
            registry_user: None,
            registry_password: None,
        }
    }

    /// Where Kafka and the registry are and who asks them, as variables of the environment for a child process of ours: all of what
    /// [`Self::says_where`].
    pub fn connection_variables(&self) -> Vec<(String, String)> {
        let secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.reveal().to_owned());
        let Security { protocol, mechanism, user, password, ca_file } = &self.security;
        [
            ("kafka.brokers", Some(self.brokers.clone())),
            ("kafka.security_protocol", Some((*protocol).to_owned())),
            ("kafka.sasl_mechanism", Some((*mechanism).to_owned())),
            ("kafka.user", user.clone()),
            ("kafka.password", secret(password)),
            ("kafka.ca_file", ca_file.clone()),
            ("registry.url", Some(self.registry_url.clone())),
            ("registry.user", self.registry_user.clone()),
            ("registry.password", secret(&self.registry_password)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((Key::optional(name, "").variable(), value?)))
        .collect()
    }

    /// Whether a setting says where Kafka or the registry is, or who asks it.
    pub fn says_where(key: &Key) -> bool {
        let of_kafka =
            ["brokers", "security_protocol", "sasl_mechanism", "user", "password", "password_file", "ca_file"];
        match key.name.split_once('.') {
            Some(("kafka", name)) => of_kafka.contains(&name),
            Some((section, _)) => section == "registry",
            None => false,
        }
    }

    /// What every client of librdkafka starts from.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id)
            .set("security.protocol", self.security.protocol)
            .set("socket.keepalive.enable", "true")
            // A broker that comes back is found again soon.
            .set("reconnect.backoff.max.ms", "2000")
            .set("log.connection.close", "false");
        if self.security.protocol.starts_with("sasl") {
            config
                .set("sasl.mechanism", self.security.mechanism)
                .set("sasl.username", self.security.user.as_deref().unwrap_or_default())
                .set("sasl.password", self.security.password.as_ref().map_or("", Secret::reveal));
        }
        if let Some(rack) = &self.rack {
            config.set("client.rack", rack);
        }
        if let Some(ca_file) = &self.security.ca_file {
            config.set("ssl.ca.location", ca_file);
        }
        config
    }
}

/// `host:port` or, in brackets, an IPv6 address with a port.
fn is_broker(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_v6 = host.starts_with('[') && host.ends_with(']');
    !host.is_empty() && !host.contains([' ', '/']) && (is_v6 || !host.contains(':')) && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_password_is_shown() {
        let mut settings = KafkaSettings::local("127.0.0.1:1", "http://127.0.0.1:2");
        settings.security.password = Some("hush".into());
        settings.registry_password = Some("hush".into());
        assert!(!format!("{settings:?}").contains("hush"));
    }

    fn read(arguments: &[&str], variables: &[(&str, &str)]) -> (KafkaSettings, Option<String>) {
        let arguments = std::iter::once("program").chain(arguments.iter().copied()).map(Into::into);
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let command = clap::Command::new("program");
        let (_, mut values) = headwater_settings::load(command, &[KafkaSettings::KEYS], arguments, variables).unwrap();
        let settings = KafkaSettings::read(&mut values);
        (settings, values.finish().err().map(|problems| problems.to_string()))
    }

    #[test]
    fn a_password_in_the_registrys_address_is_used_and_not_shown() {
        let (settings, problems) = read(&[], &[("HEADWATER_REGISTRY_URL", "http://ann:hush@r:8081/")]);
        assert_eq!((settings.registry_url.as_str(), problems), ("http://r:8081", None));
        assert_eq!(settings.registry_user.as_deref(), Some("ann"));
        assert_eq!(settings.registry_password.as_ref().map(Secret::reveal), Some("hush"));
        let variables = settings.connection_variables();
        assert!(variables.contains(&("HEADWATER_REGISTRY_URL".into(), "http://r:8081".into())));
        assert!(variables.contains(&("HEADWATER_REGISTRY_PASSWORD".into(), "hush".into())));
        let (_, problems) =
            read(&[], &[("HEADWATER_REGISTRY_URL", "ann:hush@r:8081"), ("HEADWATER_REGISTRY_USER", "b")]);
        let problems = problems.unwrap();
        assert!(problems.contains("`r:8081` does not start with http://") && !problems.contains("hush"), "{problems}");
        assert!(problems.contains("it names a user, and registry.user"), "{problems}");
    }

    #[test]
    fn a_child_is_told_all_that_reaches_kafka() {
        let settings =
            KafkaSettings { security: Security::plain("ann", "hush"), ..KafkaSettings::local("k:1", "http://r") };
        let variables = settings.connection_variables();
        let (again, problems) =
            read(&[], &variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>());
        assert_eq!((again.connection_variables(), problems), (variables, None));
        for key in KafkaSettings::KEYS {
            let told = settings.connection_variables().iter().any(|(name, _)| *name == key.variable());
            assert!(!told || KafkaSettings::says_where(key), "{}", key.name);
        }
    }

    #[test]
    fn no_password_is_taken_as_an_argument() {
        for (arguments, instead) in [
            (["--kafka-password", "hush"], "HEADWATER_KAFKA_PASSWORD or kafka.password_file"),
            (["--registry-password", "hush"], "HEADWATER_REGISTRY_PASSWORD or registry.password_file"),
            (["--registry-url", "http://ann:hush@r"], "HEADWATER_REGISTRY_URL or registry.password_file"),
        ] {
            let problems = read(&arguments, &[]).1.unwrap();
            assert!(problems.contains(instead) && !problems.contains("hush"), "{problems}");
        }
        assert_eq!(read(&["--registry-url", "http://ann@r"], &[]).1, None);
    }

    #[test]
    fn brokers_are_hosts_with_ports() {
        assert!(["a:9092", "10.0.0.1:1", "[::1]:9092"].into_iter().all(is_broker));
        assert!(!["", "a", "a:", ":9092", "a:b", "a:70000", "http://a:80", "::1:9092"].into_iter().any(is_broker));
    }
}
