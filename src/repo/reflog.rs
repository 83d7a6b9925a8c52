//! Where refs and `HEAD` were before, from the log of operations: `@{1}`, `main@{yesterday}`, `-`.
//!
//! The log is read from its end, as far as is needed. What a killed command had entered and not
//! moved yet counts as moved.

use std::collections::BTreeMap;

use thiserror::Error;

use super::branches::BranchError;
use super::operation::{OpKind, OpRecord, RefChange};
use super::{RepoError, Repository, Result};
use crate::date::parse_date;
use crate::id::CommitId;
use crate::storage::format::refs::{Head, check_ref_name};
use crate::storage::oplog::OpLog;
use crate::storage::refs::{BRANCHES, RefValue};

/// Why there is no commit at a time or a number of changes ago.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReflogError {
    /// Neither a number nor a time.
    #[error("'{0}' is neither a number of changes nor a time")]
    Selector(String),
    /// It did not change so often.
    #[error("the log of operations holds fewer changes of '{name}': {known}")]
    TooFar {
        /// The ref.
        name: String,
        /// How often it did.
        known: u64,
    },
    /// It was not there.
    #[error("'{name}' led to no commit at '{when}'")]
    NotThere {
        /// The ref.
        name: String,
        /// When, as typed.
        when: String,
    },
    /// What was before the first operation is not known.
    #[error("the log of operations began after '{0}'")]
    BeforeTheLog(String),
}

/// What stands between the braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Selector {
    /// `{2}`: so many changes ago.
    Changes(u64),
    /// `{-2}`: what was checked out so many switches ago.
    Switches(u64),
    /// `{yesterday}`, in seconds since 1970.
    Time(i64),
}

/// Takes `main@{1}` apart into `main` and `1`.
fn split(text: &str) -> Option<(&str, &str)> {
    text.strip_suffix('}')?.split_once("@{")
}

fn selector(text: &str) -> Option<Selector> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.strip_prefix('-') {
        Some(count) if is_number(count) => {
            count.parse().ok().filter(|count| *count > 0).map(Selector::Switches)
        }
        None if is_number(text) => text.parse().ok().map(Selector::Changes),
        _ => parse_date(text).ok().map(|date| Selector::Time(date.seconds)),
    }
}

/// How many switches ago `-` and `@{-2}` mean; `None` for other revisions.
pub fn switches_ago(revision: &str) -> Option<u64> {
    if revision == "-" {
        return Some(1);
    }
    match split(revision).map(|(name, text)| (name, selector(text))) {
        Some(("", Some(Selector::Switches(count)))) => Some(count),
        _ => None,
    }
}

/// What is looked back at.
enum Subject {
    Head,
    Ref(String),
}

/// Where it was at one time; `head` only of `HEAD` itself.
#[derive(PartialEq, Eq)]
struct Place {
    head: Option<Head>,
    value: Option<RefValue>,
}

/// Goes back in time, one operation after the other.
struct Backwards<'r> {
    repository: &'r Repository,
    subject: Subject,
    head: Head,
    /// The refs that changed since, as they were.
    refs: BTreeMap<String, Option<RefValue>>,
}

impl Backwards<'_> {
    fn place(&self) -> Result<Place> {
        match &self.subject {
            Subject::Ref(name) => Ok(Place { head: None, value: self.value(name)? }),
            Subject::Head => {
                let value = match &self.head {
                    Head::Detached(commit) => Some((*commit).into()),
                    Head::Branch(name) => self.value(&format!("{BRANCHES}/{name}"))?,
                };
                Ok(Place { head: Some(self.head.clone()), value })
            }
        }
    }

    fn value(&self, name: &str) -> Result<Option<RefValue>> {
        match self.refs.get(name) {
            Some(then) => Ok(*then),
            None => Ok(self.repository.refs().read(name)?.map(|record| record.new)),
        }
    }

    fn step_over(&mut self, record: OpRecord) {
        if let Subject::Ref(name) = &mut self.subject
            && let Some(old) = renamed_from(name, &record.refs)
        {
            *name = old.to_owned();
        }
        self.head = record.before.head;
        for change in record.refs {
            let is_meant = match &self.subject {
                Subject::Head => change.name.starts_with(BRANCHES),
                Subject::Ref(name) => change.name == *name,
            };
            if is_meant {
                self.refs.insert(change.name, change.old);
            }
        }
    }
}

/// The name that a branch had before an operation gave it this one.
fn renamed_from<'c>(name: &str, changes: &'c [RefChange]) -> Option<&'c str> {
    let [one, other] = changes else { return None };
    let (made, gone) = if one.name == name { (one, other) } else { (other, one) };
    let is_renamed = made.name == name
        && made.old.is_none()
        && gone.new.is_none()
        && gone.old == made.new
        && gone.name.starts_with(BRANCHES);
    is_renamed.then_some(gone.name.as_str())
}

