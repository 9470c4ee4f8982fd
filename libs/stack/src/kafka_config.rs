//! The settings of a Kafka node for one machine, as text. Pure: in a node's place in the cluster, out two files.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::credentials::Credentials;
use crate::error::StackError;

/// One combined broker and controller.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    pub id: u16,
    pub port: u16,
    pub controller_port: u16,
    /// With them, every listener asks for SASL PLAIN and lets in nobody else.
    pub closed_to: Option<Credentials>,
    /// Set when there are users: the port of one more listener, which asks for their passwords.
    pub sasl_port: Option<u16>,
    pub sasl_users: Vec<(String, String)>,
    /// The port of a listener behind a proxy, and the proxy's port, which is what the listener's clients are told.
    pub proxied: Option<(u16, u16)>,
    /// Id and controller port of every node, this one included.
    pub voters: Vec<(u16, u16)>,
    pub data: PathBuf,
}

impl NodeConfig {
    pub fn server_properties(&self) -> String {
        let nodes = self.voters.len();
        let replicas = nodes.min(3);
        // With three replicas one broker may be away and acks=all still means two copies.
        let min_in_sync = if replicas == 3 { 2 } else { 1 };
        let (id, port, controller_port, data) = (self.id, self.port, self.controller_port, self.data.display());
        let voters: Vec<String> = self.voters.iter().map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
        let voters = voters.join(",");
        let (sasl_listener, sasl_advertised) = match self.sasl_port {
            Some(port) => (format!(",SASL://127.0.0.1:{port}"), format!(",SASL://127.0.0.1:{port}")),
            None => Default::default(),
        };
        let (proxied_listener, proxied_advertised) = match self.proxied {
            Some((port, proxy)) => (format!(",PROXIED://127.0.0.1:{port}"), format!(",PROXIED://127.0.0.1:{proxy}")),
            None => Default::default(),
        };
        let protocol = if self.closed_to.is_some() { "SASL_PLAINTEXT" } else { "PLAINTEXT" };
        let mut text = format!(
            "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENT
listeners=CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{sasl_listener}{proxied_listener}
advertised.listeners=CLIENT://127.0.0.1:{port}{sasl_advertised}{proxied_advertised}
listener.security.protocol.map=CLIENT:{protocol},CONTROLLER:{protocol},SASL:SASL_PLAINTEXT,PROXIED:{protocol}
log.dirs={data}
default.replication.factor={replicas}
min.insync.replicas={min_in_sync}
offsets.topic.replication.factor={replicas}
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={min_in_sync}
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={min_in_sync}
"
        );
        text.push_str(FIXED);
        if nodes == 1 {
            text.push_str(ALONE);
        }
        if self.sasl_port.is_some() || self.closed_to.is_some() {
            self.write_sasl(&mut text);
        }
        text
    }

    fn write_sasl(&self, text: &mut String) {
        text.push_str("sasl.enabled.mechanisms=PLAIN\n");
        let mut listener = |name: &str, words: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "listener.name.{name}.plain.sasl.jaas.config={PLAIN_LOGIN}{words};");
        };
        if self.sasl_port.is_some() {
            let users = self.sasl_users.iter().map(|(user, password)| format!(" user_{user}=\"{password}\""));
            listener("sasl", &users.collect::<String>());
        }
        if let Some(Credentials { user, password }) = &self.closed_to {
            // The nodes, and each as its own controller, come as the same user.
            let words = format!(" username=\"{user}\" password=\"{password}\" user_{user}=\"{password}\"");
            ["client", "controller", "proxied"].into_iter().for_each(|name| listener(name, &words));
            text.push_str("sasl.mechanism.inter.broker.protocol=PLAIN\nsasl.mechanism.controller.protocol=PLAIN\n");
        }
    }
}

const PLAIN_LOGIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required";

/// The same for every node of a small machine.
const FIXED: &str = "\
# Topics are made by the programs that own them, with the partitions that they need.
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
background.threads=4
num.recovery.threads.per.data.dir=2
# A group's first member need not wait for others, and a member that was killed is noticed in seconds.
group.initial.rebalance.delay.ms=0
group.coordinator.rebalance.protocols=classic,consumer
group.consumer.min.heartbeat.interval.ms=1000
group.consumer.heartbeat.interval.ms=2000
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=10000
# Fewer partitions of the internal topics start and recover faster.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=4
# A transaction that its killed owner left open blocks readers of committed data until it is aborted. The first look for such
# transactions comes one interval after the start, and must not come before a node that was killed is back in its cluster, once its
# old session of nine seconds is over: until then its partitions have no leader, are taken for deleted and get no marker, and their
# readers wait for ever.
transaction.max.timeout.ms=900000
transaction.abort.timed.out.transaction.cleanup.interval.ms=20000
# Bounds: a day or 1 GiB a partition, and 8 MiB in place of 128 MiB for the compaction of identities.
log.retention.hours=24
log.retention.bytes=1073741824
log.segment.bytes=134217728
log.retention.check.interval.ms=60000
log.cleaner.dedupe.buffer.size=8388608
";

