//! Where `undo`, `redo` and `op restore` go, as the log of operations says.

use std::collections::BTreeMap;

use super::super::Result;
use super::{Head, OpKind, OpLog, OpRecord, OpState, StagedTree, UndoError};
use crate::id::TreeId;
use crate::storage::refs::RefValue;

/// Where to go back to.
pub(super) struct Way {
    pub(super) kind: OpKind,
    pub(super) description: String,
    pub(super) state: OpState,
    pub(super) refs: Vec<(String, Option<RefValue>)>,
    pub(super) moves_work_tree: bool,
    /// Unsaved files to be brought back.
    pub(super) kept: Option<TreeId>,
    /// What was written besides what is staged: where nothing is kept of it, it goes again.
    pub(super) written: Option<TreeId>,
    /// Whether a command was killed on its way to `written`.
    pub(super) is_unfinished: bool,
    /// The record that is taken back.
    pub(super) takes_back: Option<OpRecord>,
}

impl Way {
    /// Back from one record.
    fn back_from(record: &OpRecord, kind: OpKind, word: &str) -> Self {
        Self {
            kind,
            description: format!("{word} {}: {}", record.link.seq, record.description),
            state: record.before.clone(),
            refs: record.refs.iter().map(|change| (change.name.clone(), change.old)).collect(),
            moves_work_tree: record.moved_work_tree,
            kept: record.kept,
            written: record.written,
            is_unfinished: record.kind == OpKind::Noticed && record.written.is_some(),
            takes_back: Some(record.clone()),
        }
    }
}

/// The state behind an operation.
pub struct PastState {
    /// What `HEAD` named.
    pub head: Head,
    /// What was staged.
    pub staged: StagedTree,
    /// The merge that waited.
    pub merging: Option<TreeId>,
    /// The refs that changed since, as they were.
    pub refs: BTreeMap<String, Option<RefValue>>,
}

pub(super) fn past_state(log: &OpLog, seq: u64) -> Result<(PastState, Option<OpRecord>, bool)> {
    let last = log.last().map_or(0, |last| last.link.seq);
    if seq > last || last == 0 {
        return Err(crate::storage::oplog::OpLogError::Unknown { seq, last }.into());
    }
    let (mut refs, mut moves, mut oldest) = (BTreeMap::new(), false, None);
    for record in log.backwards() {
        let record = record?;
        if record.link.seq == seq {
            let OpState { head, staged, merging } = record.after.clone();
            return Ok((PastState { head, staged, merging, refs }, Some(record), moves));
        }
        for change in &record.refs {
            refs.insert(change.name.clone(), change.old);
        }
        moves |= record.moved_work_tree;
        oldest = Some((record.link.seq, record.before));
    }
    match oldest {
        Some((first, _)) if seq + 1 < first => {
            Err(crate::storage::oplog::OpLogError::Expired { seq, first }.into())
        }
        Some((_, OpState { head, staged, merging })) => {
            Ok((PastState { head, staged, merging, refs }, None, moves))
        }
        None => Err(crate::storage::oplog::OpLogError::Unknown { seq, last }.into()),
    }
}

pub(super) fn way_of_undo(log: &OpLog) -> Result<(Way, Option<OpRecord>)> {
    let link = log.last().and_then(|last| last.undo).ok_or(UndoError::NothingToUndo)?;
    let record = log.follow(link)?;
    Ok((Way::back_from(&record, OpKind::Undo { of: link.seq }, "undo"), Some(record)))
}

pub(super) fn way_of_redo(log: &OpLog) -> Result<(Way, Option<OpRecord>)> {
    let link = log.last().and_then(|last| last.redo).ok_or(UndoError::NothingToRedo)?;
    let undo = log.follow(link)?;
    let mut way = Way::back_from(&undo, OpKind::Redo { of: link.seq }, "redo");
    let mut record = undo;
    if let OpKind::Undo { of } = record.kind {
        record = log.find(of)?;
        way.description = format!("redo {of}: {}", record.description);
    }
    Ok((way, Some(record)))
}

pub(super) fn way_to(log: &OpLog, seq: u64) -> Result<(Way, Option<OpRecord>)> {
    let (state, record, moves) = past_state(log, seq)?;
    let way = Way {
        kind: OpKind::Restore { to: seq },
        description: format!("op restore {seq}"),
        state: OpState { head: state.head, staged: state.staged, merging: state.merging },
        refs: state.refs.into_iter().collect(),
        moves_work_tree: moves,
        kept: None,
        written: None,
        is_unfinished: false,
        takes_back: None,
    };
    Ok((way, record))
}
