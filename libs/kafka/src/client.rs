//! What librdkafka says while it works: it tries again for ever by itself, so its complaints are kept for whoever asks.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaErrorCode;

use crate::{KafkaError, KafkaSettings};

/// Keeps the newest complaint of a client.
#[derive(Default)]
pub struct Complaints {
    newest: Mutex<Option<(Option<RDKafkaErrorCode>, String)>>,
}

impl Complaints {
    pub fn note(&self, error: &ClientError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        if let Ok(mut newest) = self.newest.lock() {
            let code = error.rdkafka_error_code();
            // "All brokers are down" follows the reason that says why.
            if newest.is_none() || code != Some(RDKafkaErrorCode::AllBrokersDown) {
                *newest = Some((code, reason.to_owned()));
            }
        }
    }

    /// Its code and its text.
    pub fn newest(&self) -> Option<(Option<RDKafkaErrorCode>, String)> {
        self.newest.lock().ok()?.clone()
    }
}

/// The context of clients that need nothing else.
#[derive(Default)]
pub struct Plain {
    pub complaints: Complaints,
}

impl ClientContext for Plain {
    fn error(&self, error: ClientError, reason: &str) {
        self.complaints.note(&error, reason);
    }

    fn log(&self, level: RDKafkaLogLevel, _facility: &str, message: &str) {
        log(level, message);
    }
}

impl ConsumerContext for Plain {}

impl ProducerContext for Plain {
    type DeliveryOpaque = ();

    /// For producers whose transactions tell.
    fn delivery(&self, _: &DeliveryResult<'_>, _: ()) {}
}

/// librdkafka's own log: it repeats every failed try, so only what is worse than that reaches a person by default.
pub fn log(level: RDKafkaLogLevel, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => tracing::error!("{message}"),
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => tracing::debug!("{message}"),
        _ => tracing::trace!("{message}"),
    }
}

/// Checks that a broker answers, so that a wrong address or password is told at once.
///
/// # Errors
/// [`KafkaError::Unreachable`], [`KafkaError::Authentication`] or [`KafkaError::Tls`].
pub fn connect_check(settings: &KafkaSettings, timeout: Duration) -> Result<(), KafkaError> {
    let consumer: BaseConsumer<Plain> = settings
        .client()
        .create_with_context(Plain::default())
        .map_err(KafkaError::client("make a Kafka client; check the kafka.* settings"))?;
    let deadline = Instant::now() + timeout;
    loop {
        let step = Duration::from_secs(1).min(deadline.saturating_duration_since(Instant::now()));
        let error = match consumer.fetch_metadata(None, step) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        // Serves the error callback.
        let _ = consumer.poll(Duration::ZERO);
        let complaint = consumer.context().complaints.newest();
        let told = complaint
            .as_ref()
            .is_some_and(|(code, _)| matches!(code, Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL)));
        if told || Instant::now() >= deadline {
            return Err(classify(settings, complaint, &error));
        }
    }
}

fn classify(
    settings: &KafkaSettings,
    complaint: Option<(Option<RDKafkaErrorCode>, String)>,
    error: &ClientError,
) -> KafkaError {
    let brokers = settings.brokers.clone();
    match complaint {
        Some((Some(RDKafkaErrorCode::Authentication), reason)) => KafkaError::Authentication { brokers, reason },
        Some((Some(RDKafkaErrorCode::SSL), reason)) => KafkaError::Tls { brokers, reason },
        Some((_, reason)) => KafkaError::Unreachable { brokers, reason },
        None => KafkaError::Unreachable { brokers, reason: error.to_string() },
    }
}
