//! The layouts of requests and answers, by key, as far as they lead to what is of use: topics, errors, and how long an answer may take.
//!
//! They are those of Kafka 4.3 (`clients/src/main/resources/common/message` of its sources) and of all versions before it.

use super::layout::Kind::{
    Acks, Bytes, Each, Error, ErrorOfAll, Forgotten, Id, Many, MaxWait, MinBytes, Name, Names, Numbers, SessionEpoch,
    Skip, Struct, Text,
};
use super::layout::{Field, all, between, from, until};

type Layout = &'static [Field];

/// Of a request; empty if nothing in it is of use.
pub fn of_request(key: i16, version: i16) -> Layout {
    match (key, version) {
        (0, _) => PRODUCE,
        (1, _) => FETCH,
        (2, _) => LIST_OFFSETS,
        (3, _) => METADATA_ASKED,
        (8, _) => OFFSET_COMMIT,
        (9, ..8) => OFFSET_FETCH_OF_ONE_GROUP,
        (9, _) => OFFSET_FETCH,
        (19, _) => CREATE_TOPICS,
        (20, ..6) => DELETE_TOPICS_BY_NAME,
        (20, _) => DELETE_TOPICS,
        (21, _) => DELETE_RECORDS,
        (23, _) => OFFSET_FOR_LEADER_EPOCH,
        (24, ..4) => ADD_PARTITIONS_TO_TXN,
        (28, _) => TXN_OFFSET_COMMIT,
        (37, _) => CREATE_PARTITIONS,
        (47, _) => OFFSET_DELETE,
        (75, _) => DESCRIBE_TOPIC_PARTITIONS,
        (78, _) => SHARE_FETCH,
        _ => const { &[] },
    }
}

/// Of an answer; empty if it is not known here how it tells of errors.
pub fn of_answer(key: i16, version: i16) -> Layout {
    match (key, version) {
        (0, _) => PRODUCED,
        (1, _) => FETCHED,
        (2, _) => OFFSETS_LISTED,
        (3, _) => METADATA,
        (8, _) => OFFSETS_COMMITTED,
        (9, 2..8) => OFFSETS_FETCHED,
        (9, 8..) => OFFSETS_OF_GROUPS_FETCHED,
        (10, ..4) | (12 | 13 | 14 | 16, _) => ERROR_BEHIND_THROTTLE,
        (10, _) => COORDINATORS_FOUND,
        (11, _) => GROUP_JOINED,
        (17 | 18 | 36 | 47, _) => ERROR_FIRST,
        (22 | 25 | 26 | 60 | 68 | 71 | 72 | 76 | 88, _) => ERROR_SECOND,
        (19, _) => TOPICS_CREATED,
        (20, _) => TOPICS_DELETED,
        (21, _) => RECORDS_DELETED,
        (23, _) => OFFSETS_OF_EPOCHS,
        (24, ..4) | (28, _) => PARTITIONS_OF_TXN,
        (37, _) => PARTITIONS_CREATED,
        (78, _) => SHARED_FETCHED,
        _ => const { &[] },
    }
}

const PRODUCE: Layout = &[
    from(3, Text),
    all(Acks),
    all(Skip(4)),
    all(Each(&[until(12, Name), from(13, Id), all(Many(&[all(Skip(4)), all(Bytes)]))])),
];

const PRODUCED: Layout = &[all(Each(&[
    until(12, Text),
    from(13, Skip(16)),
    all(Each(&[
        all(Skip(4)),
        all(Error),
        all(Skip(8)),
        from(2, Skip(8)),
        from(5, Skip(8)),
        from(8, Many(&[all(Skip(4)), all(Text)])),
        from(8, Text),
    ])),
]))];

const FETCH: Layout = &[
    until(14, Skip(4)),
    all(MaxWait),
    all(MinBytes),
    from(3, Skip(4)),
    from(4, Skip(1)),
    from(7, Skip(4)),
    from(7, SessionEpoch),
    all(Each(&[
        until(12, Name),
        from(13, Id),
        all(Many(&[all(Skip(4)), from(9, Skip(4)), all(Skip(8)), from(12, Skip(4)), from(5, Skip(8)), all(Skip(4))])),
    ])),
    from(7, Forgotten(&[until(12, Text), from(13, Skip(16)), all(Numbers(4))])),
];

