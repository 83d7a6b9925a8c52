//! The log of operations, and what it restores: refs, `HEAD`, the staging area; and the small files that
//! say what was being done.

use std::path::Path;

use super::super::gc::GcOptions;
use super::super::operation::MOVING_FILE;
use super::super::{RepoError, Result};
use super::Repair;
use super::parity::AsRead;
use crate::storage::binary_staging::{BASE_FILE, LOG_FILE, StagingError};
use crate::storage::disk::ReadFile;
use crate::storage::format::moving::Moving;
use crate::storage::format::refs::Head;
use crate::storage::oplog::{OPLOG_FILE, OpLog, OpLogError, OpRecord, salvage};
use crate::storage::pack_store::{CONDEMNED_FILE, PackStore};
use crate::storage::refs::{BRANCHES, HEAD_FILE, RefError, RefValue, ref_path};

impl Repair<'_> {
    /// Mends the log; its sound records, the oldest first.
    pub(super) fn log(&mut self) -> Result<Vec<OpRecord>> {
        let read = self.repository.operations();
        let read = read.and_then(|log| {
            let records = log.backwards().collect::<std::result::Result<Vec<_>, _>>();
            Ok((log.is_missing(), records?))
        });
        match read {
            Ok((false, mut records)) => {
                records.reverse();
                return Ok(records);
            }
            Ok(_) => {
                self.note(OPLOG_FILE, "nothing: it begins anew");
                self.renumbered = Some((0, 0));
                if self.apply {
                    OpLog::create(&**self.disk()).map_err(RepoError::from)?;
                }
                return Ok(Vec::new());
            }
            Err(RepoError::OpLog(OpLogError::Format { source, .. })) if !source.is_newer() => {}
            Err(RepoError::OpLog(OpLogError::Disk(error))) if error.is_unreadable() => {}
            Err(error) => return Err(error),
        }
        let path = Path::new(OPLOG_FILE);
        let bytes = self.read_rest(path)?;
        let damaged = |source| OpLogError::Format { file: self.disk().root().join(path), source };
        let salvaged = salvage(&bytes).map_err(damaged)?;
        self.note(OPLOG_FILE, format!("{} sound records of it", salvaged.records.len()));
        self.set_aside(path)?;
        if self.apply {
            self.disk().publish(path, &salvaged.bytes, true)?;
        }
        self.renumbered = Some((salvaged.last, salvaged.records.len() as u64));
        Ok(salvaged.records)
    }

    /// A file, with zeros in the place of what the disk cannot read; no bytes of what is no file.
    fn read_rest(&self, path: &Path) -> Result<Vec<u8>> {
        let disk = self.disk();
        let file = match disk.read(path, u64::MAX) {
            Err(error) if error.is_no_file() => None,
            Err(error) if error.is_unreadable() => disk.open(path)?,
            read => return Ok(read?.unwrap_or_default()),
        };
        let Some(file) = file else { return Ok(Vec::new()) };
        let mut bytes = vec![0; file.len()? as usize];
        AsRead(file).read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    pub(super) fn head(&mut self, records: &[OpRecord]) -> Result<()> {
        match self.repository.refs().read_head() {
            Err(RefError::Format { source, .. }) if !source.is_newer() => {}
            Err(RefError::Disk(error)) if error.is_unreadable() => {}
            Err(RefError::NoHead { .. }) => {}
            other => return Ok(other.map(drop)?),
        }
        let (head, from) = match records.last() {
            Some(last) => (last.after.head.clone(), "the log of operations"),
            None => match self.only_branch()? {
                Some(name) => (Head::Branch(name), "the only branch"),
                None => return Ok(()),
            },
        };
        self.note(HEAD_FILE, from);
        self.set_aside(HEAD_FILE.as_ref())?;
        if self.apply {
            self.repository.refs().write_head(&head)?;
        }
        Ok(())
    }

    fn only_branch(&self) -> Result<Option<String>> {
        let mut names = self.repository.refs().names()?;
        names.retain(|name| name.starts_with(&format!("{BRANCHES}/")));
        let only = if names.len() == 1 { names.pop() } else { None };
        Ok(only.map(|name| name[BRANCHES.len() + 1..].to_owned()))
    }

    /// Refs that are damaged, and those that the log knows and nobody deleted.
    pub(super) fn refs(&mut self, records: &[OpRecord]) -> Result<()> {
        let refs = self.repository.refs();
        for name in refs.names()? {
            match refs.read(&name) {
                Err(RefError::Format { source, .. }) if !source.is_newer() => {}
                Err(RefError::Disk(error)) if error.is_unreadable() => {}
                other => {
                    other?;
                    continue;
                }
            }
            let changes = records.iter().rev().flat_map(|record| &record.refs);
            let Some(said) = changes.clone().find(|change| change.name == name) else { continue };
            self.set_aside(&ref_path(&name))?;
            if let Some(value) = said.new {
                self.put_ref_back(&name, value)?;
                continue;
            }
            self.note(ref_path(&name).to_string_lossy(), "the log of operations: it was deleted");
            if self.apply {
                self.disk().remove_durably(&ref_path(&name))?;
            }
        }
        // A dry run cannot ask a log that is not mended yet.
        for (name, value) in self.repository.missing_refs().unwrap_or_default() {
            self.put_ref_back(&name, value)?;
        }
        for stray in self.repository.stray_refs().unwrap_or_default() {
            if stray.found.is_some() {
                let undo = "it is entered as it is, 'digstore undo' brings it back";
                self.note(OPLOG_FILE, format!("the refs: {}; {undo}", stray.describe()));
            }
        }
        Ok(())
    }

    /// What a killed command did to the work tree: not known any more, or noted behind an operation
    /// that has another number now.
    pub(super) fn moving(&mut self) -> Result<()> {
        let path = Path::new(MOVING_FILE);
        match self.repository.moving() {
            Err(RepoError::Moving(_)) => {}
            Err(RepoError::Disk(error)) if error.is_unreadable() => {}
            moving => match moving?.zip(self.renumbered) {
                None => return Ok(()),
                // It still means what it did: the end of the log, or nothing.
                Some((moving, (before, now))) if now == before && moving.seq <= now => {
                    return Ok(());
                }
                Some((moving, (before, now))) if moving.seq >= before => {
                    return self.renumber(&Moving { seq: now, ..moving });
                }
                // One of an earlier operation meant nothing before, either.
                Some(_) => {}
            },
        }
        self.note(MOVING_FILE, "nothing: it is set aside");
        self.set_aside(path)?;
        if self.apply { Ok(self.disk().remove_durably(path)?) } else { Ok(()) }
    }

    fn renumber(&mut self, moving: &Moving) -> Result<()> {
        self.note(MOVING_FILE, "the mended log of operations: its place there");
        if self.apply {
            self.disk().publish(MOVING_FILE.as_ref(), &moving.encode(), true)?;
        }
        Ok(())
    }

    fn put_ref_back(&mut self, name: &str, value: RefValue) -> Result<()> {
        let from = format!("the log of operations: commit {}", value.commit.short());
        self.note(ref_path(name).to_string_lossy(), from);
        if self.apply {
            self.repository.refs().put_back(name, value)?;
        }
        Ok(())
    }

    /// The list of condemned packs. What is in use is what `gc` finds; where it does nothing, because more
    /// is damaged, no pack counts for those who store. Of the packs none goes: this command reads.
    pub(super) fn condemned(&mut self) -> Result<()> {
        match PackStore::check_condemned(&**self.disk()) {
            Err(error) if error.is_loss() => {}
            _ => return Ok(()),
        }
        if self.apply {
            self.set_aside(CONDEMNED_FILE.as_ref())?;
            if self.repository.gc(GcOptions::default()).is_err() {
                let _lock = self.repository.lock_to_repair()?;
                self.repository.store()?.condemn_all(jiff::Timestamp::now().as_second())?;
                let from =
                    "nothing: what is stored counts for nobody who stores until 'digstore gc'";
                self.note(CONDEMNED_FILE, from);
                return Ok(());
            }
        }
        self.note(CONDEMNED_FILE, "what is in use");
        Ok(())
    }

    /// The staging area that the last operation left, in the place of a damaged one.
    pub(super) fn staging(&mut self) -> Result<()> {
        if !self.is_staging_damaged()? {
            return Ok(());
        }
        // Somebody else may have made it anew before the lock was ours.
        let lock = if self.apply { Some(self.repository.lock_to_repair()?) } else { None };
        if !self.is_staging_damaged()? {
            return Ok(());
        }
        let last = match self.repository.operations() {
            Ok(log) => log.last().map(|last| last.after.staged.tree),
            Err(_) if !self.apply => None,
            Err(error) => return Err(error),
        };
        let Some(lock) = lock else {
            self.note("staging", "what the last operation staged, or the commit of HEAD");
            return Ok(());
        };
        for file in [BASE_FILE, LOG_FILE] {
            self.set_aside(file.as_ref())?;
        }
        let mut op = self.repository.begin_anew(lock, "store repair")?;
        let head = op.head_commit()?;
        let head = self.repository.tree_of(head).ok().flatten();
        let said = last.map(|tree| (tree, "what the last operation staged"));
        let trees = said.into_iter().chain(head.map(|tree| (tree, "the commit of HEAD")));
        let mut from = "nothing that could be read: it is empty; 'digstore add -A' stages all anew";
        for (tree, what) in trees {
            match op.stage_tree(tree) {
                Ok(()) => {
                    from = what;
                    break;
                }
                Err(RepoError::Store(error)) if error.is_loss() => {}
                Err(error) => return Err(error),
            }
        }
        op.finish()?;
        self.note("staging", from);
        Ok(())
    }

    fn is_staging_damaged(&self) -> Result<bool> {
        match self.repository.staging().and_then(|staging| Ok(staging.check()?)) {
            Err(RepoError::Staging(StagingError::Missing { .. })) => Ok(true),
            Err(RepoError::Staging(StagingError::Disk(error))) if error.is_unreadable() => Ok(true),
            Err(RepoError::Staging(StagingError::Format { source, .. })) if !source.is_newer() => {
                Ok(true)
            }
            other => other.map(|()| false),
        }
    }
}
