//! `store verify`: reads what is stored and names everything that is damaged, down to the paths
//! and commits it affects.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use lru::LruCache;
use rayon::prelude::*;

use super::trees::TreeWalk;
use super::{RepoError, Repository, Result};
use crate::id::{CommitId, ObjectId, PackId};
use crate::path::RepoPath;
use crate::progress::Phase;
use crate::storage::binary_staging::StagedKind;
use crate::storage::format::object::{Content, EntryKind};
use crate::storage::format::pack::{ChunkEntry, PackKind};
use crate::storage::pack_store::{PackStore, StoreError, describe};

/// Files whose soundness is remembered, so that those of many commits are looked up once: 8 MiB.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1 << 16).unwrap();

/// What `store verify` found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Packs looked at.
    pub packs: u64,
    /// Objects whose bytes were read and hashed.
    pub objects: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Commits walked.
    pub commits: u64,
    /// Damage, in words.
    pub problems: Vec<String>,
    /// Paths that cannot be had whole, each with the commit, or none for the staging area.
    pub affected: Vec<(Option<CommitId>, RepoPath)>,
}

/// Shared by the threads that read packs.
#[derive(Default)]
struct Tally {
    problems: Vec<String>,
    damaged: HashSet<ObjectId>,
    objects: u64,
    bytes: u64,
}

impl Repository {
    /// Checks everything; with `data` also the bytes of every chunk.
    pub fn verify(&self, data: bool) -> Result<VerifyReport> {
        self.monitor().phase(Phase::Verifying);
        let mut report = VerifyReport::default();
        let store = self.store()?;
        report.problems.extend(store.damaged());
        report.problems.extend(store.verify_indexes().iter().map(StoreError::describe));
        report
            .problems
            .extend(PackStore::check_condemned(&**store.disk()).err().map(|e| describe(&e)));
        let (kept, condemned) = (Mutex::new(Tally::default()), store.condemned());
        let going = Mutex::new(Tally::default());
        for id in store.packs() {
            self.stop_if_cancelled()?;
            let tally = if condemned.contains_key(&id) { &going } else { &kept };
            self.verify_pack(store, id, data, tally)?;
            report.packs += 1;
        }
        let tally = |of: Mutex<Tally>| of.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (mut tally, mut going) = (tally(kept), tally(going));
        report.problems.extend(tally.problems);
        (report.objects, report.bytes) = (tally.objects + going.objects, tally.bytes + going.bytes);
        // In a pack that goes only what is nowhere else matters, if anything needs it.
        let is_there =
            |id: &ObjectId| store.locate(id).is_some_and(|at| condemned.contains_key(&at.pack));
        going.damaged.retain(is_there);
        tally.damaged.extend(going.damaged);
        self.objects()?.reader().trim();
        self.verify_reachable(&mut report, &tally.damaged)?;
        match self.check_operations(&tally.damaged) {
            Ok(problems) => report.problems.extend(problems),
            Err(RepoError::OpLog(error)) => report.problems.push(describe(&error)),
            Err(error) => return Err(error),
        }
        if !report.affected.is_empty() || !report.problems.is_empty() {
            report.problems.extend(going.problems);
        }
        Ok(report)
    }

    pub(super) fn stop_if_cancelled(&self) -> Result<()> {
        if self.cancel_token().is_cancelled() { Err(RepoError::Interrupted) } else { Ok(()) }
    }

