//! The whole state of a join as bytes, so that whoever goes on with it need not read again what it remembers.
//!
//! In: a join whose outputs are taken, or bytes and what is committed. Out: bytes, or a join that goes on as the one did that wrote them, bit for bit.
//! Bytes of another version, of other settings, of another partition, or too old for what is committed are refused. Bounded by the bounds of the tables.
//!
//! The version stands for the form of everything that is written, wherever that is declared: a test holds both together.

use std::collections::{BTreeSet, VecDeque};

use headwater_schemas::place::{Offset, Partition};
use serde::{Deserialize, Serialize};

use super::counted::Counted;
use super::credits::Credits;
use super::items::{FlowItem, Told};
use super::lane::Lane;
use super::names::Names;
use super::symbols::Symbols;
use super::{FLOWS, Join, JoinSettings, REACH_WINDOWS, REQUESTS};
use crate::processor::{BadSnapshot, Checkpoint, Counters, Troubles};
use crate::windows::Window;

/// To be changed with any change of what is written.
const VERSION: u8 = 7;

/// About what one entry of a table takes, as measured.
const RECORD_BYTES: usize = 48;
const NAMES_BYTES: usize = 56;
const COUNTED_BYTES: usize = 36;
const CREDIT_BYTES: usize = 48;
/// Not measured: eight numbers, of five bytes each.
const SPAN_BYTES: usize = 40;

/// What stands behind the version. `T` borrows what is written, and owns what is read.
#[derive(Serialize, Deserialize)]
struct Written<S, N, C, K, F, R, P, W, L> {
    partition: Partition,
    settings: S,
    /// Where the log of progress, and the partition, are read on for flows and for requests.
    read_from: [(Offset, Offset); 2],
    published_through: Option<Window>,
    open: Option<Window>,
    complete: W,
    late: L,
    symbols: P,
    names: N,
    counted: C,
    credits: K,
    flows: F,
    requests: R,
}

type Owned = Written<
    JoinSettings,
    Names,
    Counted,
    Credits,
    Lane<FlowItem>,
    Lane<Told>,
    Symbols,
    VecDeque<Window>,
    BTreeSet<Window>,
>;

impl Join {
    /// A join that goes on from a snapshot, for a commit that it belongs to or one of a little later.
    ///
    /// # Errors
    /// If nobody can go on from these bytes: then what they stand for is read again.
    pub fn restore(
        partition: Partition,
        partitions: i32,
        settings: JoinSettings,
        checkpoints: &[Option<Checkpoint>],
        bytes: &[u8],
    ) -> Result<Join, BadSnapshot> {
        let refuse = |why: &str| BadSnapshot(why.to_owned());
        let [Some(of_flows), Some(of_requests), Some(of_progress)] = checkpoints else {
            return Err(refuse("nothing is committed"));
        };
        let (version, written) = bytes.split_first().ok_or_else(|| refuse("it is empty"))?;
        if *version != VERSION {
            return Err(BadSnapshot(format!("it has version {version}, this program writes {VERSION}")));
        }
        let (read, rest) = postcard::take_from_bytes::<Owned>(written)
            .map_err(|error| BadSnapshot(format!("it cannot be read: {error}")))?;
        if !rest.is_empty() || read.partition != partition {
            return Err(refuse("it is of another partition"));
        }
        if read.settings != settings {
            return Err(refuse("the settings were others"));
        }
        let memos = [&of_flows.memo, &of_requests.memo];
        let committed = memos.iter().filter_map(|memo| memo.closed_through_us).max().map(Window::starting_at);
        if committed < read.published_through {
            return Err(refuse("it is newer than what is committed"));
        }
        // Where windows were sealed is known of so many.
        let since = committed.map(|through| settings.windows.moved(through, 1 - REACH_WINDOWS));
        if read.open < since || memos.iter().any(|memo| memo.replay.is_some()) {
            return Err(refuse("it is too old"));
        }
        let mut join = Join {
            partition,
            partitions,
            symbols: read.symbols,
            names: read.names,
            counted: read.counted,
            credits: read.credits,
            flows: read.flows,
            requests: read.requests,
            open: read.open,
            published_through: committed,
            replay: None,
            complete: read.complete,
            late: read.late,
            outputs: Vec::new(),
            counters: Counters::default(),
            troubles: Troubles::default(),
            settings,
        };
        if !join.symbols_in_use().all(|symbol| join.symbols.has(symbol)) {
            return Err(refuse("it has names without a text"));
        }
        join.names.set_connections_max(join.settings.connections_max);
        join.counted.set_entries_max(join.settings.counted_max);
        join.credits.set_connections_max(join.settings.counted_max);
        join.flows.go_on(read.open, read.read_from[FLOWS], &of_flows.memo, &of_progress.memo);
        join.requests.go_on(read.open, read.read_from[REQUESTS], &of_requests.memo, &of_progress.memo);
        Ok(join)
    }

    /// Whether a snapshot of now says all. While windows are closed again, some of it stands beside the committed offset alone.
    pub(super) fn may_be_kept(&self) -> bool {
        let is_built_again = self.flows.is_built_again() || self.requests.is_built_again();
        let is_behind = self.open.is_none_or(|open| self.published_through.is_none_or(|through| open <= through));
        self.replay.is_none() && !is_built_again && !is_behind
    }

    /// About how many bytes there are to write.
    pub(super) fn bytes_about(&self) -> usize {
        (self.flows.records() + self.requests.records()) * RECORD_BYTES
            + self.names.len() * NAMES_BYTES
            + self.counted.len() * COUNTED_BYTES
            + self.credits.len() * CREDIT_BYTES
            + (self.flows.progress.spans() + self.requests.progress.spans()) * SPAN_BYTES
            + self.symbols.text_bytes()
    }

    pub(super) fn written(&self) -> Option<Vec<u8>> {
        let written = Written {
            partition: self.partition,
            settings: &self.settings,
            read_from: [self.flows.read_from(), self.requests.read_from()],
            published_through: self.published_through,
            open: self.open,
            complete: &self.complete,
            late: &self.late,
            symbols: &self.symbols,
            names: &self.names,
            counted: &self.counted,
            credits: &self.credits,
            flows: &self.flows,
            requests: &self.requests,
        };
        let mut bytes = Vec::with_capacity(1 + self.bytes_about());
        bytes.push(VERSION);
        match postcard::to_extend(&written, bytes) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                tracing::error!(%error, "a snapshot cannot be written");
                None
            }
        }
    }
}
