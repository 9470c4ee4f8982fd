//! What each packet of an answer means.
//!
//! In: a packet and where its answer stands. Out: where it stands then. Nothing is guessed: what a packet means that depends on
//! capabilities nobody saw is taken from what stands in it, or is [`Effect::Unclear`].

use super::commands::Shape;
use super::errors::{self, Report};
use super::login::Capabilities;
use super::packet::{Packet, split_number};
use crate::{Code, Outcome};

const MORE_RESULTS: u16 = 1 << 3;
/// Rows come only when they are fetched.
const CURSOR_EXISTS: u16 = 1 << 6;
/// The packet that ended definitions and rows before OK did.
const EOF_BYTES: u64 = 5;
/// With this first byte a row would be longer than a packet can be.
const ENDS: u8 = 0xfe;
const ROW_BYTES_MIN: u64 = 0xff_ffff;
/// Each definition of a column begins with the name of the catalogue, which is always the same.
const DEFINITION: &[u8] = b"\x03def";

/// Where an answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// Before its first packet, or before that of a further result.
    First,
    /// So many definitions are to come.
    Definitions {
        left: u64,
        then: Then,
    },
    /// A packet that ends the definitions may be to come.
    DefinitionsEnd(Then),
    Rows,
}

/// What comes behind definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Rows,
    Columns(u64),
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    GoesOn(Walk),
    Done,
    Failed(Code, Outcome),
    /// The statement has this id; then it goes on, or it is done.
    Prepared([u8; 4], Option<Walk>),
    /// The client has to say more, such as a password in another form.
    Interactive,
    /// The client has to send a file.
    WantsFile,
    /// Packets without an end.
    TakesOver,
    /// It cannot be told.
    Unclear,
    /// It is no answer to what was asked.
    Wrong,
}

/// `deprecates_eof`: whether definitions end without a packet of their own; learnt where it shows.
pub(super) fn step(
    (shape, walk): (Shape, Walk),
    packet: &Packet<'_>,
    capabilities: Option<Capabilities>,
    deprecates_eof: &mut Option<bool>,
) -> Effect {
    let Some(first) = packet.head.first() else {
        // Only a row has nothing in it, if its table has no columns.
        return if packet.length > 0 { Effect::Unclear } else { Effect::Wrong };
    };
    if *first == 0xff {
        return match errors::read(packet.head) {
            Report::Progress => Effect::GoesOn(walk),
            Report::Failure(code, outcome) => Effect::Failed(code, outcome),
            Report::Unseen => Effect::Unclear,
        };
    }
    match (walk, shape) {
        (Walk::First, Shape::Rows) | (Walk::Rows, _) => row(shape, packet),
        (Walk::First, _) => first_packet(shape, packet, capabilities, *deprecates_eof),
        (Walk::Definitions { left, then }, _) => {
            let is_definition = packet.head.iter().zip(DEFINITION).all(|(byte, expected)| byte == expected);
            match (is_definition, left) {
                (false, _) => Effect::Wrong,
                (true, 0 | 1) => behind_definitions(then, *deprecates_eof),
                (true, _) => Effect::GoesOn(Walk::Definitions { left: left - 1, then }),
            }
        }
        (Walk::DefinitionsEnd(then), _) if *first == ENDS && packet.length == EOF_BYTES => {
            *deprecates_eof = Some(false);
            match status(packet) {
                None => Effect::Unclear,
                Some(status) if then == Then::Rows && status & CURSOR_EXISTS != 0 => behind_result(shape, status),
                Some(_) => begin(then),
            }
        }
        (Walk::DefinitionsEnd(Then::Nothing), _) => Effect::Wrong,
        (Walk::DefinitionsEnd(_), _) if *deprecates_eof == Some(false) => Effect::Wrong,
        (Walk::DefinitionsEnd(then), _) => match begin(then) {
            // Nothing ended them, so nothing ever does.
            Effect::GoesOn(walk) => {
                *deprecates_eof = Some(true);
                step((shape, walk), packet, capabilities, deprecates_eof)
            }
            effect => effect,
        },
    }
}

fn first_packet(
    shape: Shape,
    packet: &Packet<'_>,
    capabilities: Option<Capabilities>,
    deprecates_eof: Option<bool>,
) -> Effect {
    let first = packet.head.first().copied().unwrap_or_default();
    match (shape, first) {
        (Shape::Text, _) | (Shape::Single, 0 | ENDS) => Effect::Done,
        (Shape::Single, _) => Effect::Wrong,
        (Shape::Login, 0) => Effect::Done,
        (Shape::Login, _) => Effect::Interactive,
        (Shape::Stream, ENDS) if packet.length == EOF_BYTES => Effect::Done,
        (Shape::Stream, _) => Effect::TakesOver,
        (Shape::Definitions, ENDS) => Effect::Done,
        (Shape::Definitions, _) if packet.head.starts_with(DEFINITION) => Effect::GoesOn(Walk::First),
        (Shape::Definitions, _) => Effect::Wrong,
        (Shape::Prepared, 0) => prepared(packet, deprecates_eof),
        (Shape::Prepared, _) => Effect::Wrong,
        (Shape::Results | Shape::Rows, 0) => match status(packet) {
            Some(status) => behind_result(shape, status),
            None => Effect::Unclear,
        },
        (Shape::Results | Shape::Rows, 0xfb) => Effect::WantsFile,
        (Shape::Results | Shape::Rows, ENDS) => Effect::Wrong,
        (Shape::Results | Shape::Rows, _) => columns(packet, capabilities, deprecates_eof),
    }
}

