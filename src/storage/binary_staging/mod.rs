//! The staging area on disk: an immutable base, mapped, and a log of the batches since.
//!
//! `staging/base` is replaced by rename, `staging/log` grows by one durable frame for each batch.
//! When the log would outgrow the larger of 1 MiB and a sixteenth of the base, the batch goes into
//! a new base of the next generation instead, and then an empty log replaces the old one; between
//! the rounds of one command it may grow to a quarter, so that a new base is not due each time. A crash
//! between the two leaves a log of the older generation, whose content the base already has: it
//! is ignored, and replaced at the next write. A base that is replaced stays mapped for who
//! opened it before.
//!
//! Opening reads no entry of the base: it is mapped and its checksum verified. The log is read
//! whole and its operations are indexed where they lie, so that it costs its bytes and about 30
//! bytes of memory for each path in it; it is bounded as above.
//!
//! Whoever changes the area holds the repository's lock from before [`BinaryStagingArea::open`]
//! on. Readers need no lock: they see the area as it was after some batch.
//!
//! A batch that returns an error may be durable nevertheless, for instance when only the last
//! `fsync` failed; after it, the area shows what the disk holds.

mod base;
mod overlay;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::iter::Peekable;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use self::overlay::{Overlay, Walk};
use super::disk::{Disk, DiskError, FileBytes, ReadFile, Result as DiskResult};
use super::format::FormatError;
use super::format::bytes::checksum;
pub use super::format::staging::{
    FileStat, KindView, StagedEntry, StagedKind, StagedView, StagingOp,
};
use super::format::staging_base::StagingBase;
pub use super::format::staging_log::Frame;
use super::format::staging_log::{HEADER_LEN as LOG_HEADER_LEN, decode_header, encode_header};
use crate::id::TreeId;
use crate::path::compare;

/// Directory of the staging area.
pub const STAGING_DIR: &str = "staging";
/// The base.
pub const BASE_FILE: &str = "staging/base";
/// The log.
pub const LOG_FILE: &str = "staging/log";

/// A log shorter than this never makes a new base.
const MIN_LOG: u64 = 1 << 20;
/// The part of the base that the log may reach: what every command reads and indexes at its start.
const LOG_PART: u64 = 16;
/// The same between the rounds of one command: what bounds how often the base is written.
const ROUND_LOG_PART: u64 = 4;
/// Readers without a lock may meet base and log of two generations; each retry meets newer ones.
const OPEN_ATTEMPTS: usize = 16;

/// Why the staging area cannot be read or changed.
#[derive(Debug, Error)]
pub enum StagingError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file of the staging area is damaged, or of a newer release; or an operation is one that
    /// the format cannot hold.
    #[error("'{}' is not readable as a staging area", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// The base or the log is not there: both always are.
    #[error("the staging area is missing: there is no '{}'", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// A failed change left the area in memory apart from that on disk.
    #[error("the staging area is out of step with the disk after an error; open it again")]
    OutOfStep,
}

type Result<T> = std::result::Result<T, StagingError>;

/// State of the log on disk.
#[derive(Debug, Clone, Copy)]
struct LogState {
    /// Bytes that count.
    len: u64,
    /// Whether a file is there that continues our base.
    is_ours: bool,
    /// Whether the file may be longer than `len`: a torn write to be cut off.
    is_torn: bool,
}

impl LogState {
    const NONE: Self = Self { len: 0, is_ours: false, is_torn: false };
}

type Base = StagingBase<FileBytes>;

/// See the module.
#[derive(Debug)]
pub struct BinaryStagingArea {
    disk: Arc<dyn Disk>,
    base: Arc<Base>,
    overlay: Arc<Overlay>,
    log: LogState,
    len: usize,
    /// The tree that the staging area equalled last; the overlay knows what changed since.
    last_tree: Option<TreeId>,
    min_log: u64,
    out_of_step: bool,
    /// Whether nothing of it is on the disk before [`Self::publish`].
    is_held: bool,
}

impl BinaryStagingArea {
    /// Creates an empty staging area; one that is already there stays as it is.
    pub fn create(disk: &dyn Disk) -> Result<()> {
        disk.create_dir(Path::new(STAGING_DIR))?;
        base::write(disk, Path::new(BASE_FILE), false, (1, None), std::iter::empty, || Ok(()))?;
        disk.publish(Path::new(LOG_FILE), &encode_header(1), false)?;
        Ok(())
    }

