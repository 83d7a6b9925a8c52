//! Refs that are not where the log of operations says: gone, or elsewhere.
//!
//! Every ref moves behind a record that says so. The one that was written last may stand alone: its
//! command was killed before it moved refs, and the next one moves them. And a ref may be one move ahead
//! of a log whose end was cut off, or of which a repair saved the sound records.

use std::collections::BTreeMap;

use super::super::{Repository, Result};
use crate::storage::oplog::{OpLog, OpRecord, RefChange};
use crate::storage::refs::{RefError, RefValue};

/// A ref that is not where the log of operations says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::repo) struct StrayRef {
    pub(in crate::repo) name: String,
    /// Where the log says that it is; `None` where it was deleted.
    pub(in crate::repo) said: Option<RefValue>,
    /// Where it is.
    pub(in crate::repo) found: Option<RefValue>,
}

impl StrayRef {
    /// What is wrong with it.
    pub(in crate::repo) fn describe(&self) -> String {
        let Self { name, said, found } = self;
        let place = match found {
            None => "is missing".to_owned(),
            Some(value) => format!("is at {}", value.commit.short()),
        };
        let said = match said {
            None => "was deleted".to_owned(),
            Some(value) => format!("is at {}", value.commit.short()),
        };
        format!("'{name}' {place}; the log of operations says it {said}")
    }
}

impl Repository {
    /// The refs that are not where the log of operations says.
    pub(in crate::repo) fn stray_refs(&self) -> Result<Vec<StrayRef>> {
        // In the past no ref is where the newest record says.
        if self.is_past() {
            return Ok(Vec::new());
        }
        loop {
            let log = self.operations()?;
            let strays = self.strays_of(&log)?;
            let seq = |log: &OpLog| log.last().map(|last| last.link.seq);
            // Else another command may have moved them since the log was read.
            if strays.is_empty() || seq(&log) == seq(&self.operations()?) {
                return Ok(strays);
            }
        }
    }

    /// Those of them that are gone, and where they were.
    pub(in crate::repo) fn missing_refs(&self) -> Result<Vec<(String, RefValue)>> {
        let strays = self.stray_refs()?.into_iter().filter(|stray| stray.found.is_none());
        Ok(strays.filter_map(|stray| Some((stray.name, stray.said?))).collect())
    }

    /// Which file keeps the next command from moving the refs that the newest record names.
    pub(in crate::repo) fn blocked_refs(&self) -> Result<Option<RefError>> {
        let log = self.operations()?;
        let Some(last) = log.last().filter(|_| !self.is_past()) else { return Ok(None) };
        let is_late = |change: &&RefChange| {
            let read = self.refs().read(&change.name);
            read.is_ok_and(|found| found.map(|record| record.new) == change.old)
        };
        let late: Vec<RefChange> = last.refs.iter().filter(is_late).cloned().collect();
        // Any other is told elsewhere, or a command that runs has just moved them.
        let checked = self.refs().check(&late);
        Ok(checked.err().filter(|error| matches!(error, RefError::InTheWay { .. })))
    }

    fn strays_of(&self, log: &OpLog) -> Result<Vec<StrayRef>> {
        let last = log.last().map_or(0, |last| last.link.seq);
        // The last change of each ref, and whether it may not be made yet.
        let mut seen = BTreeMap::new();
        for record in log.backwards() {
            let OpRecord { link, refs, .. } = record?;
            for change in refs {
                seen.entry(change.name.clone()).or_insert((change, link.seq == last));
            }
        }
        let mut strays = Vec::new();
        for (name, (change, is_last)) in seen {
            // One that cannot be read is named for that.
            let Ok(record) = self.refs().read(&name) else { continue };
            let found = record.as_ref().map(|record| record.new);
            let is_late = is_last && found == change.old;
            // It says itself that it came from there: the log lost its end, or a record was lost.
            let is_ahead = record.is_some_and(|record| record.old == change.new);
            if found != change.new && !is_late && !is_ahead {
                strays.push(StrayRef { name, said: change.new, found });
            }
        }
        Ok(strays)
    }
}