const FETCHED: Layout = &[
    from(1, Skip(4)),
    from(7, ErrorOfAll),
    from(7, Skip(4)),
    all(Each(&[
        until(12, Text),
        from(13, Skip(16)),
        all(Each(&[
            all(Skip(4)),
            all(Error),
            all(Skip(8)),
            from(4, Skip(8)),
            from(5, Skip(8)),
            from(4, Many(&[all(Skip(16))])),
            from(11, Skip(4)),
            all(Bytes),
        ])),
    ])),
];

const LIST_OFFSETS: Layout = &[
    all(Skip(4)),
    from(2, Skip(1)),
    all(Each(&[all(Name), all(Many(&[all(Skip(4)), from(4, Skip(4)), all(Skip(8)), until(0, Skip(4))]))])),
];

const OFFSETS_LISTED: Layout = &[
    from(2, Skip(4)),
    all(Each(&[
        all(Text),
        all(Each(&[all(Skip(4)), all(Error), until(0, Numbers(8)), from(1, Skip(16)), from(4, Skip(4))])),
    ])),
];

const METADATA: Layout = &[
    from(3, Skip(4)),
    all(Many(&[all(Skip(4)), all(Text), all(Skip(4)), from(1, Text)])),
    from(2, Text),
    from(1, Skip(4)),
    all(Each(&[
        all(Error),
        all(Name),
        from(10, Id),
        from(1, Skip(1)),
        all(Many(&[all(Skip(10)), from(7, Skip(4)), all(Numbers(4)), all(Numbers(4)), from(5, Numbers(4))])),
        from(8, Skip(4)),
    ])),
    between(8, 10, Skip(4)),
    from(13, ErrorOfAll),
];

const OFFSET_COMMIT: Layout = &[
    all(Text),
    from(1, Skip(4)),
    from(1, Text),
    from(7, Text),
    between(2, 4, Skip(8)),
    all(Each(&[
        until(9, Name),
        from(10, Id),
        all(Many(&[all(Skip(12)), from(6, Skip(4)), between(1, 1, Skip(8)), all(Text)])),
    ])),
];

const OFFSET_FETCH: Layout = &[all(Each(&[
    all(Text),
    from(9, Text),
    from(9, Skip(4)),
    all(Each(&[until(9, Name), from(10, Id), all(Numbers(4))])),
]))];

const OFFSETS_FETCHED: Layout = &[
    from(3, Skip(4)),
    all(Many(&[all(Text), all(Many(&[all(Skip(12)), from(5, Skip(4)), all(Text), all(ErrorOfAll)]))])),
    all(Error),
];

const OFFSETS_OF_GROUPS_FETCHED: Layout = &[
    all(Skip(4)),
    all(Each(&[
        all(Text),
        all(Many(&[until(9, Text), from(10, Skip(16)), all(Many(&[all(Skip(16)), all(Text), all(ErrorOfAll)]))])),
        all(Error),
    ])),
];

const TOPICS_CREATED: Layout = &[
    from(2, Skip(4)),
    all(Each(&[
        all(Name),
        from(7, Id),
        all(Error),
        from(1, Text),
        from(5, Skip(6)),
        from(5, Many(&[all(Text), all(Text), all(Skip(3))])),
    ])),
];

const TXN_OFFSET_COMMIT: Layout = &[
    all(Text),
    all(Text),
    all(Skip(10)),
    from(3, Skip(4)),
    from(3, Text),
    from(3, Text),
    all(Each(&[all(Name), all(Many(&[all(Skip(12)), from(2, Skip(4)), all(Text)]))])),
];

