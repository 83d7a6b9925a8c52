//! The staging area on disk: an immutable base, mapped, and a log of the batches since.
//!
//! `staging/base` is replaced by rename, `staging/log` grows by one durable frame for each batch.
//! When the log would outgrow the larger of 1 MiB and a quarter of the base, the batch goes into a
//! new base of the next generation instead, and then an empty log replaces the old one. A crash
//! between the two leaves a log of the older generation, whose content the base already has: it
//! is ignored, and replaced at the next write. A base that is replaced stays mapped for who
//! opened it before.
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
use super::disk::{Disk, DiskError, FileBytes};
use super::format::FormatError;
pub use super::format::staging::{
    FileStat, KindView, StagedEntry, StagedKind, StagedView, StagingOp,
};
use super::format::staging_base::StagingBase;
use super::format::staging_log::{Frame, LogOp, decode_header, encode_header, replay};
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
    /// The base is not there.
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

/// See the module.
#[derive(Debug)]
pub struct BinaryStagingArea {
    disk: Arc<dyn Disk>,
    base: StagingBase<FileBytes>,
    overlay: Overlay,
    log: LogState,
    len: usize,
    clean_tree: Option<TreeId>,
    min_log: u64,
    out_of_step: bool,
}

impl BinaryStagingArea {
    /// Creates an empty staging area; one that is already there stays as it is.
    pub fn create(disk: &dyn Disk) -> Result<()> {
        disk.create_dir(Path::new(STAGING_DIR))?;
        base::write(disk, Path::new(BASE_FILE), false, (1, None), std::iter::empty, || Ok(()))?;
        disk.publish(Path::new(LOG_FILE), &encode_header(1), false)?;
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
            let Some(log) = area.disk.read(Path::new(LOG_FILE), u64::MAX)? else { return Ok(area) };
            let found = decode_header(&log).map_err(|source| area.damaged(LOG_FILE, source))?;
            match found.cmp(&area.base.header().generation) {
                Ordering::Less => return Ok(area),
                Ordering::Equal => {
                    area.replay(&log)?;
                    return Ok(area);
                }
                // A writer replaced both between our two looks.
                Ordering::Greater => area = Self::open_base(area.disk, min_log)?,
            }
        }
        let why = "it is older than its log";
        Err(area.damaged(BASE_FILE, FormatError::invalid("the base of the staging area", why)))
    }

    fn open_base(disk: Arc<dyn Disk>, min_log: u64) -> Result<Self> {
        let file = disk.root().join(BASE_FILE);
        let Some(reader) = disk.open(Path::new(BASE_FILE))? else {
            return Err(StagingError::Missing { file });
        };
        let bytes = reader.map(0, reader.len()? as usize)?;
        let base =
            StagingBase::open(bytes).map_err(|source| StagingError::Format { file, source })?;
        base.bytes().forget_pages();
        let (len, clean_tree) = (base.len(), base.header().clean_tree);
        let (overlay, log) = (Overlay::default(), LogState::NONE);
        Ok(Self { disk, base, overlay, log, len, clean_tree, min_log, out_of_step: false })
    }

    fn damaged(&self, file: &str, source: FormatError) -> StagingError {
        StagingError::Format { file: self.disk.root().join(file), source }
    }

    fn replay(&mut self, log: &[u8]) -> Result<()> {
        let len = replay(log, |op| match op {
            LogOp::Put(entry) => self.absorb(StagingOp::Put(entry)),
            LogOp::Remove(path) => self.absorb(StagingOp::Remove(path)),
            LogOp::MarkClean(tree) => self.clean_tree = Some(tree),
        });
        let len = len.map_err(|source| self.damaged(LOG_FILE, source))?;
        self.log = LogState { len, is_ours: true, is_torn: len < log.len() as u64 };
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
        match self.overlay.get(path) {
            Some(overlaid) => overlaid.view,
            None => self.base.view(self.base.find(path)?),
        }
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

    /// The number of `path`, below [`Self::slots`]; it stays until the next change.
    pub fn ordinal(&self, path: &[u8]) -> Option<usize> {
        let Some(overlaid) = self.overlay.get(path) else { return self.base.find(path) };
        overlaid.view?;
        Some(self.base.find(path).unwrap_or(self.base.len() + overlaid.slot))
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
        self.clean_tree
    }

    /// States durably that the staging area equals `tree`. The statement falls with the next
    /// operation that changes more than the stat of an entry and whether it is racy.
    pub fn mark_clean(&mut self, tree: TreeId) -> Result<()> {
        self.check_in_step()?;
        if self.clean_tree == Some(tree) {
            return Ok(());
        }
        let mut frame = Frame::default();
        frame.push_clean(tree);
        let frame = frame.finish();
        if !self.fits(frame.len() as u64) {
            return self.rebase(|area| area.clean_tree = Some(tree));
        }
        self.append(&frame)?;
        self.clean_tree = Some(tree);
        Ok(())
    }

    /// Applies operations in order as one durable batch: all of them or none.
    pub fn apply(&mut self, ops: Vec<StagingOp>) -> Result<()> {
        self.check_in_step()?;
        if ops.is_empty() {
            return Ok(());
        }
        let checked = ops.iter().try_for_each(StagingOp::check);
        checked.map_err(|source| self.damaged(LOG_FILE, source))?;
        if !self.fits(Frame::size_limit(&ops)) {
            return self.rebase(|area| ops.into_iter().for_each(|op| area.absorb(op)));
        }
        let mut frame = Frame::default();
        for op in &ops {
            frame.push(op);
        }
        self.append(&frame.finish())?;
        for op in ops {
            self.absorb(op);
        }
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

    /// Whether a frame of `size` bytes still goes into the log.
    fn fits(&self, size: u64) -> bool {
        let limit = self.min_log.max(self.base.file_len() / 4).min(u32::MAX.into());
        self.log.len + size <= limit
    }

    /// Takes one operation into memory.
    fn absorb(&mut self, op: StagingOp) {
        match op {
            StagingOp::Put(entry) => {
                let before = self.view(entry.path.as_bytes()).map(|view| view.kind);
                let (is_new, is_same) = (before.is_none(), before == Some(entry.kind.view()));
                self.len += usize::from(is_new);
                self.clean_tree = self.clean_tree.filter(|_| is_same);
                self.overlay.put(entry);
            }
            StagingOp::Remove(path) => {
                if self.view(path.as_bytes()).is_some() {
                    self.len = self.len.saturating_sub(1);
                    self.clean_tree = None;
                    self.overlay.remove(path.as_bytes());
                }
            }
        }
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

    /// Makes `change` in memory, writes all of it as a new base, and opens that. After an error
    /// the area is read again from the disk, which may or may not have the change by then.
    fn rebase(&mut self, change: impl FnOnce(&mut Self)) -> Result<()> {
        change(self);
        self.out_of_step = true;
        let written = self.write_base();
        self.forget_pages();
        match Self::open_with(Arc::clone(&self.disk), self.min_log) {
            Ok(area) => {
                *self = area;
                written
            }
            Err(error) => written.and(Err(error)),
        }
    }

    fn write_base(&self) -> Result<()> {
        let generation = self.base.header().generation + 1;
        let header = (generation, self.clean_tree);
        let check = || self.base.bytes().check();
        base::write(&*self.disk, Path::new(BASE_FILE), true, header, || self.views(), check)?;
        self.disk.publish(Path::new(LOG_FILE), &encode_header(generation), true)?;
        Ok(())
    }
}

/// Walks base and overlay in path order.
#[derive(Debug)]
pub struct Views<'a> {
    base: &'a StagingBase<FileBytes>,
    records: Range<usize>,
    overlay: Peekable<Walk<'a>>,
}

impl<'a> Iterator for Views<'a> {
    type Item = StagedView<'a>;

    fn next(&mut self) -> Option<StagedView<'a>> {
        loop {
            let view = match (self.records.is_empty(), self.overlay.peek()) {
                (true, None) => return None,
                (true, Some(_)) => self.overlay.next()?.view,
                (false, None) => self.base.view(self.records.next()?),
                (false, Some(overlaid)) => {
                    match compare(self.base.path(self.records.start), overlaid.path) {
                        Ordering::Less => self.base.view(self.records.next()?),
                        Ordering::Equal => {
                            self.records.next();
                            self.overlay.next()?.view
                        }
                        Ordering::Greater => self.overlay.next()?.view,
                    }
                }
            };
            if view.is_some() {
                return view;
            }
        }
    }
}
