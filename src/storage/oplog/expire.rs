//! Old operations leave the log: what is kept is written anew, with links that lead to where the
//! records lie now.

use std::path::Path;
use std::sync::Arc;

use super::{OPLOG_FILE, OpKind, OpLink, OpLog, OpRecord, Result, START, encode_header};

/// Where the records that stay lie, and will lie.
struct Moves {
    /// The number of the first one.
    first: u64,
    old: Vec<u64>,
    new: Vec<u64>,
}

impl Moves {
    fn number(&self, seq: u64) -> Option<usize> {
        usize::try_from(seq.checked_sub(self.first)?).ok()
    }

    /// Where a record lies now, if it stays.
    fn moved(&self, link: OpLink) -> Option<OpLink> {
        let at = *self.new.get(self.number(link.seq)?)?;
        Some(OpLink { seq: link.seq, at })
    }

    fn relink(&self, log: &OpLog, record: OpRecord, at: u64) -> Result<OpRecord> {
        let mut redo = record.redo;
        if let Some(link) = redo.filter(|link| link.seq >= self.first) {
            // A redo wants the operation that the undo took back, too.
            let undo = if link.seq == record.link.seq { record.clone() } else { log.follow(link)? };
            if matches!(undo.kind, OpKind::Undo { of } if of < self.first) {
                redo = None;
            }
        }
        let link = OpLink { seq: record.link.seq, at };
        let here =
            |other: OpLink| if other.seq == link.seq { Some(link) } else { self.moved(other) };
        let (undo, redo) = (record.undo.and_then(here), redo.and_then(here));
        Ok(OpRecord { link, undo, redo, ..record })
    }
}

impl OpLog {
    /// The number of the oldest operation in the log.
    pub fn first_seq(&self) -> Result<Option<u64>> {
        if self.last.is_none() {
            return Ok(None);
        }
        let end = self.end_of(START)?;
        Ok(Some(self.read_frame(START, end)?.link.seq))
    }

    /// Whether the log knows of no change: it begins with the state of now.
    pub fn is_fresh(&self) -> bool {
        let is_first = |last: &OpRecord| last.link.at == START && last.undo.is_none();
        self.last.as_ref().is_none_or(|last| is_first(last) && last.redo.is_none())
            && self.last.as_ref().is_none_or(|last| {
                last.refs.is_empty() && last.kept.is_none() && last.written.is_none()
            })
            && self.last.as_ref().is_none_or(|last| last.before == last.after)
    }

    /// The record of a log that begins behind the last operation.
    fn beginning(last: &OpRecord) -> OpRecord {
        OpRecord {
            link: OpLink { seq: last.link.seq + 1, at: START },
            description: "the operations before were forgotten".to_owned(),
            kind: OpKind::Noticed,
            before: last.after.clone(),
            refs: Vec::new(),
            moved_work_tree: false,
            kept: None,
            written: None,
            undo: None,
            redo: None,
            ..last.clone()
        }
    }

    /// Bytes that the log will have when only operations from `first` on are kept.
    pub fn len_from(&self, first: u64) -> Result<u64> {
        self.write_from(first, &mut |_| Ok(()))
    }

    /// Lets all operations before `first` go. If that is all of them, the log begins anew, with a record
    /// that says so. It is replaced as a whole, durably; whoever reads the old one goes on reading it.
    pub fn expire(self, first: u64) -> Result<Self> {
        let mut file = self.disk.create()?;
        self.write_from(first, &mut |bytes| Ok(file.write_all(bytes)?))?;
        file.publish(Path::new(OPLOG_FILE), true)?;
        Self::open(Arc::clone(&self.disk))
    }

    fn write_from(&self, first: u64, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u64> {
        let header = encode_header();
        write(&header)?;
        let mut at = header.len() as u64;
        if let Some(last) = self.last.as_ref().filter(|last| last.link.seq < first) {
            let frame = Self::beginning(last).encode().map_err(|source| self.damaged(source))?;
            write(&frame)?;
            return Ok(at + frame.len() as u64);
        }
        let mut old = Vec::new();
        for record in self.backwards() {
            let record = record?;
            if record.link.seq < first {
                break;
            }
            old.push(record.link.at);
        }
        old.reverse();
        let mut moves = Moves { first, old, new: Vec::new() };
        for number in 0..moves.old.len() {
            let from = moves.old[number];
            let record = self.read_frame(from, self.end_of(from)?)?;
            let record = moves.relink(self, record, at)?;
            let frame = record.encode().map_err(|source| self.damaged(source))?;
            write(&frame)?;
            moves.new.push(at);
            at += frame.len() as u64;
        }
        Ok(at)
    }
}
