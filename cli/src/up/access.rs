//! Who alone is let into the Kafka and the registry that an `up` started, and the files from which other programs learn it.
//!
//! In: what was started, with its user and password. Out: settings that reach it, and two files that the user whom the programs run as
//! can read, and nobody but root besides. Promise: the password is in no argument and no log; it is another one at each start.

use anyhow::Result;
use headwater_kafka::{KafkaSettings, Security};
use headwater_stack::{Credentials, Services};

use super::place::Place;
use crate::running::Access;

/// Who the programs are to Kafka and the registry.
const USER: &str = "headwater";
const PASSWORD_FILE: &str = "password";
const CLIENT_FILE: &str = "client.properties";

pub fn credentials() -> Result<Credentials> {
    Ok(Credentials::draw(USER)?)
}

/// Completes `kafka`, which has the addresses. None if nothing was started here that asks for a password.
pub fn give(services: &Services, kafka: &mut KafkaSettings, place: &Place) -> Result<Option<Access>> {
    let (broker, registry) = (services.kafka_closed_to(), services.registry_closed_to());
    if let Some(Credentials { user, password }) = broker {
        kafka.security = Security::plain(user, password);
    }
    if let Some(Credentials { user, password }) = registry {
        kafka.registry_user = Some(user.clone());
        kafka.registry_password = Some(password.as_str().into());
    }
    let Some(one) = broker.or(registry) else { return Ok(None) };
    let client_file = match broker {
        Some(broker) => Some(place.private_file(CLIENT_FILE, &client_properties(kafka, broker, registry.is_some()))?),
        None => None,
    };
    Ok(Some(Access {
        user: one.user.clone(),
        password_file: place.private_file(PASSWORD_FILE, &format!("{}\n", one.password))?,
        of_kafka: broker.is_some(),
        of_registry: registry.is_some(),
        client_file,
    }))
}

/// As the clients of librdkafka and those of Java read it.
fn client_properties(kafka: &KafkaSettings, credentials: &Credentials, of_registry: bool) -> String {
    let (Credentials { user, password }, brokers) = (credentials, &kafka.brokers);
    let mut text = format!(
        "# For `kcat -F` and for `--command-config` of Kafka's own tools, as long as this `headwater up` runs.
bootstrap.servers={brokers}
security.protocol=SASL_PLAINTEXT
sasl.mechanism=PLAIN
# Clients of librdkafka read these two, Java's the third.
sasl.username={user}
sasl.password={password}
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=\"{user}\" password=\"{password}\";
"
    );
    if of_registry {
        text.push_str(&format!("# The registry takes the same user and password: {}\n", kafka.registry_url));
    }
    text
}
