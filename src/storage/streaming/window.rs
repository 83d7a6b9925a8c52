//! The bytes of a file around one segment: read into a pooled buffer, mapped, or known to be a hole.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, LazyLock};

use rustix::fs::{SeekFrom, seek};
use rustix::io::{Errno, pread};

use super::ahead::AheadPermit;
use super::trace::Window;
use crate::metrics::PerformanceMetrics;
use crate::storage::cache::PooledBuffer;
use crate::storage::mapped::Mapped;

/// How a window gets its bytes.
pub(super) enum Source {
    /// Read piece by piece, as far as they are asked for.
    Read {
        /// What was read so far.
        buffer: PooledBuffer,
        /// Bytes of one read.
        step: usize,
    },
    /// Mapped as a whole.
    Mapped(Mapped),
    /// All zero, without a look at the file.
    Hole,
}

/// A window of a file from `start` to `end`; see [`Window`].
pub(super) struct SegmentWindow {
    file: Arc<File>,
    file_len: u64,
    start: u64,
    end: u64,
    source: Source,
    /// Held as long as the bytes are.
    _permit: Option<AheadPermit>,
}

/// Zeros to look at in the place of a hole. Never written, so the kernel backs all of it with one
/// page.
static ZEROS: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0; MAX_HOLE]);
const MAX_HOLE: usize = 64 << 20;

impl SegmentWindow {
    /// A window over `start..end` of a file that is `file_len` bytes long.
    pub(super) fn new(
        file: &Arc<File>,
        file_len: u64,
        (start, end): (u64, u64),
        source: Source,
    ) -> Self {
        Self {
            file: Arc::clone(file),
            file_len,
            start,
            end: end.min(file_len),
            source,
            _permit: None,
        }
    }

    /// The same, read before its turn.
    pub(super) fn ahead(self, permit: Option<AheadPermit>) -> Self {
        Self { _permit: permit, ..self }
    }

    /// The buffer of a window that was read, and where it begins; another window comes back.
    pub(super) fn into_buffer(self) -> Result<(PooledBuffer, u64), Self> {
        match self.source {
            Source::Read { buffer, .. } => Ok((buffer, self.start)),
            Source::Mapped(_) | Source::Hole => Err(self),
        }
    }

    /// Whether everything that was looked at was the file: a mapping shows zeros where the file was
    /// cut off.
    pub(super) fn is_intact(&self) -> bool {
        match &self.source {
            Source::Mapped(mapped) => mapped.is_intact(),
            Source::Read { .. } | Source::Hole => true,
        }
    }

    /// Counts how the bytes were had.
    pub(super) fn count(&self, metrics: &PerformanceMetrics) {
        match &self.source {
            Source::Read { buffer, step } => metrics.add_reads(buffer.len().div_ceil(*step)),
            Source::Mapped(mapped) => metrics.add_mapped(mapped.len() as u64),
            Source::Hole => metrics.add_hole(self.end - self.start),
        }
    }

    /// The bytes `from..from + len`, which are loaded.
    pub(super) fn bytes(&self, from: u64, len: u32) -> &[u8] {
        &self.rest(from)[..len as usize]
    }
}

impl Window for SegmentWindow {
    fn rest(&self, from: u64) -> &[u8] {
        let all: &[u8] = match &self.source {
            Source::Read { buffer, .. } => buffer,
            Source::Mapped(mapped) => mapped,
            Source::Hole => &ZEROS[..(self.end - self.start) as usize],
        };
        &all[(from - self.start) as usize..]
    }

    fn load(&mut self, until: u64) -> io::Result<()> {
        let Source::Read { buffer, step } = &mut self.source else { return Ok(()) };
        let wanted = (until.min(self.end) - self.start.min(until)) as usize;
        while buffer.len() < wanted {
            let len = (wanted - buffer.len()).min(*step);
            let at = self.start + buffer.len() as u64;
            if read_more(&self.file, buffer, len, at)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    fn file_len(&self) -> u64 {
        self.file_len
    }

    fn is_hole(&self) -> bool {
        matches!(self.source, Source::Hole)
    }
}

/// Appends up to `len` bytes of the file from `at` on, and returns how many; 0 at its end.
pub(in crate::storage) fn read_more(
    file: &File,
    buffer: &mut Vec<u8>,
    len: usize,
    at: u64,
) -> io::Result<usize> {
    buffer.reserve(len);
    loop {
        let spare = &mut buffer.spare_capacity_mut()[..len];
        let read = match pread(file.as_fd(), spare, at) {
            Err(Errno::INTR) => continue,
            other => other?.0.len(),
        };
        #[expect(unsafe_code, reason = "the system call filled the spare capacity")]
        // SAFETY: `read` bytes behind the old length were initialised by the call above.
        unsafe {
            buffer.set_len(buffer.len() + read);
        }
        return Ok(read);
    }
}

/// Whether the file has no data in `start..end`, as far as its file system tells.
pub(super) fn is_hole(file: &File, (start, end): (u64, u64)) -> bool {
    end - start <= MAX_HOLE as u64
        && match seek(file, SeekFrom::Data(start)) {
            Ok(data) => data >= end,
            // No data up to the end of the file.
            Err(errno) => errno == Errno::NXIO,
        }
}