    /// An empty area for the place of one that is damaged or missing. Its changes are held in memory,
    /// and on the disk the old one stays what it is, until [`Self::publish`].
    pub fn anew(disk: Arc<dyn Disk>) -> Result<Self> {
        disk.create_dir(Path::new(STAGING_DIR))?;
        // The old log must not continue the new base.
        let header = match disk
            .open(Path::new(LOG_FILE))
            .and_then(|log| log.map(|log| read_header(&*log)).transpose())
        {
            Err(error) if error.is_unreadable() => None,
            header => header?,
        };
        let old = header.and_then(|header| decode_header(&header).ok());
        let old = old.unwrap_or(0).min(u64::MAX - 1);
        let file = disk.root().join(BASE_FILE);
        let base = StagingBase::open(FileBytes::Read(base::empty(old)));
        let base = base.map_err(|source| StagingError::Format { file, source })?;
        Ok(Self { is_held: true, ..Self::on(disk, base, MIN_LOG) })
    }

    /// Puts an area that was begun [anew](Self::anew) on the disk, all of it at once.
    pub fn publish(&mut self) -> Result<()> {
        if self.is_held {
            self.check_in_step()?;
            self.rebase(Frame::default().finish(), 0)?;
        }
        Ok(())
    }

    /// Opens the staging area. A torn tail of the log is ignored here and cut off at the next
    /// write.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self> {
        Self::open_with(disk, MIN_LOG)
    }

    fn open_with(disk: Arc<dyn Disk>, min_log: u64) -> Result<Self> {
        let mut area = Self::open_base(disk, min_log)?;
        for _ in 0..OPEN_ATTEMPTS {
            let Some(log) = area.disk.open(Path::new(LOG_FILE))? else {
                return Err(StagingError::Missing { file: area.disk.root().join(LOG_FILE) });
            };
            let header = read_header(&*log)?;
            let found = decode_header(&header).map_err(|source| area.damaged(LOG_FILE, source))?;
            match found.cmp(&area.base.header().generation) {
                Ordering::Less => return Ok(area),
                Ordering::Equal => {
                    let len = log.len()?;
                    area.check_log_len(len)?;
                    area.replay(read(&*log, len)?)?;
                    return Ok(area);
                }
                // A writer replaced both between our two looks.
                Ordering::Greater => area = Self::open_base(area.disk, min_log)?,
            }
        }
        let why = "it is older than its log";
        Err(area.damaged(BASE_FILE, FormatError::invalid("the base of the staging area", why)))
    }

    /// A log of our base is never longer than the part of it that it may reach, and a batch in the making.
    fn check_log_len(&self, len: u64) -> Result<()> {
        let limit = MIN_LOG.max(self.min_log).max(self.base.file_len() / ROUND_LOG_PART);
        if len <= 2 * limit {
            return Ok(());
        }
        let why = format!("{len} bytes are more than a base of this length allows");
        Err(self.damaged(LOG_FILE, FormatError::invalid("the log of the staging area", why)))
    }

    fn open_base(disk: Arc<dyn Disk>, min_log: u64) -> Result<Self> {
        let base = Self::map_base(&*disk, StagingBase::open)?;
        Ok(Self::on(disk, base, min_log))
    }

    fn on(disk: Arc<dyn Disk>, base: Base, min_log: u64) -> Self {
        let (len, last_tree) = (base.len(), base.header().clean_tree);
        let (base, overlay, log) = (Arc::new(base), Arc::default(), LogState::NONE);
        let (out_of_step, is_held) = (false, false);
        Self { disk, base, overlay, log, len, last_tree, min_log, out_of_step, is_held }
    }

    fn map_base(
        disk: &dyn Disk,
        open: impl Fn(FileBytes) -> super::format::Result<Base>,
    ) -> Result<Base> {
        let file = disk.root().join(BASE_FILE);
        let Some(reader) = disk.open(Path::new(BASE_FILE))? else {
            return Err(StagingError::Missing { file });
        };
        let bytes = reader.map(0, reader.len()? as usize)?;
        let base = open(bytes).map_err(|source| StagingError::Format { file, source })?;
        base.bytes().forget_pages();
        Ok(base)
    }

    /// The area as it is now, for reading: it shares the base and stays as it is while this one
    /// changes. A change of it is refused.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        Self {
            disk: Arc::clone(&self.disk),
            base: Arc::clone(&self.base),
            overlay: Arc::clone(&self.overlay),
            out_of_step: true,
            ..*self
        }
    }

    fn damaged(&self, file: &str, source: FormatError) -> StagingError {
        StagingError::Format { file: self.disk.root().join(file), source }
    }

    fn replay(&mut self, log: Vec<u8>) -> Result<()> {
        let file_len = log.len() as u64;
        let mut overlay = Overlay::default();
        let absorbed = overlay.absorb_log(log, &self.base, self.last_tree);
        let (len, tally) = absorbed.map_err(|source| self.damaged(LOG_FILE, source))?;
        self.overlay = Arc::new(overlay);
        self.len = self.len.saturating_add_signed(tally.grown);
        self.last_tree = tally.tree;
        self.log = LogState { len, is_ours: true, is_torn: len < file_len };
        Ok(())
    }

    /// Number of staged entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry of `path`, in O(1).
    pub fn get(&self, path: &[u8]) -> Option<StagedEntry> {
        self.view(path)?.to_entry()
    }

    /// The entry of `path`, in O(1) and without allocation.
    pub fn view(&self, path: &[u8]) -> Option<StagedView<'_>> {
        self.locate(path, usize::MAX).map(|(_, view)| view)
    }

    /// The entry of `path` and its number; `expected` is a guess at the number, such as one more
    /// than that of the path before. A guess that is right saves the look into the hash table.
    pub fn locate(&self, path: &[u8], expected: usize) -> Option<(usize, StagedView<'_>)> {
        if self.overlay.is_empty() && self.base.is_at(expected, path) {
            return Some((expected, self.base.view(expected)?));
        }
        let hash = checksum(path);
        let overlaid = self.overlay.get(path, hash);
        let in_base = || {
            let expected = Some(expected).filter(|number| self.base.is_at(*number, path));
            expected.or_else(|| self.base.find_hashed(path, hash))
        };
        let Some(overlaid) = overlaid else {
            let number = in_base()?;
            return Some((number, self.base.view(number)?));
        };
        let view = overlaid.view?;
        Some((in_base().unwrap_or(self.base.len() + overlaid.slot), view))
    }

    /// All entries in path order.
    pub fn iter(&self) -> impl Iterator<Item = StagedEntry> + '_ {
        self.views().filter_map(|view| view.to_entry())
    }

    /// The entries that are `dir` or lie below it, in path order; the empty `dir` is the root.
    pub fn iter_within<'a>(&'a self, dir: &[u8]) -> impl Iterator<Item = StagedEntry> + use<'a> {
        self.views_within(dir).filter_map(|view| view.to_entry())
    }

    /// As [`Self::iter`], without allocation; the paths are not checked.
    pub fn views(&self) -> Views<'_> {
        Views {
            base: &self.base,
            records: 0..self.base.len(),
            overlay: self.overlay.all().peekable(),
        }
    }

    /// As [`Self::iter_within`], without allocation for each entry; the paths are not checked.
    pub fn views_within(&self, dir: &[u8]) -> Views<'_> {
        if dir.is_empty() {
            return self.views();
        }
        // In path order, `dir` and `dir/…` come before `dir` and any other byte, NUL first.
        let end = [dir, &[0]].concat();
        Views {
            base: &self.base,
            records: self.base.between(dir, &end),
            overlay: self.overlay.between(dir, &end).peekable(),
        }
    }

    /// What is staged in the place of directories above `path`, and below it: a path cannot be both
    /// a file and a directory, so that it must go where `path` is staged.
    pub fn around<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = StagedView<'a>> {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let above = slashes.filter_map(|(at, _)| self.view(&path[..at]));
        above.chain(self.views_within(path).filter(move |view| view.path != path))
    }

    /// The number of `path`, below [`Self::slots`]; it stays until the next change.
    pub fn ordinal(&self, path: &[u8]) -> Option<usize> {
        self.locate(path, usize::MAX).map(|(number, _)| number)
    }

    /// One more than the largest number that [`Self::ordinal`] gives.
    pub fn slots(&self) -> usize {
        self.base.len() + self.overlay.len()
    }

    /// Bytes of the base and of the log.
    pub fn file_sizes(&self) -> (u64, u64) {
        (self.base.file_len(), self.log.len)
    }

    /// The tree that equals the staging area, if that is known.
    pub fn clean_tree(&self) -> Option<TreeId> {
        self.last_tree.filter(|_| self.overlay.changed() == 0)
    }

    /// The tree that equalled the staging area last, if that is known, and the paths that changed
    /// since, in path order. A path that changed back may be among them.
    pub fn changes_since_tree(&self) -> Option<(TreeId, Vec<&[u8]>)> {
        Some((self.last_tree?, self.overlay.changed_paths()))
    }

    /// States durably that the staging area equals `tree`. The statement falls with the next
    /// operation that changes more than the stat of an entry and whether it is racy.
    pub fn mark_clean(&mut self, tree: TreeId) -> Result<()> {
        if self.clean_tree() == Some(tree) {
            return self.check_in_step();
        }
        let mut frame = Frame::default();
        frame.push_clean(tree);
        self.apply_frame(frame)
    }

    /// Applies operations in order as one durable batch: all of them or none.
    pub fn apply(&mut self, ops: Vec<StagingOp>) -> Result<()> {
        let mut frame = Frame::default();
        for op in ops {
            frame.push(&op);
        }
        self.apply_frame(frame)
    }

    /// As [`Self::apply`], for operations that are encoded already: a million of them take a
    /// fifth of the memory.
    pub fn apply_frame(&mut self, frame: Frame) -> Result<()> {
        self.apply_within(frame, LOG_PART)
    }

    /// As [`Self::apply_frame`], for a batch that others follow at once.
    pub fn apply_round(&mut self, frame: Frame) -> Result<()> {
        self.apply_within(frame, ROUND_LOG_PART)
    }

    /// As [`Self::apply_frame`]; behind it nothing of what the staging area held before can be read
    /// from its files.
    pub fn apply_anew(&mut self, frame: Frame) -> Result<()> {
        self.check_in_step()?;
        frame.check().map_err(|source| self.damaged(LOG_FILE, source))?;
        let count = frame.count();
        self.rebase(frame.finish(), count)
    }

    fn apply_within(&mut self, frame: Frame, part: u64) -> Result<()> {
        self.check_in_step()?;
        let limit = self.min_log.max(self.base.file_len() / part).min(u32::MAX.into());
        let count = frame.count();
        // Rounds may have left the log longer than it should stay.
        if count == 0 && self.log.len <= limit {
            return Ok(());
        }
        frame.check().map_err(|source| self.damaged(LOG_FILE, source))?;
        let fits = self.log.len + frame.len() <= limit;
        let bytes = frame.finish();
        if self.is_held {
            return self.absorb(bytes, count);
        }
        if !fits {
            return self.rebase(bytes, count);
        }
        self.append(&bytes)?;
        self.out_of_step = true;
        self.absorb(bytes, count)?;
        self.out_of_step = false;
        Ok(())
    }

    fn check_in_step(&self) -> Result<()> {
        if self.out_of_step { Err(StagingError::OutOfStep) } else { self.check() }
    }

    /// Takes the pages of the base out of the process's memory until they are used again.
    pub fn forget_pages(&self) {
        self.base.bytes().forget_pages();
    }

    /// Whether the base was whole when it was used last. Who concludes from an absence, or from
    /// all entries together, asks afterwards; changes do so themselves.
    pub fn check(&self) -> Result<()> {
        Ok(self.base.bytes().check()?)
    }

    /// Takes a frame into memory.
    fn absorb(&mut self, frame: Vec<u8>, count: u32) -> Result<()> {
        let overlay = Arc::make_mut(&mut self.overlay);
        let absorbed = overlay.absorb_frame(frame, count, &self.base, self.last_tree);
        let tally = absorbed.map_err(|source| self.damaged(LOG_FILE, source))?;
        self.len = self.len.saturating_add_signed(tally.grown);
        self.last_tree = tally.tree;
        Ok(())
    }

    /// Makes a frame durable; a torn tail goes first.
    fn append(&mut self, frame: &[u8]) -> Result<()> {
        let path = Path::new(LOG_FILE);
        if !self.log.is_ours {
            let bytes = [&encode_header(self.base.header().generation), frame].concat();
            self.disk.publish(path, &bytes, true)?;
            self.log = LogState { len: bytes.len() as u64, is_ours: true, is_torn: false };
            return Ok(());
        }
        let mut file = self.disk.open_append(path)?;
        if self.log.is_torn {
            file.truncate(self.log.len)?;
        }
        self.log.is_torn = true;
        file.append_durable(frame)?;
        self.log.len += frame.len() as u64;
        self.log.is_torn = false;
        Ok(())
    }

    /// Takes a frame into memory, writes all of it as a new base, and maps that. After an error
    /// the area is read again from the disk, which may or may not have the change by then.
    fn rebase(&mut self, frame: Vec<u8>, count: u32) -> Result<()> {
        let written = self.absorb(frame, count).and_then(|()| self.write_base());
        self.out_of_step = true;
        let disk = Arc::clone(&self.disk);
        let area = match &written {
            Ok(()) => self.after_base(),
            Err(_) => Self::open_with(disk, self.min_log),
        };
        match area {
            Ok(area) => {
                *self = area;
                written
            }
            Err(error) => written.and(Err(error)),
        }
    }

    /// The area after a new base and its empty log were written.
    fn after_base(&mut self) -> Result<Self> {
        self.overlay = Arc::default();
        let base = Self::map_base(&*self.disk, StagingBase::open_written)?;
        let log = LogState { len: LOG_HEADER_LEN as u64, is_ours: true, is_torn: false };
        Ok(Self { log, ..Self::on(Arc::clone(&self.disk), base, self.min_log) })
    }

    fn write_base(&self) -> Result<()> {
        let generation = self.base.header().generation + 1;
        let header = (generation, self.clean_tree());
        let check = || self.base.bytes().check();
        base::write(&*self.disk, Path::new(BASE_FILE), true, header, || self.views(), check)?;
        self.disk.publish(Path::new(LOG_FILE), &encode_header(generation), true)?;
        Ok(())
    }
}