    fn verify_pack(
        &self,
        store: &PackStore,
        id: PackId,
        data: bool,
        tally: &Mutex<Tally>,
    ) -> Result<()> {
        let lock = || tally.lock().unwrap_or_else(PoisonError::into_inner);
        let pack = match store.pack(&id) {
            Ok(pack) => pack,
            Err(error) if error.is_corruption() => {
                lock().problems.push(describe(&error));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if let Err(error) = pack.verify_layout() {
            lock().problems.push(describe(&error));
        }
        let footer = pack.footer()?;
        if footer.kind == PackKind::Data && !data {
            return Ok(());
        }
        // Chunks by block, so that each block is decoded once.
        let mut chunks: Vec<(ObjectId, ChunkEntry)> = footer.chunks().collect();
        chunks.sort_unstable_by_key(|(_, chunk)| (chunk.block, chunk.offset));
        let blocks: Vec<&[(ObjectId, ChunkEntry)]> =
            chunks.chunk_by(|a, b| a.1.block == b.1.block).collect();
        let reader = self.objects()?.reader();
        blocks.par_iter().for_each(|chunks| {
            if self.cancel_token().is_cancelled() {
                return;
            }
            let block = chunks[0].1.block;
            let read = pack
                .block(block)
                .and_then(|entry| Ok((entry.kind, reader.verify_block((id, block))?)));
            let (kind, plain) = match read {
                Ok(read) => read,
                Err(error) => {
                    let mut tally = lock();
                    tally.problems.push(error.describe());
                    tally.damaged.extend(chunks.iter().map(|chunk| chunk.0));
                    return;
                }
            };
            let is_bad = |(id, chunk): &&(ObjectId, ChunkEntry)| {
                let end = chunk.offset as usize + chunk.len as usize;
                plain.get(chunk.offset as usize..end).is_none_or(|bytes| kind.id_of(bytes) != *id)
            };
            let bad: Vec<ObjectId> = chunks.iter().filter(is_bad).map(|chunk| chunk.0).collect();
            self.monitor().advance(0, plain.len() as u64);
            let mut tally = lock();
            tally.objects += chunks.len() as u64;
            tally.bytes += plain.len() as u64;
            for id_bad in bad {
                tally
                    .problems
                    .push(format!("block {block} of pack {id}: object {id_bad} has other content"));
                tally.damaged.insert(id_bad);
            }
        });
        self.stop_if_cancelled()
    }

    /// Walks every commit and the staging area, and names the paths whose objects are damaged or
    /// missing.
    fn verify_reachable(
        &self,
        report: &mut VerifyReport,
        damaged: &HashSet<ObjectId>,
    ) -> Result<()> {
        let mut sound = LruCache::new(REMEMBERED);
        let refs = self.refs().list("");
        let head = self.refs().head_commit();
        for error in [refs.as_ref().err(), head.as_ref().err()].into_iter().flatten() {
            report.problems.push(describe(error));
        }
        let tips: Vec<CommitId> = refs
            .unwrap_or_default()
            .into_iter()
            .map(|(_, record)| record.new.commit)
            .chain(head.unwrap_or_default())
            .collect();
        let mut seen = HashSet::new();
        let mut stack = tips;
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            report.commits += 1;
            let commit = match self.objects()?.commit(&id) {
                Ok(commit) => commit,
                Err(error) => {
                    report.problems.push(format!("commit {}: {}", id.short(), describe(&error)));
                    continue;
                }
            };
            for item in TreeWalk::new(self.objects()?, &commit.tree, RepoPath::root()) {
                self.stop_if_cancelled()?;
                match item {
                    Ok(item) => {
                        if let EntryKind::File { content, size, .. } = item.kind
                            && !self.is_whole(&content, size, damaged, &mut sound)
                        {
                            report.affected.push((Some(id), item.path));
                        }
                    }
                    Err(error) => {
                        report.problems.push(format!(
                            "commit {}: {}",
                            id.short(),
                            describe(&error)
                        ));
                    }
                }
            }
            stack.extend(commit.parents);
        }
        match self.staging() {
            Ok(staging) => {
                for entry in staging.iter() {
                    if let StagedKind::File { content, .. } = entry.kind
                        && !self.is_whole(&content, entry.stat.size, damaged, &mut sound)
                    {
                        report.affected.push((None, entry.path));
                    }
                }
                report.problems.extend(staging.check().err().map(|error| describe(&error)));
            }
            Err(error) => report.problems.push(describe(&error)),
        }
        if report.problems.is_empty() && !report.affected.is_empty() {
            report.problems.push("objects that files need are missing".to_owned());
        }
        Ok(())
    }

    fn is_whole(
        &self,
        content: &Content,
        size: u64,
        damaged: &HashSet<ObjectId>,
        known: &mut LruCache<Content, bool>,
    ) -> bool {
        if let Some(whole) = known.get(content) {
            return *whole;
        }
        let Ok(objects) = self.objects() else { return false };
        let mut total = 0;
        let whole = objects.chunks(content, size, 0).all(|chunk| {
            chunk.is_ok_and(|(_, chunk)| {
                let id = ObjectId::from(chunk.id);
                total += u64::from(chunk.len);
                let found = objects.reader().store().locate(&id);
                found.is_some_and(|found| found.chunk.len == chunk.len) && !damaged.contains(&id)
            })
        }) && total == size;
        known.put(*content, whole);
        whole
    }
}