impl Repository {
    /// The commit that a revision with `@{…}`, or `-`, names; `None` for other revisions.
    pub(super) fn resolve_past(&self, revision: &str) -> Result<Option<CommitId>> {
        if let Some(count) = switches_ago(revision) {
            return match self.previous_head(count)? {
                Head::Branch(name) => self.branch_commit(&name).map(Some),
                Head::Detached(commit) => Ok(Some(commit)),
            };
        }
        let Some((name, text)) = split(revision) else { return Ok(None) };
        let (subject, shown) = self.subject(name)?;
        let head = self.refs().read_head()?;
        let back = Backwards { repository: self, subject, head, refs: BTreeMap::new() };
        match selector(text) {
            Some(Selector::Changes(count)) => self.changes_ago(back, count, shown).map(Some),
            Some(Selector::Time(seconds)) => self.at_time(back, seconds, shown, text).map(Some),
            Some(Selector::Switches(_)) | None => {
                Err(ReflogError::Selector(text.to_owned()).into())
            }
        }
    }

    /// What the part before `@{…}` names, and what it is called.
    fn subject(&self, name: &str) -> Result<(Subject, String)> {
        if let ("", Head::Branch(branch)) = (name, self.refs().read_head()?) {
            return Ok((Subject::Ref(format!("{BRANCHES}/{branch}")), branch));
        }
        if matches!(name, "" | "HEAD" | "@") {
            return Ok((Subject::Head, "HEAD".to_owned()));
        }
        if check_ref_name(name).is_err() {
            return Err(self.unknown(name));
        }
        let full = match self.find_ref(name)? {
            Some((full, _)) => full,
            None => self.deleted_ref(name)?.ok_or_else(|| self.unknown(name))?,
        };
        Ok((Subject::Ref(full), name.to_owned()))
    }

    /// A branch or tag of that name that was there once.
    fn deleted_ref(&self, name: &str) -> Result<Option<String>> {
        let names = [format!("{BRANCHES}/{name}"), format!("tags/{name}"), name.to_owned()];
        let log = self.operations()?;
        for record in self.done(&log) {
            let record = record?;
            let is_changed =
                |name: &&String| record.refs.iter().any(|change| change.name == **name);
            if let Some(name) = names.iter().find(is_changed) {
                return Ok(Some(name.clone()));
            }
        }
        Ok(None)
    }

    /// The operations, the newest first; those until then, where the repository is looked at as it
    /// was once.
    fn done<'l>(&self, log: &'l OpLog) -> impl Iterator<Item = Result<OpRecord>> + use<'l> {
        let newest = self.looked_at.unwrap_or(u64::MAX);
        log.backwards()
            .map(|record| record.map_err(RepoError::from))
            .skip_while(move |record| record.as_ref().is_ok_and(|record| record.link.seq > newest))
    }

    fn changes_ago(&self, mut back: Backwards<'_>, count: u64, name: String) -> Result<CommitId> {
        let mut place = back.place()?;
        let mut known = 0;
        let log = self.operations()?;
        let mut records = self.done(&log);
        while known < count {
            let Some(record) = records.next() else {
                return Err(ReflogError::TooFar { name, known }.into());
            };
            back.step_over(record?);
            let earlier = back.place()?;
            known += u64::from(earlier != place);
            place = earlier;
        }
        let when = format!("@{{{count}}}");
        let value = place.value.ok_or(ReflogError::NotThere { name, when })?;
        Ok(value.commit)
    }

    fn at_time(
        &self,
        mut back: Backwards<'_>,
        seconds: i64,
        name: String,
        when: &str,
    ) -> Result<CommitId> {
        let when = when.to_owned();
        let log = self.operations()?;
        for record in self.done(&log) {
            let record = record?;
            if record.seconds <= seconds {
                let value = back.place()?.value.ok_or(ReflogError::NotThere { name, when })?;
                return Ok(value.commit);
            }
            back.step_over(record);
        }
        Err(ReflogError::BeforeTheLog(when).into())
    }

    /// What `HEAD` named so many switches ago; at least one. Commits are no switches, nor is a new
    /// name of the branch, nor what was undone.
    pub fn previous_head(&self, switches: u64) -> Result<Head> {
        let mut left = switches;
        let log = self.operations()?;
        let newest = self.done(&log).next().transpose()?;
        let mut next = newest.and_then(|newest| newest.undo);
        while let Some(link) = next {
            let record = log.follow(link)?;
            if is_switch(&record) {
                left -= 1;
                if left == 0 {
                    return Ok(record.before.head);
                }
            }
            next = log.before(&record)?.and_then(|below| below.undo);
        }
        Err(BranchError::NoPrevious.into())
    }
}

fn is_switch(record: &OpRecord) -> bool {
    let description = match record.kind {
        OpKind::Redo { .. } => record.description.split_once(": ").map_or("", |(_, what)| what),
        _ => &record.description,
    };
    match (&record.before.head, &record.after.head) {
        (before, after) if before == after => false,
        // A commit or a merge on no branch goes on from where it was.
        (Head::Detached(_), Head::Detached(_)) => description.starts_with("switch: "),
        (Head::Branch(name), _) => {
            let full = format!("{BRANCHES}/{name}");
            let is_gone = |change: &RefChange| change.name == full && change.new.is_none();
            !record.refs.iter().any(is_gone)
        }
        (Head::Detached(_), Head::Branch(_)) => true,
    }
}

#[cfg(test)]
mod tests;
