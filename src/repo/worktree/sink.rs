//! A file of the work tree while it is written, with holes where the bytes are zero.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Result, WorkTreeError};
use crate::path::RepoPath;

/// Unit of holes: the block of common file systems.
const BLOCK: usize = 4 << 10;

/// Takes the bytes of a new file, in order or by position. No byte may be given twice: what is
/// zero is left out, not written.
#[derive(Debug)]
pub struct FileSink {
    file: File,
    path: RepoPath,
    /// Where sequential writing goes on.
    position: u64,
    /// End of the file as far as it is known.
    len: AtomicU64,
    /// End of what was really written.
    written: AtomicU64,
}

impl FileSink {
    /// Shortest run of zeros, in whole blocks, that becomes a hole.
    pub const MIN_HOLE: usize = 32 << 10;

    pub(super) fn new(file: File, path: RepoPath) -> Self {
        Self { file, path, position: 0, len: AtomicU64::new(0), written: AtomicU64::new(0) }
    }

    /// Writes behind what was written in order before.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_at(self.position, bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Leaves a hole of `len` bytes behind what was written in order before.
    pub fn skip(&mut self, len: u64) {
        self.position = self.position.saturating_add(len);
        self.len.fetch_max(self.position, Ordering::Relaxed);
    }

    /// Makes the file at least `len` bytes long; what is not written in it is zeros.
    pub fn extend_to(&self, len: u64) {
        self.len.fetch_max(len, Ordering::Relaxed);
    }

    /// Writes at a position; threads may write different parts at once.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.len.fetch_max(offset.saturating_add(bytes.len() as u64), Ordering::Relaxed);
        let mut at = 0;
        while at < bytes.len() {
            let hole = next_hole(offset, bytes, at);
            self.write_piece(offset + at as u64, &bytes[at..hole.start])?;
            at = hole.end;
        }
        Ok(())
    }

    fn write_piece(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file
            .write_all_at(bytes, offset)
            .map_err(|error| WorkTreeError::io("write", &self.path, error))?;
        self.written.fetch_max(offset + bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Sets the final length, where the file ends in a hole.
    pub(super) fn finish(self) -> Result<File> {
        let len = self.len.into_inner();
        if len > self.written.into_inner() {
            self.file
                .set_len(len)
                .map_err(|error| WorkTreeError::io("write", &self.path, error))?;
        }
        Ok(self.file)
    }
}

/// The next run of zero blocks at or behind `from` that is long enough; empty at the end where
/// there is none. Blocks are counted in the file, not in the buffer.
fn next_hole(offset: u64, bytes: &[u8], from: usize) -> std::ops::Range<usize> {
    let misaligned = (offset + from as u64) % BLOCK as u64;
    let mut at = from + (BLOCK - misaligned as usize) % BLOCK;
    let mut start = at;
    while at + BLOCK <= bytes.len() {
        let zero = bytes[at..at + BLOCK] == [0; BLOCK];
        if !zero && at - start >= FileSink::MIN_HOLE {
            return start..at;
        }
        at += BLOCK;
        if !zero {
            start = at;
        }
    }
    if at.saturating_sub(start) >= FileSink::MIN_HOLE {
        start..at
    } else {
        bytes.len()..bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Read, Seek};

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            runs in proptest::collection::vec((any::<bool>(), 1usize..80_000), 1..8),
            cut in 1usize..50_000,
        ) {
            let bytes: Vec<u8> = runs
                .iter()
                .flat_map(|(zero, len)| std::iter::repeat_n(u8::from(!zero), *len))
                .collect();
            let mut sink = FileSink::new(tempfile::tempfile().unwrap(), RepoPath::root());
            for piece in bytes.chunks(cut) {
                sink.write(piece).unwrap();
            }
            let mut file = sink.finish().unwrap();
            let mut back = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut back).unwrap();
            prop_assert!(back == bytes);
        }
    }

    #[test]
    fn only_long_aligned_runs_are_holes() {
        let mut bytes = vec![1; 200_000];
        bytes[5_000..105_000].fill(0);
        assert_eq!(next_hole(0, &bytes, 0), 8192..102_400);
        assert_eq!(next_hole(4_000, &bytes, 0), 8_288..102_496);
        assert_eq!(next_hole(0, &bytes, 102_400), 200_000..200_000);
        assert_eq!(next_hole(0, &bytes[..30_000], 0), 30_000..30_000);
        assert_eq!(next_hole(0, &vec![0; 100_000], 0), 0..98_304);
    }
}
