//! The settings of a Kafka node for one machine, as text. Pure: in a node's place in the cluster, out two files.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::error::StackError;

/// One combined broker and controller.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    pub id: u16,
    pub port: u16,
    pub controller_port: u16,
    /// Set when there are users: the port of the listener that asks for a password.
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
        let mut text = format!(
            "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{sasl_listener}{proxied_listener}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{sasl_advertised}{proxied_advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT,PROXIED:PLAINTEXT
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
        if self.sasl_port.is_some() {
            self.write_sasl(&mut text);
        }
        text
    }

    fn write_sasl(&self, text: &mut String) {
        text.push_str("sasl.enabled.mechanisms=PLAIN\n");
        text.push_str("listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required");
        for (user, password) in &self.sasl_users {
            // Writing to a String cannot fail.
            let _ = write!(text, " user_{user}=\"{password}\"");
        }
        text.push_str(";\n");
    }
}

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
pub fn check_sasl_users(users: &[(String, String)]) -> Result<(), StackError> {
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.!*".contains(c));
    match users.iter().find(|(user, password)| !plain(user) || !plain(password)) {
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
        assert!(with.contains("advertised.listeners=PLAINTEXT://127.0.0.1:9092,SASL://127.0.0.1:9094\n"));
        assert!(with.contains(" user_alice=\"secret\";\n"));
    }

    #[test]
    fn clients_behind_a_proxy_are_told_its_port_and_others_are_not() {
        let behind = NodeConfig { proxied: Some((9095, 9096)), ..node(&[(1, 9093)], None) }.server_properties();
        assert!(
            behind.contains(
                "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093,PROXIED://127.0.0.1:9095\n"
            )
        );
        assert!(behind.contains("advertised.listeners=PLAINTEXT://127.0.0.1:9092,PROXIED://127.0.0.1:9096\n"));
    }

    #[test]
    fn a_password_that_would_break_out_of_the_file_is_refused() {
        assert!(check_sasl_users(&[("alice".into(), "pass-1".into())]).is_ok());
        assert!(check_sasl_users(&[("alice".into(), "a\" user_root=\"b".into())]).is_err());
        assert!(check_sasl_users(&[("alice".into(), "a\nb".into())]).is_err());
    }
}
