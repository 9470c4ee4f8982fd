//! What comes out of the ring buffer, as references into it.

use headwater_probe_types::life::LifeEvent;
use headwater_probe_types::sums::ExchangeEvent;
use headwater_probe_types::{CgroupEvent, DataEvent, DatagramEvent, ProcessEvent, SocketEvent, SocketRecord, kind};

/// One event of the probes.
#[derive(Debug)]
pub enum Event<'a> {
    /// Bytes moved; the second part holds those that were captured.
    Data(DataEvent, &'a [u8]),
    /// A library of TLS encrypted bytes or gave them decrypted; see [`kind::PLAINTEXT`]. The second part holds those that were captured.
    Plaintext(DataEvent, &'a [u8]),
    /// What was told of ahead begins to leave; see [`kind::SENT`].
    Sent(DataEvent),
    /// The connection of what was told of under a key's number; see [`kind::TIED`].
    Tied(DataEvent),
    /// No more bytes follow in this direction: the program read the end of the stream, or ended the one that it writes.
    EndOfStream(DataEvent),
    /// An exchange that was to be added up and did not fit.
    Exchange(ExchangeEvent),
    /// A datagram of DNS was sent or received.
    Datagram(Box<DatagramEvent>),
    Open(SocketRecord),
    Close(SocketRecord),
    /// A process began a program, ended, or began or ended to listen.
    Life(Box<LifeEvent>),
    /// A cgroup was made, renamed or removed; with its path.
    Cgroup(CgroupEvent, &'a [u8]),
    /// A program uses its first socket, or something is told of its life; with its arguments and its environment, each word ended by a zero.
    Process(ProcessEvent, &'a [u8], &'a [u8]),
}

impl Event<'_> {
    /// When it happened (CLOCK_MONOTONIC), of those that tell it.
    pub fn at_ns(&self) -> Option<u64> {
        match self {
            Event::Data(event, _)
            | Event::Plaintext(event, _)
            | Event::Sent(event)
            | Event::Tied(event)
            | Event::EndOfStream(event) => Some(event.at_ns),
            Event::Exchange(event) => Some(event.exchange.completed_ns),
            Event::Datagram(event) => Some(event.at_ns),
            Event::Life(event) => Some(event.at_ns),
            Event::Open(socket) | Event::Close(socket) => Some(socket.at_ns),
            Event::Cgroup(..) | Event::Process(..) => None,
        }
    }

    /// Reads one record of the ring buffer; `None` if it is none of ours.
    pub fn parse(bytes: &[u8]) -> Option<Event<'_>> {
        let kind = u32::from_ne_bytes(*bytes.first_chunk()?);
        match kind {
            kind::DATA | kind::PLAINTEXT | kind::SENT | kind::TIED | kind::END_OF_STREAM => {
                let event: DataEvent = read(bytes)?;
                let captured = bytes.get(size_of::<DataEvent>()..)?.get(..event.captured_bytes as usize)?;
                Some(match kind {
                    kind::DATA => Event::Data(event, captured),
                    kind::PLAINTEXT => Event::Plaintext(event, captured),
                    kind::SENT => Event::Sent(event),
                    kind::TIED => Event::Tied(event),
                    _ => Event::EndOfStream(event),
                })
            }
            kind::EXCHANGE => Some(Event::Exchange(read(bytes)?)),
            kind::DATAGRAM => Some(Event::Datagram(Box::new(read(bytes)?))),
            kind::LIFE => Some(Event::Life(Box::new(read(bytes)?))),
            kind::OPEN => Some(Event::Open(read::<SocketEvent>(bytes)?.socket)),
            kind::CLOSE => Some(Event::Close(read::<SocketEvent>(bytes)?.socket)),
            kind::CGROUP => {
                let event: CgroupEvent = read(bytes)?;
                let path = bytes.get(size_of::<CgroupEvent>()..)?.get(..event.path_bytes as usize)?;
                Some(Event::Cgroup(event, path))
            }
            kind::PROCESS => {
                let event: ProcessEvent = read(bytes)?;
                let words = bytes.get(size_of::<ProcessEvent>()..)?;
                let (arguments, rest) = words.split_at_checked(event.arguments_bytes as usize)?;
                Some(Event::Process(event, arguments, rest.get(..event.environment_bytes as usize)?))
            }
            _ => None,
        }
    }
}

/// Plain data of the probes: integers without padding, so any bytes are a value.
///
/// # Safety
/// Only for `repr(C)` types made of integers and arrays of integers, without padding.
pub unsafe trait Plain: Copy {}

// SAFETY: repr(C), integers only; headwater-probe-types asserts their sizes.
unsafe impl Plain for DataEvent {}
// SAFETY: as above.
unsafe impl Plain for DatagramEvent {}
// SAFETY: as above.
unsafe impl Plain for LifeEvent {}
// SAFETY: as above.
unsafe impl Plain for SocketEvent {}
// SAFETY: as above.
unsafe impl Plain for SocketRecord {}
// SAFETY: as above.
unsafe impl Plain for ExchangeEvent {}
// SAFETY: as above.
unsafe impl Plain for CgroupEvent {}
// SAFETY: as above.
unsafe impl Plain for ProcessEvent {}

/// Copies a value from the start of `bytes`; `None` if they are too few.
pub fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: there are enough bytes, the read need not be aligned, and any bytes are a value of a Plain type.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_foreign_records_are_refused() {
        assert!(Event::parse(&[]).is_none());
        assert!(Event::parse(&[9, 0, 0, 0, 1, 2, 3]).is_none());
        let mut bytes = [0_u8; size_of::<DataEvent>() + 12];
        bytes[..4].copy_from_slice(&kind::DATA.to_ne_bytes());
        bytes[4..8].copy_from_slice(&12_u32.to_ne_bytes());
        assert!(matches!(Event::parse(&bytes), Some(Event::Data(_, captured)) if captured.len() == 12));
        bytes[4..8].copy_from_slice(&13_u32.to_ne_bytes());
        assert!(Event::parse(&bytes).is_none());
        bytes[..4].copy_from_slice(&kind::CLOSE.to_ne_bytes());
        assert!(Event::parse(&bytes).is_none());
        bytes[..4].copy_from_slice(&kind::CGROUP.to_ne_bytes());
        bytes[12..16].copy_from_slice(&44_u32.to_ne_bytes());
        assert!(matches!(Event::parse(&bytes), Some(Event::Cgroup(_, path)) if path.len() == 44));
        bytes[12..16].copy_from_slice(&45_u32.to_ne_bytes());
        assert!(Event::parse(&bytes).is_none());
        let mut bytes = [0_u8; 116];
        bytes[..4].copy_from_slice(&kind::PROCESS.to_ne_bytes());
        bytes[20..24].copy_from_slice(&3_u32.to_ne_bytes());
        bytes[24..28].copy_from_slice(&1_u32.to_ne_bytes());
        assert!(matches!(Event::parse(&bytes), Some(Event::Process(_, [0, 0, 0], [0]))));
        bytes[24..28].copy_from_slice(&2_u32.to_ne_bytes());
        assert!(Event::parse(&bytes).is_none());
    }
}
