//! Reads a file of which nothing is believed, block by block.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memchr::memmem;

use super::Part;

/// What is read at a time.
const BLOCK_BYTES: usize = 256 << 10;

/// Blocks that are read of one file: half a gigabyte.
pub const READS_MAX: u32 = 2048;

/// A place that bytes are read from.
pub trait ReadAt {
    /// Reads some of the bytes from an offset on; none behind the end.
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for &File {
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(*self, to, offset)
    }
}

impl ReadAt for &[u8] {
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let bytes = rest.len().min(to.len());
        to[..bytes].copy_from_slice(&rest[..bytes]);
        Ok(bytes)
    }
}

/// See the module. Two blocks are kept, since tables refer to each other.
pub struct Blocks<R> {
    from: R,
    kept: [Block; 2],
    newest: usize,
    reads_left: u32,
}

#[derive(Default)]
struct Block {
    offset: u64,
    bytes: Vec<u8>,
}

impl Block {
    fn get(&self, offset: u64, bytes: usize) -> Option<&[u8]> {
        let at = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        self.bytes.get(at..at.checked_add(bytes)?)
    }
}

impl<R: ReadAt> Blocks<R> {
    pub fn new(from: R) -> Self {
        Self { from, kept: [Block::default(), Block::default()], newest: 0, reads_left: READS_MAX }
    }

    /// Bytes of the file; none where it has not so many, or too much was read of it.
    pub fn get(&mut self, offset: u64, bytes: usize) -> io::Result<Option<&[u8]>> {
        if bytes > BLOCK_BYTES {
            return Ok(None);
        }
        let at = match self.kept.iter().position(|block| block.get(offset, bytes).is_some()) {
            Some(at) => at,
            None => {
                let at = 1 - self.newest;
                if !self.read(at, offset)? {
                    return Ok(None);
                }
                at
            }
        };
        self.newest = at;
        Ok(self.kept[at].get(offset, bytes))
    }

    /// A number of four bytes, as Go and ELF have them on x86.
    pub fn u32(&mut self, offset: u64) -> io::Result<Option<u32>> {
        Ok(self.get(offset, 4)?.and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes))
    }

    /// A number of eight bytes.
    pub fn u64(&mut self, offset: u64) -> io::Result<Option<u64>> {
        Ok(self.get(offset, 8)?.and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes))
    }

    /// Where each of these strings stands in a part, between two zeroes; the first of each.
    pub fn find_strings<const N: usize>(&mut self, part: Part, names: [&str; N]) -> io::Result<[Option<u64>; N]> {
        let needles = names.map(|name| [b"\0", name.as_bytes(), b"\0"].concat());
        let finders = needles.each_ref().map(memmem::Finder::new);
        let longest = needles.iter().map(Vec::len).max().unwrap_or_default() as u64;
        let mut found = [None; N];
        let mut offset = part.offset;
        while offset < part.end() && found.contains(&None) {
            let at = 1 - self.newest;
            if !self.read(at, offset)? {
                break;
            }
            let bytes = &self.kept[at].bytes;
            let inside = usize::try_from(part.end() - offset).unwrap_or(usize::MAX).min(bytes.len());
            for (found, finder) in found.iter_mut().zip(&finders).filter(|(found, _)| found.is_none()) {
                *found = finder.find(&bytes[..inside]).map(|at| offset + at as u64 + 1);
            }
            if inside < BLOCK_BYTES {
                break;
            }
            // One that begins in this block may end in the next.
            offset = offset.saturating_add(inside as u64 - longest);
        }
        Ok(found)
    }

    /// Reads the block that begins at an offset. False if there is nothing, or too much was read.
    fn read(&mut self, at: usize, offset: u64) -> io::Result<bool> {
        let Some(left) = self.reads_left.checked_sub(1) else { return Ok(false) };
        self.reads_left = left;
        let block = &mut self.kept[at];
        block.offset = offset;
        block.bytes.resize(BLOCK_BYTES, 0);
        let mut read = 0;
        while read < BLOCK_BYTES {
            match self.from.read_at(&mut block.bytes[read..], offset.saturating_add(read as u64)) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    block.bytes.clear();
                    return Err(error);
                }
            }
        }
        block.bytes.truncate(read);
        Ok(read > 0)
    }
}