/// The same for a node without others.
const ALONE: &str = "\
# Nobody could take its partitions over. In an orderly handing-over they would be without a leader while requests are still served, and
# the end of a transaction that comes then finds partitions that it takes for deleted (KAFKA-20734): its offsets stay pending for ever.
controlled.shutdown.enable=false
";

/// Log4j's settings: at most three files of 10 MB. What is said while the node stops is written as well.
pub fn log4j_properties(log: &Path) -> String {
    let log = log.display();
    format!(
        "status=error
shutdownHook=disable
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={log}
appender.file.filePattern={log}.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d{{ISO8601}} %p %c{{1}} %m%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=10MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=2
rootLogger.level=INFO
rootLogger.appenderRef.file.ref=file
"
    )
}

/// Names and passwords stand in a quoted string inside a properties file; what would need escaping there is refused.
pub fn check_sasl_users<'a>(users: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<(), StackError> {
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.!*".contains(c));
    match users.into_iter().find(|(user, password)| !plain(user) || !plain(password)) {
        None => Ok(()),
        Some((user, _)) => Err(StackError::Option {
            option: "sasl_users",
            detail: format!(
                "the name or the password of {user:?} has other characters than letters, digits and - _ . ! *"
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(voters: &[(u16, u16)], sasl_port: Option<u16>) -> NodeConfig {
        NodeConfig {
            id: 1,
            port: 9092,
            controller_port: 9093,
            closed_to: None,
            sasl_port,
            sasl_users: vec![("alice".into(), "secret".into())],
            proxied: None,
            voters: voters.to_vec(),
            data: "/data".into(),
        }
    }

    #[test]
    fn one_node_keeps_one_copy_and_three_nodes_keep_three() {
        let one = node(&[(1, 9093)], None).server_properties();
        assert!(one.contains("\noffsets.topic.replication.factor=1\n") && one.contains("\nmin.insync.replicas=1\n"));
        let three = node(&[(1, 9093), (2, 9193), (3, 9293)], None).server_properties();
        assert!(three.contains("\ntransaction.state.log.replication.factor=3\n"));
        assert!(three.contains("\ntransaction.state.log.min.isr=2\n"));
        assert!(three.contains("\ncontroller.quorum.voters=1@127.0.0.1:9093,2@127.0.0.1:9193,3@127.0.0.1:9293\n"));
    }

    #[test]
    fn passwords_are_asked_for_on_their_own_listener_only() {
        let without = node(&[(1, 9093)], None).server_properties();
        assert!(!without.contains("secret") && !without.contains("SASL://"));
        let with = node(&[(1, 9093)], Some(9094)).server_properties();
        assert!(with.contains("advertised.listeners=CLIENT://127.0.0.1:9092,SASL://127.0.0.1:9094\n"));
        assert!(with.contains(" user_alice=\"secret\";\n"));
    }

    #[test]
    fn a_closed_node_has_no_listener_without_a_password() {
        let credentials = Credentials { user: "headwater".into(), password: "hush".into() };
        let closed = NodeConfig { closed_to: Some(credentials), ..node(&[(1, 9093)], None) }.server_properties();
        let line = |key: &str| closed.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or("");
        let protocols = line("listener.security.protocol.map").split(',');
        assert!(protocols.clone().count() == 4 && protocols.clone().all(|one| one.ends_with(":SASL_PLAINTEXT")));
        for name in ["client", "controller"] {
            let login = line(&format!("listener.name.{name}.plain.sasl.jaas.config"));
            assert!(login.ends_with(r#" username="headwater" password="hush" user_headwater="hush";"#), "{login}");
        }
    }

    #[test]
    fn clients_behind_a_proxy_are_told_its_port_and_others_are_not() {
        let behind = NodeConfig { proxied: Some((9095, 9096)), ..node(&[(1, 9093)], None) }.server_properties();
        assert!(
            behind.contains("listeners=CLIENT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093,PROXIED://127.0.0.1:9095\n")
        );
        assert!(behind.contains("advertised.listeners=CLIENT://127.0.0.1:9092,PROXIED://127.0.0.1:9096\n"));
    }

    #[test]
    fn a_password_that_would_break_out_of_the_file_is_refused() {
        assert!(check_sasl_users([("alice", "pass-1")]).is_ok());
        assert!(check_sasl_users([("alice", "a\" user_root=\"b")]).is_err());
        assert!(check_sasl_users([("alice", "a\nb")]).is_err());
    }
}
