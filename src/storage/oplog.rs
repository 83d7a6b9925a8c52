//! The log of operations on disk, read from its end.
//!
//! `operations` grows by one durable frame for each operation. Opening reads the last frame only;
//! what a crash tore behind it is ignored here and cut off at the next append. Without the file, which
//! was lost then, no operation is known, and the next one begins it anew. Whoever appends holds the repository's lock from before
//! [`OpLog::open`] on; readers need no lock.

mod expire;
mod salvage;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use salvage::{Salvaged, salvage};
use thiserror::Error;

use super::disk::{Disk, DiskError, ReadFile};
use super::format::FormatError;
use super::format::oplog::{
    FRAME_HEADER_LEN, HEADER_LEN, MAX_PAYLOAD, TRAILER_LEN, decode_frame, decode_header,
    encode_header, frame_len, last_frame, trailer_len,
};
pub use super::format::oplog::{OpKind, OpLink, OpRecord, OpState, RefChange, StagedTree};

/// The log.
pub const OPLOG_FILE: &str = "operations";

/// The log's header, as an offset.
const START: u64 = HEADER_LEN as u64;
/// Enough for the last record of most logs.
const FIRST_LOOK: u64 = 16 << 10;
/// What may lie behind the last sound frame, and that frame.
const LONGEST_LOOK: u64 = 2 * (MAX_PAYLOAD + FRAME_HEADER_LEN + TRAILER_LEN) as u64;

/// Why the log of operations cannot be read or continued.
#[derive(Debug, Error)]
pub enum OpLogError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The log is damaged, or of a newer release; or a record is one that the format cannot hold.
    #[error("'{}' is not readable as a log of operations", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// There is no such operation.
    #[error("there is no operation {seq}: the last one is {last}")]
    Unknown {
        /// The number asked for.
        seq: u64,
        /// The number of the last operation; 0 if there is none.
        last: u64,
    },
    /// The operation is not in the log any more.
    #[error("operation {seq} has expired: the oldest one that is kept is {first}")]
    Expired {
        /// The number asked for.
        seq: u64,
        /// The number of the oldest operation that is kept.
        first: u64,
    },
}

type Result<T> = std::result::Result<T, OpLogError>;

/// See the module.
pub struct OpLog {
    disk: Arc<dyn Disk>,
    file: Option<Box<dyn ReadFile>>,
    last: Option<OpRecord>,
    /// Bytes that count.
    len: u64,
    /// Whether the file may be longer than `len`.
    is_torn: bool,
}

impl OpLog {
    /// Makes an empty log; one that is already there stays as it is.
    pub fn create(disk: &dyn Disk) -> Result<()> {
        Ok(disk.publish(Path::new(OPLOG_FILE), &encode_header(), false)?)
    }

