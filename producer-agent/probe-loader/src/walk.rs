//! A walk over all captured sockets, a chunk at a time, so that the ring buffer is drained in between.

use std::fs::File;
use std::io::{ErrorKind, Read};

use headwater_probe_types::SocketRecord;

use crate::{LoadError, event};

/// Sockets that the kernel is asked for at a time: some hundred microseconds' work. Whole ones, so that none waits in the kernel while
/// the events that end it are drained.
const CHUNK_SOCKETS: usize = 93;

/// A walk that goes on. It ends when it is dropped.
#[derive(Debug)]
pub struct Walk<R = File> {
    file: R,
    /// What was read and is not a whole record yet stands at the front.
    bytes: Vec<u8>,
    partial_bytes: usize,
}

impl<R: Read> Walk<R> {
    pub(crate) fn new(file: R) -> Walk<R> {
        Walk { file, bytes: vec![0; CHUNK_SOCKETS * size_of::<SocketRecord>()], partial_bytes: 0 }
    }

    /// Gives some more sockets to `sink`, as they are now. Says whether there may be others. A socket that several processes hold open
    /// comes several times.
    pub fn next(&mut self, mut sink: impl FnMut(&SocketRecord)) -> Result<bool, LoadError> {
        let read_bytes = match self.file.read(&mut self.bytes[self.partial_bytes..]) {
            Ok(0) => return Ok(false),
            Ok(read_bytes) => read_bytes,
            // The kernel has looked at a million files and found no socket among them; it goes on where it was.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(true),
            Err(error) => return Err(walk_failed(error)),
        };
        let filled = self.partial_bytes + read_bytes;
        let whole = filled - filled % size_of::<SocketRecord>();
        self.bytes[..whole]
            .chunks_exact(size_of::<SocketRecord>())
            .filter_map(event::read::<SocketRecord>)
            .for_each(|record| sink(&record));
        self.bytes.copy_within(whole..filled, 0);
        self.partial_bytes = filled - whole;
        Ok(true)
    }
}

pub fn walk_failed(source: std::io::Error) -> LoadError {
    LoadError::Read { what: "the sockets", source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Gives its bytes in pieces of a length that fits no record, and would block before each.
    struct Pieces(Vec<u8>, bool);

    impl Read for Pieces {
        fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let length = self.0.len().min(100).min(room.len());
            room[..length].copy_from_slice(&self.0[..length]);
            self.0.drain(..length);
            Ok(length)
        }
    }

    #[test]
    fn sockets_come_whole_however_the_kernel_cuts_them() {
        let record_bytes = size_of::<SocketRecord>();
        let bytes: Vec<u8> =
            (0..300_u64).flat_map(|id| [&id.to_ne_bytes()[..], &vec![0; record_bytes - 8]].concat()).collect();
        let mut walk = Walk::new(Pieces(bytes, false));
        let mut ids = Vec::new();
        while walk.next(|socket| ids.push(socket.connection_id)).unwrap() {}
        assert_eq!(ids, (0..300).collect::<Vec<_>>());
    }
}
