//! Names of topics, and the numbers that stand for them (MQTT 5.0, 3.3.2.3.4).
//!
//! Bound: so many numbers of a direction; those beyond it are not known.

use super::packet::{Packet, number_of_variable_length};
use crate::operation;
use crate::resource::BYTES_MAX;

/// Numbers of topics that are known of one direction. Brokers grant ten or so.
const ALIASES_MAX: usize = 64;

/// A topic or filter without its identifiers.
pub(super) fn name(topic: &[u8]) -> Box<str> {
    let mut name = operation::topic(&String::from_utf8_lossy(topic));
    name.truncate(name.floor_char_boundary(BYTES_MAX));
    name.into_boxed_str()
}

/// The topics of one direction that have a number.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    known: Vec<(u16, Box<str>)>,
}

impl Aliases {
    /// The name of a PUBLISH's topic; None if what its number stands for was not seen.
    pub fn name(&mut self, packet: &Packet, may_have_number: bool) -> Option<Box<str>> {
        let topic = packet.topic()?;
        if !may_have_number {
            return (!topic.is_empty()).then(|| name(topic));
        }
        let number = packet.properties().and_then(|properties| alias(properties).ok());
        if topic.is_empty() {
            let number = number??;
            return self.known.iter().find(|(known, _)| *known == number).map(|(_, name)| name.clone());
        }
        let name = name(topic);
        match number {
            Some(Some(number)) => self.learn(number, &name),
            Some(None) => {}
            // It may have given any number.
            None => self.known.clear(),
        }
        Some(name)
    }

    fn learn(&mut self, number: u16, name: &str) {
        if let Some((_, known)) = self.known.iter_mut().find(|(known, _)| *known == number) {
            *known = name.into();
        } else if self.known.len() < ALIASES_MAX {
            self.known.push((number, name.into()));
        }
    }

    /// Something was missed.
    pub fn forget(&mut self) {
        self.known = Vec::new();
    }

    pub fn heap_bytes(&self) -> usize {
        self.known.capacity() * size_of::<(u16, Box<str>)>()
            + self.known.iter().map(|(_, name)| name.len()).sum::<usize>()
    }
}

/// The properties are cut off, or none that a PUBLISH can have.
struct Unclear;

/// The number of a topic among a PUBLISH's properties.
fn alias(bytes: &[u8]) -> Result<Option<u16>, Unclear> {
    let (length, behind) = number_of_variable_length(bytes).ok_or(Unclear)?;
    let mut rest = &bytes[behind..];
    let mut left = length as usize;
    while left > 0 {
        let (kind, value) = rest.split_first().ok_or(Unclear)?;
        let text = |at: usize| Some(2 + usize::from(u16::from_be_bytes([*value.get(at)?, *value.get(at + 1)?])));
        let value_bytes = match kind {
            0x23 => return Ok(Some(u16::from_be_bytes(*value.first_chunk().ok_or(Unclear)?))),
            0x01 => Some(1),
            0x02 => Some(4),
            0x0b => number_of_variable_length(value).map(|(_, bytes)| bytes),
            0x03 | 0x08 | 0x09 => text(0),
            0x26 => text(0).and_then(|name| Some(name + text(name)?)),
            _ => None,
        };
        let bytes = value_bytes.ok_or(Unclear)? + 1;
        left = left.checked_sub(bytes).ok_or(Unclear)?;
        // What is left is more than what was captured, unless nothing is left.
        rest = rest.get(bytes..).or((left == 0).then_some(&[])).ok_or(Unclear)?;
    }
    Ok(None)
}