    /// Opens the log and reads its last record.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self> {
        let file = disk.open(Path::new(OPLOG_FILE))?;
        let mut log = Self { disk, file, last: None, len: START, is_torn: false };
        let Some(file) = &log.file else { return Ok(log) };
        let file_len = file.len()?;
        let header = read(&**file, 0, file_len.min(START))?;
        decode_header(&header).map_err(|source| log.damaged(source))?;
        let mut look = FIRST_LOOK;
        loop {
            let start = file_len.saturating_sub(look).max(START);
            let tail = read(&**file, start, file_len - start)?;
            log.last = last_frame(&tail, start).map_err(|source| log.damaged(source))?;
            if log.last.is_some() || start == START {
                break;
            }
            if look >= LONGEST_LOOK {
                let why = format!("no record ends in its last {look} bytes");
                return Err(log.damaged(FormatError::invalid("the log of operations", why)));
            }
            look = (look * 16).min(LONGEST_LOOK);
        }
        if let Some(last) = &log.last {
            log.len = log.end_of(last.link.at)?;
        }
        log.is_torn = log.len < file_len;
        log.check_is_torn(file_len)?;
        Ok(log)
    }

    /// A crash tears the last frame. One that is followed by more was not torn but altered.
    fn check_is_torn(&self, file_len: u64) -> Result<()> {
        let (Some(file), rest) = (&self.file, file_len - self.len) else { return Ok(()) };
        if rest <= FRAME_HEADER_LEN as u64 {
            return Ok(());
        }
        let header = read(&**file, self.len, FRAME_HEADER_LEN as u64)?;
        match frame_len(&header) {
            Ok(len) if len < rest => {
                let why = format!("the record at {} is damaged, and more lies behind it", self.len);
                Err(self.damaged(FormatError::invalid("the log of operations", why)))
            }
            _ => Ok(()),
        }
    }

    fn damaged(&self, source: FormatError) -> OpLogError {
        OpLogError::Format { file: self.disk.root().join(OPLOG_FILE), source }
    }

    /// The last operation.
    pub fn last(&self) -> Option<&OpRecord> {
        self.last.as_ref()
    }

    /// Whether the file is gone: `init` makes it.
    pub fn is_missing(&self) -> bool {
        self.file.is_none()
    }

    /// Bytes of the log.
    pub fn file_len(&self) -> u64 {
        self.len
    }

    /// Where the next record will be.
    pub fn next_link(&self) -> OpLink {
        OpLink { seq: self.last.as_ref().map_or(0, |last| last.link.seq) + 1, at: self.len }
    }

    /// Appends the record of [`Self::next_link`] durably. After an error it may be durable
    /// nevertheless.
    pub fn append(&mut self, record: OpRecord) -> Result<()> {
        let frame = record.encode().map_err(|source| self.damaged(source))?;
        let path = Path::new(OPLOG_FILE);
        if self.file.is_none() {
            Self::create(&*self.disk)?;
            self.file = self.disk.open(path)?;
        }
        let mut file = self.disk.open_append(path)?;
        if self.is_torn {
            file.truncate(self.len)?;
        }
        self.is_torn = true;
        file.append_durable(&frame)?;
        self.is_torn = false;
        self.len += frame.len() as u64;
        self.last = Some(record);
        Ok(())
    }

    /// The record that a link of another one leads to.
    pub fn follow(&self, link: OpLink) -> Result<OpRecord> {
        let end = self.end_of(link.at)?;
        let record = self.read_frame(link.at, end)?;
        if record.link.seq == link.seq {
            return Ok(record);
        }
        let why = format!("record {} lies in the place of {}", record.link.seq, link.seq);
        Err(self.damaged(FormatError::invalid("the log of operations", why)))
    }

    /// The record before this one.
    pub fn before(&self, record: &OpRecord) -> Result<Option<OpRecord>> {
        let end = record.link.at;
        if end <= START {
            return Ok(None);
        }
        let trailer = self.read(end.saturating_sub(TRAILER_LEN as u64), TRAILER_LEN as u64)?;
        let mut bytes = [0; TRAILER_LEN];
        bytes.copy_from_slice(&trailer);
        let len = trailer_len(&bytes).map_err(|source| self.damaged(source))?;
        let at = end.checked_sub(len).filter(|at| *at >= START);
        let at = at.ok_or_else(|| {
            let why = format!("a record cannot end at {end}");
            self.damaged(FormatError::invalid("the log of operations", why))
        })?;
        let before = self.read_frame(at, end)?;
        if before.link.seq + 1 == record.link.seq {
            return Ok(Some(before));
        }
        let why = format!("record {} comes before {}", before.link.seq, record.link.seq);
        Err(self.damaged(FormatError::invalid("the log of operations", why)))
    }

    /// All operations, the newest first, each read when it is asked for.
    pub fn backwards(&self) -> impl Iterator<Item = Result<OpRecord>> + '_ {
        let mut next = self.last.clone().map(Ok);
        std::iter::from_fn(move || {
            let current = next.take()?;
            if let Ok(record) = &current {
                next = self.before(record).transpose();
            }
            Some(current)
        })
    }

    /// The operation of this number.
    pub fn find(&self, seq: u64) -> Result<OpRecord> {
        let last = self.last.as_ref().map_or(0, |last| last.link.seq);
        if (1..=last).contains(&seq) {
            for record in self.backwards() {
                let record = record?;
                if record.link.seq == seq {
                    return Ok(record);
                }
                if record.link.at == START {
                    return Err(OpLogError::Expired { seq, first: record.link.seq });
                }
            }
        }
        Err(OpLogError::Unknown { seq, last })
    }

    fn end_of(&self, at: u64) -> Result<u64> {
        let header = self.read(at, FRAME_HEADER_LEN as u64)?;
        Ok(at + frame_len(&header).map_err(|source| self.damaged(source))?)
    }

    fn read_frame(&self, at: u64, end: u64) -> Result<OpRecord> {
        let frame = self.read(at, end - at)?;
        decode_frame(&frame, at).map_err(|source| self.damaged(source))
    }

    fn read(&self, at: u64, len: u64) -> Result<Vec<u8>> {
        self.file.as_ref().map_or_else(|| Ok(Vec::new()), |file| read(&**file, at, len))
    }
}

/// `len` is bounded by the format.
fn read(file: &dyn ReadFile, at: u64, len: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
