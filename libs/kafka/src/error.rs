/// Why something with Kafka or the registry failed, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    #[error("no broker of {brokers} answers: {reason}; check kafka.brokers and that Kafka runs")]
    Unreachable { brokers: String, reason: String },
    #[error(
        "the brokers {brokers} refuse the user or the password: {reason}; check kafka.user, kafka.password and kafka.sasl_mechanism"
    )]
    Authentication { brokers: String, reason: String },
    #[error("a secured connection to {brokers} fails: {reason}; check kafka.security_protocol and kafka.ca_file")]
    Tls { brokers: String, reason: String },
    #[error(
        "the schema registry {url} does not answer while {doing}: {reason}; check registry.url and that the registry runs"
    )]
    RegistryUnreachable { url: String, doing: String, reason: String },
    #[error("the schema registry {url} refused {doing}: {reason}")]
    RegistryRefused { url: String, doing: String, reason: String },
    #[error(
        "the topics' numbers of partitions differ ({counts}): all must have the same number, since they are joined partition by partition; add partitions to those that have fewer, then start the agents again (docs/operating.md, \"To add partitions\")"
    )]
    PartitionsDiffer { counts: String },
    #[error("{doing}: {source}")]
    Client { doing: String, source: rdkafka::error::KafkaError },
    #[error("{doing}: {reason}")]
    Other { doing: String, reason: String },
}

impl KafkaError {
    /// Whether it may go away by itself: somebody does not answer.
    pub fn is_passing(&self) -> bool {
        use rdkafka::error::KafkaError as Client;
        match self {
            KafkaError::Unreachable { .. } | KafkaError::RegistryUnreachable { .. } => true,
            KafkaError::Client { source, .. } => {
                !matches!(source, Client::ClientCreation(_) | Client::ClientConfig(..))
            }
            _ => false,
        }
    }

    pub(crate) fn client(doing: impl Into<String>) -> impl FnOnce(rdkafka::error::KafkaError) -> KafkaError {
        let doing = doing.into();
        move |source| KafkaError::Client { doing, source }
    }
}

/// Why one record cannot be read. Its neighbours may be fine.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The record is at fault: it belongs to the dead letters.
    #[error("{0}")]
    Bad(String),
    /// The registry does not answer: the record may be fine, try again.
    #[error(transparent)]
    Registry(KafkaError),
}