const SHARE_FETCH: Layout = &[
    all(Text),
    all(Text),
    all(SessionEpoch),
    all(MaxWait),
    all(MinBytes),
    all(Skip(12)),
    from(2, Skip(2)),
    all(Each(&[all(Id), all(Many(&[all(Skip(4)), all(Many(&[all(Skip(16)), all(Numbers(1))]))]))])),
    all(Forgotten(&[all(Skip(16)), all(Numbers(4))])),
];

const SHARED_FETCHED: Layout = &[
    all(Skip(4)),
    all(ErrorOfAll),
    all(Text),
    all(Skip(4)),
    all(Each(&[
        all(Skip(16)),
        all(Each(&[
            all(Skip(4)),
            all(Error),
            all(Text),
            all(ErrorOfAll),
            all(Text),
            all(Struct(&[all(Skip(8))])),
            all(Bytes),
            all(Many(&[all(Skip(18))])),
        ])),
    ])),
];

const METADATA_ASKED: Layout = &[all(Each(&[from(10, Id), all(Name)]))];

const OFFSET_FETCH_OF_ONE_GROUP: Layout = &[all(Text), all(Each(&[all(Name), all(Numbers(4))]))];

const CREATE_TOPICS: Layout = &[all(Each(&[
    all(Name),
    all(Skip(6)),
    all(Many(&[all(Skip(4)), all(Numbers(4))])),
    all(Many(&[all(Text), all(Text)])),
]))];

const DELETE_TOPICS_BY_NAME: Layout = &[all(Names)];

const DELETE_TOPICS: Layout = &[all(Each(&[all(Name), all(Id)]))];

const DELETE_RECORDS: Layout = &[all(Each(&[all(Name), all(Many(&[all(Skip(12))]))]))];

const OFFSET_FOR_LEADER_EPOCH: Layout =
    &[from(3, Skip(4)), all(Each(&[all(Name), all(Many(&[from(2, Skip(4)), all(Skip(8))]))]))];

const ADD_PARTITIONS_TO_TXN: Layout = &[all(Text), all(Skip(10)), all(Each(&[all(Name), all(Numbers(4))]))];

const CREATE_PARTITIONS: Layout = &[all(Each(&[all(Name), all(Skip(4)), all(Many(&[all(Numbers(4))]))]))];

const OFFSET_DELETE: Layout = &[all(Text), all(Each(&[all(Name), all(Many(&[all(Skip(4))]))]))];

const DESCRIBE_TOPIC_PARTITIONS: Layout = &[all(Each(&[all(Name)]))];

const OFFSETS_COMMITTED: Layout =
    &[from(3, Skip(4)), all(Each(&[until(9, Text), from(10, Skip(16)), all(Each(&[all(Skip(4)), all(Error)]))]))];

const ERROR_BEHIND_THROTTLE: Layout = &[from(1, Skip(4)), all(Error)];

const COORDINATORS_FOUND: Layout =
    &[all(Skip(4)), all(Each(&[all(Text), all(Skip(4)), all(Text), all(Skip(4)), all(Error), all(Text)]))];

const GROUP_JOINED: Layout = &[from(2, Skip(4)), all(Error)];

const ERROR_FIRST: Layout = &[all(Error)];

const ERROR_SECOND: Layout = &[all(Skip(4)), all(Error)];

const TOPICS_DELETED: Layout =
    &[from(1, Skip(4)), all(Each(&[all(Text), from(6, Skip(16)), all(Error), from(5, Text)]))];

const RECORDS_DELETED: Layout = &[all(Skip(4)), all(Each(&[all(Text), all(Each(&[all(Skip(12)), all(Error)]))]))];

const OFFSETS_OF_EPOCHS: Layout = &[
    from(2, Skip(4)),
    all(Each(&[all(Text), all(Each(&[all(Error), all(Skip(4)), from(1, Skip(4)), all(Skip(8))]))])),
];

const PARTITIONS_OF_TXN: Layout = &[all(Skip(4)), all(Each(&[all(Text), all(Each(&[all(Skip(4)), all(Error)]))]))];

const PARTITIONS_CREATED: Layout = &[all(Skip(4)), all(Each(&[all(Text), all(Error), all(Text)]))];