fn read(file: &dyn ReadFile, len: u64) -> DiskResult<Vec<u8>> {
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// The header of a log, or as much as there is of it: the log itself may be of any length.
fn read_header(log: &dyn ReadFile) -> DiskResult<Vec<u8>> {
    read(log, log.len()?.min(LOG_HEADER_LEN as u64))
}

/// Walks base and overlay in path order.
#[derive(Debug)]
pub struct Views<'a> {
    base: &'a Base,
    records: Range<usize>,
    overlay: Peekable<Walk<'a>>,
}

impl<'a> Views<'a> {
    /// The entries with their numbers; see [`BinaryStagingArea::ordinal`].
    pub fn numbered(mut self) -> impl Iterator<Item = (usize, StagedView<'a>)> {
        std::iter::from_fn(move || self.next_numbered())
    }

    fn next_numbered(&mut self) -> Option<(usize, StagedView<'a>)> {
        loop {
            let order = match (self.records.is_empty(), self.overlay.peek()) {
                (true, None) => return None,
                (true, Some(_)) => Ordering::Greater,
                (false, None) => Ordering::Less,
                (false, Some(overlaid)) => {
                    compare(self.base.path(self.records.start), overlaid.path)
                }
            };
            let record = if order.is_le() { self.records.next() } else { None };
            if order.is_lt() {
                let number = record?;
                if let Some(view) = self.base.view(number) {
                    return Some((number, view));
                }
            } else {
                let overlaid = self.overlay.next()?;
                if let Some(view) = overlaid.view {
                    return Some((record.unwrap_or(self.base.len() + overlaid.slot), view));
                }
            }
        }
    }
}

impl<'a> Iterator for Views<'a> {
    type Item = StagedView<'a>;

    fn next(&mut self) -> Option<StagedView<'a>> {
        self.next_numbered().map(|(_, view)| view)
    }
}