/// The number of columns stands alone, unless the client may know them from before.
fn columns(packet: &Packet<'_>, capabilities: Option<Capabilities>, deprecates_eof: Option<bool>) -> Effect {
    let definitions = |left| Effect::GoesOn(Walk::Definitions { left, then: Then::Rows });
    match split_number(packet.head) {
        Some((count, [])) if packet.length == packet.head.len() as u64 => definitions(count),
        Some((count, [follow])) if packet.length == packet.head.len() as u64 => match (capabilities, follow) {
            (Some(capabilities), 1) if capabilities.caches_metadata() => definitions(count),
            (Some(capabilities), 0) if capabilities.caches_metadata() => behind_definitions(Then::Rows, deprecates_eof),
            _ => Effect::Unclear,
        },
        // Definitions, rows, or another protocol: a number of columns is short.
        _ if packet.length > 10 => Effect::Wrong,
        _ => Effect::Unclear,
    }
}

fn prepared(packet: &Packet<'_>, deprecates_eof: Option<bool>) -> Effect {
    let Some([_, id @ .., c, d, e, f]) = packet.head.first_chunk::<9>() else { return Effect::Unclear };
    let columns = u64::from(u16::from_le_bytes([*c, *d]));
    let parameters = u64::from(u16::from_le_bytes([*e, *f]));
    // Behind the warnings may stand that no definitions follow.
    let has_none = packet.length > 12 && packet.head.get(12) == Some(&0);
    let walk = match (parameters, columns) {
        _ if has_none && deprecates_eof != Some(true) => return Effect::Unclear,
        _ if has_none => None,
        (0, 0) => None,
        (0, columns) => Some(Walk::Definitions { left: columns, then: Then::Nothing }),
        (parameters, 0) => Some(Walk::Definitions { left: parameters, then: Then::Nothing }),
        (parameters, columns) => Some(Walk::Definitions { left: parameters, then: Then::Columns(columns) }),
    };
    Effect::Prepared(*id, walk)
}

/// All definitions have come.
fn behind_definitions(then: Then, deprecates_eof: Option<bool>) -> Effect {
    match deprecates_eof {
        Some(true) => begin(then),
        _ => Effect::GoesOn(Walk::DefinitionsEnd(then)),
    }
}

fn begin(then: Then) -> Effect {
    match then {
        Then::Rows => Effect::GoesOn(Walk::Rows),
        Then::Columns(left) => Effect::GoesOn(Walk::Definitions { left, then: Then::Nothing }),
        Then::Nothing => Effect::Done,
    }
}

fn row(shape: Shape, packet: &Packet<'_>) -> Effect {
    if packet.head.first() != Some(&ENDS) || packet.length >= ROW_BYTES_MIN {
        return Effect::GoesOn(Walk::Rows);
    }
    match status(packet) {
        Some(status) => behind_result(shape, status),
        None => Effect::Unclear,
    }
}

fn behind_result(shape: Shape, status: u16) -> Effect {
    if status & MORE_RESULTS != 0 && shape == Shape::Results { Effect::GoesOn(Walk::First) } else { Effect::Done }
}

/// What OK or EOF says of the session; None if it was not captured.
fn status(packet: &Packet<'_>) -> Option<u16> {
    let rest = packet.head.get(1..)?;
    let bytes = if packet.head.first() == Some(&ENDS) && packet.length == EOF_BYTES {
        rest.get(2..4)?
    } else {
        let (_changed_rows, rest) = split_number(rest)?;
        let (_inserted_id, rest) = split_number(rest)?;
        rest.get(..2)?
    };
    Some(u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// Whether these bytes, the last ones of a call, end with a packet that ends the rows of a result, and no further one follows.
pub(super) fn ends_rows(bytes: &[u8], deprecates_eof: bool) -> bool {
    let status = if deprecates_eof {
        match bytes.last_chunk::<11>() {
            Some([7, 0, 0, _, ENDS, 0, 0, low, high, _, _]) => u16::from_le_bytes([*low, *high]),
            _ => return false,
        }
    } else {
        match bytes.last_chunk::<9>() {
            Some([5, 0, 0, _, ENDS, _, _, low, high]) => u16::from_le_bytes([*low, *high]),
            _ => return false,
        }
    };
    status & MORE_RESULTS == 0
}
