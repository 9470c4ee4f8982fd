//! The commands that MongoDB's manual lists (<https://www.mongodb.com/docs/manual/reference/command/>), and those with which members of a replica set and
//! clients that log in speak to servers.

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// As the manual writes it.
    pub name: &'static str,
    /// Where the collection stands that it is about.
    pub about: About,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// It is the command's own value, where that is a text.
    Collection,
    /// It is the value of `collection`.
    Cursor,
    /// It is about no collection, or about several.
    Database,
}

impl Command {
    /// None if the manual lists no such command.
    pub fn of(name: &[u8]) -> Option<Self> {
        let name = str::from_utf8(name).ok()?;
        let name = OLD_NAMES.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new);
        let of = |names: &'static [&'static str], about: About| {
            let at = names.binary_search(&name).ok()?;
            Some(Self { name: names[at], about })
        };
        if name == "getMore" {
            return Some(Self { name: "getMore", about: About::Cursor });
        }
        of(&OF_COLLECTIONS, About::Collection).or_else(|| of(OTHERS, About::Database))
    }

    /// A client asks by it what the server is.
    pub fn is_hello(self) -> bool {
        matches!(self.name, "hello" | "isMaster")
    }
}

/// Names that servers take, too, or took.
const OLD_NAMES: [(&str, &str); 8] = [
    ("buildinfo", "buildInfo"),
    ("collstats", "collStats"),
    ("dbstats", "dbStats"),
    ("deleteIndexes", "dropIndexes"),
    ("findandmodify", "findAndModify"),
    ("getlasterror", "getLastError"),
    ("ismaster", "isMaster"),
    ("mapreduce", "mapReduce"),
];

/// In the order of their bytes, as the others.
const OF_COLLECTIONS: [&str; 37] = [
    "aggregate",
    "cleanupOrphaned",
    "cloneCollectionAsCapped",
    "collMod",
    "collStats",
    "compact",
    "compactStructuredEncryptionData",
    "convertToCapped",
    "count",
    "create",
    "createIndexes",
    "createSearchIndexes",
    "delete",
    "distinct",
    "drop",
    "dropIndexes",
    "dropSearchIndex",
    "find",
    "findAndModify",
    "geoSearch",
    "insert",
    "killCursors",
    "listIndexes",
    "listSearchIndexes",
    "mapReduce",
    "parallelCollectionScan",
    "planCacheClear",
    "planCacheClearFilters",
    "planCacheListFilters",
    "planCacheListPlans",
    "planCacheListQueryShapes",
    "planCacheSetFilter",
    "reIndex",
    "setIndexCommitQuorum",
    "update",
    "updateSearchIndex",
    "validate",
];

const OTHERS: &[&str] = &[
    "_isSelf",
    "abortMoveCollection",
    "abortReshardCollection",
    "abortTransaction",
    "abortUnshardCollection",
    "addShard",
    "addShardToZone",
    "analyzeShardKey",
    "appendOplogNote",
    "applyOps",
    "authenticate",
    "availableQueryOptions",
    "balancerCollectionStatus",
    "balancerStart",
    "balancerStatus",
    "balancerStop",
    "buildInfo",
    "bulkWrite",
    "checkShardingIndex",
    "cleanupReshardCollection",
    "clearJumboFlag",
    "commitReshardCollection",
    "commitTransaction",
    "configureCollectionBalancing",
    "configureFailPoint",
    "configureQueryAnalyzer",
    "connPoolStats",
    "connPoolSync",
    "connectionStatus",
    "createRole",
    "createUser",
    "currentOp",
    "cursorInfo",
    "dataSize",
    "dbHash",
    "dbStats",
    "driverOIDTest",
    "dropAllRolesFromDatabase",
    "dropAllUsersFromDatabase",
    "dropConnections",
    "dropDatabase",
    "dropRole",
    "dropUser",
    "enableSharding",
    "endSessions",
    "eval",
    "explain",
    "features",
    "filemd5",
    "flushRouterConfig",
    "fsync",
    "fsyncUnlock",
    "getAuditConfig",
    "getClusterParameter",
    "getCmdLineOpts",
    "getDefaultRWConcern",
    "getLastError",
    "getLog",
    "getParameter",
    "getShardMap",
    "getShardVersion",
    "getnonce",
    "grantPrivilegesToRole",
    "grantRolesToRole",
    "grantRolesToUser",
    "hello",
    "hostInfo",
    "invalidateUserCache",
    "isMaster",
    "isdbgrid",
    "killAllSessions",
    "killAllSessionsByPattern",
    "killOp",
    "killSessions",
    "listCollections",
    "listCommands",
    "listDatabases",
    "listShards",
    "lockInfo",
    "logApplicationMessage",
    "logRotate",
    "logout",
    "mergeChunks",
    "moveChunk",
    "moveCollection",
    "movePrimary",
    "moveRange",
    "netstat",
    "ping",
    "profile",
    "refineCollectionShardKey",
    "refreshSessions",
    "removeQuerySettings",
    "removeShard",
    "removeShardFromZone",
    "renameCollection",
    "replSetAbortPrimaryCatchUp",
    "replSetFreeze",
    "replSetGetConfig",
    "replSetGetRBID",
    "replSetGetStatus",
    "replSetHeartbeat",
    "replSetInitiate",
    "replSetMaintenance",
    "replSetReconfig",
    "replSetRequestVotes",
    "replSetResizeOplog",
    "replSetStepDown",
    "replSetSyncFrom",
    "replSetUpdatePosition",
    "resetError",
    "reshardCollection",
    "resync",
    "revokePrivilegesFromRole",
    "revokeRolesFromRole",
    "revokeRolesFromUser",
    "rolesInfo",
    "rotateCertificates",
    "saslContinue",
    "saslStart",
    "serverStatus",
    "setAllowMigrations",
    "setAuditConfig",
    "setClusterParameter",
    "setDefaultRWConcern",
    "setFeatureCompatibilityVersion",
    "setFreeMonitoring",
    "setParameter",
    "setQuerySettings",
    "setShardVersion",
    "setUserWriteBlockMode",
    "shardCollection",
    "shardConnPoolStats",
    "shardingState",
    "shutdown",
    "split",
    "splitChunk",
    "splitVector",
    "startSession",
    "top",
    "transitionFromDedicatedConfigServer",
    "transitionToDedicatedConfigServer",
    "unsetSharding",
    "unshardCollection",
    "updateRole",
    "updateUser",
    "updateZoneKeyRange",
    "usersInfo",
    "validateDBMetadata",
    "whatsmyuri",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_found_by_its_name_and_nothing_else_is_one() {
        for names in [&OF_COLLECTIONS[..], OTHERS] {
            assert!(names.is_sorted());
            for name in names {
                assert_eq!(Command::of(name.as_bytes()).map(|command| command.name), Some(*name));
            }
        }
        for (old, new) in OLD_NAMES {
            assert_eq!(Command::of(old.as_bytes()).map(|command| command.name), Some(new));
        }
        for other in [&b"Find"[..], b"", b"finds", b"secret", b"\xff", b"$db"] {
            assert_eq!(Command::of(other), None);
        }
    }
}
