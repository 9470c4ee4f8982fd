//! Which requests Kafka knows, and how each version of them is written.

/// No version is flexible.
const NEVER: i16 = i16::MAX;
/// What a client may be ahead of this table.
const NEWER_VERSIONS: i16 = 8;

/// A kind of request.
#[derive(Debug, PartialEq, Eq)]
pub struct Api {
    /// As Kafka's specification calls it.
    pub name: &'static str,
    /// The newest version whose layout is known here.
    newest: i16,
    /// Strings and arrays are compact, and structures end with tagged fields, from this version on.
    flexible_from: i16,
}

impl Api {
    const fn new(name: &'static str, newest: i16, flexible_from: i16) -> Self {
        Self { name, newest, flexible_from }
    }

    /// None if Kafka has no such key.
    pub fn of(key: i16) -> Option<&'static Self> {
        APIS.get(usize::try_from(key).ok()?)
    }

    pub fn may_have(&self, version: i16) -> bool {
        (0..=self.newest.saturating_add(NEWER_VERSIONS)).contains(&version)
    }

    pub fn has_layout(&self, version: i16) -> bool {
        version <= self.newest
    }

    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }
}

/// By key, as of Kafka 4.3. Those that newer brokers no longer serve are those of their last version.
const APIS: [Api; 93] = [
    Api::new("Produce", 13, 9),
    Api::new("Fetch", 18, 12),
    Api::new("ListOffsets", 11, 6),
    Api::new("Metadata", 13, 9),
    Api::new("LeaderAndIsr", 7, 4),
    Api::new("StopReplica", 4, 2),
    Api::new("UpdateMetadata", 8, 6),
    Api::new("ControlledShutdown", 3, 3),
    Api::new("OffsetCommit", 10, 8),
    Api::new("OffsetFetch", 10, 6),
    Api::new("FindCoordinator", 6, 3),
    Api::new("JoinGroup", 9, 6),
    Api::new("Heartbeat", 4, 4),
    Api::new("LeaveGroup", 5, 4),
    Api::new("SyncGroup", 5, 4),
    Api::new("DescribeGroups", 6, 5),
    Api::new("ListGroups", 5, 3),
    Api::new("SaslHandshake", 1, NEVER),
    Api::new("ApiVersions", 4, 3),
    Api::new("CreateTopics", 7, 5),
    Api::new("DeleteTopics", 6, 4),
    Api::new("DeleteRecords", 2, 2),
    Api::new("InitProducerId", 6, 2),
    Api::new("OffsetForLeaderEpoch", 4, 4),
    Api::new("AddPartitionsToTxn", 5, 3),
    Api::new("AddOffsetsToTxn", 4, 3),
    Api::new("EndTxn", 5, 3),
    Api::new("WriteTxnMarkers", 2, 1),
    Api::new("TxnOffsetCommit", 5, 3),
    Api::new("DescribeAcls", 3, 2),
    Api::new("CreateAcls", 3, 2),
    Api::new("DeleteAcls", 3, 2),
    Api::new("DescribeConfigs", 4, 4),
    Api::new("AlterConfigs", 2, 2),
    Api::new("AlterReplicaLogDirs", 2, 2),
    Api::new("DescribeLogDirs", 5, 2),
    Api::new("SaslAuthenticate", 2, 2),
    Api::new("CreatePartitions", 3, 2),
    Api::new("CreateDelegationToken", 3, 2),
    Api::new("RenewDelegationToken", 2, 2),
    Api::new("ExpireDelegationToken", 2, 2),
    Api::new("DescribeDelegationToken", 3, 2),
    Api::new("DeleteGroups", 2, 2),
    Api::new("ElectLeaders", 2, 2),
    Api::new("IncrementalAlterConfigs", 1, 1),
    Api::new("AlterPartitionReassignments", 1, 0),
    Api::new("ListPartitionReassignments", 0, 0),
    Api::new("OffsetDelete", 0, NEVER),
    Api::new("DescribeClientQuotas", 1, 1),
    Api::new("AlterClientQuotas", 1, 1),
    Api::new("DescribeUserScramCredentials", 0, 0),
    Api::new("AlterUserScramCredentials", 0, 0),
    Api::new("Vote", 2, 0),
    Api::new("BeginQuorumEpoch", 1, 1),
    Api::new("EndQuorumEpoch", 1, 1),
    Api::new("DescribeQuorum", 2, 0),
    Api::new("AlterPartition", 3, 2),
    Api::new("UpdateFeatures", 2, 0),
    Api::new("Envelope", 0, 0),
    Api::new("FetchSnapshot", 1, 0),
    Api::new("DescribeCluster", 2, 0),
    Api::new("DescribeProducers", 0, 0),
    Api::new("BrokerRegistration", 4, 0),
    Api::new("BrokerHeartbeat", 2, 0),
    Api::new("UnregisterBroker", 0, 0),
    Api::new("DescribeTransactions", 0, 0),
    Api::new("ListTransactions", 2, 0),
    Api::new("AllocateProducerIds", 0, 0),
    Api::new("ConsumerGroupHeartbeat", 1, 0),
    Api::new("ConsumerGroupDescribe", 1, 0),
    Api::new("ControllerRegistration", 0, 0),
    Api::new("GetTelemetrySubscriptions", 0, 0),
    Api::new("PushTelemetry", 0, 0),
    Api::new("AssignReplicasToDirs", 0, 0),
    Api::new("ListConfigResources", 1, 0),
    Api::new("DescribeTopicPartitions", 0, 0),
    Api::new("ShareGroupHeartbeat", 1, 1),
    Api::new("ShareGroupDescribe", 1, 1),
    Api::new("ShareFetch", 2, 1),
    Api::new("ShareAcknowledge", 2, 1),
    Api::new("AddRaftVoter", 1, 0),
    Api::new("RemoveRaftVoter", 0, 0),
    Api::new("UpdateRaftVoter", 0, 0),
    Api::new("InitializeShareGroupState", 0, 0),
    Api::new("ReadShareGroupState", 0, 0),
    Api::new("WriteShareGroupState", 1, 0),
    Api::new("DeleteShareGroupState", 0, 0),
    Api::new("ReadShareGroupStateSummary", 1, 0),
    Api::new("StreamsGroupHeartbeat", 0, 0),
    Api::new("StreamsGroupDescribe", 0, 0),
    Api::new("DescribeShareGroupOffsets", 1, 0),
    Api::new("AlterShareGroupOffsets", 0, 0),
    Api::new("DeleteShareGroupOffsets", 0, 0),
];
