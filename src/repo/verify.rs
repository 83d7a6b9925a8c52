//! `store verify`: reads what is stored and names everything that is damaged, down to the paths
//! and commits it affects.
//!
//! This file reads the packs; `reach` walks refs, commits, what is staged and what the log of
//! operations keeps; `refs` compares refs with that log; `index` compares the index with the footers of packs;
//! `sample` chooses the part of the data that a run with `--sample` reads; `parity`
//! looks at what heals packs.

pub(super) mod index;
mod parity;
mod reach;
mod refs;
mod sample;

use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, PoisonError};

use index::IndexCheck;
use rayon::prelude::*;
use rustix::io::Errno;

use super::{RepoError, Repository, Result};
use crate::id::{CommitId, ObjectId};
use crate::path::RepoPath;
use crate::progress::Phase;
use crate::storage::disk::DiskError;
use crate::storage::format::object::Content;
use crate::storage::format::pack::{BlockKind, ChunkEntry, PackKind};
use crate::storage::pack_store::{Pack, PackStore, describe};

/// How much of the data is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// None: that it is there.
    Present,
    /// So many percent, 1 to 100: each run goes on where the last one ended, so that all is read in turn.
    Sample(u8),
    /// All.
    Data,
}

/// The part of the data that a run read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 0.
    pub number: u32,
    /// How many parts there are.
    pub of: u32,
    /// The hashes of what belongs to it, from this one to that.
    first: u64,
    last: u64,
}

impl Part {
    const ALL: Self = Self { number: 0, of: 1, first: 0, last: u64::MAX };
}

/// What names a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// The staging area.
    Staged,
    /// A commit.
    Commit(CommitId),
    /// What an operation of this number staged or kept.
    Operation(u64),
}

/// A path that cannot be had whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affected {
    /// What names it. A path that several commits hold is named for each.
    pub holder: Holder,
    /// The path; a directory where its own entries cannot be read.
    pub path: RepoPath,
    /// What the file holds and its length; none for a directory.
    pub content: Option<(Content, u64)>,
}

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
    /// Operations of the log that were read.
    pub operations: u64,
    /// The part of the data that was read; none without data.
    pub part: Option<Part>,
    /// Objects that are damaged, or needed and missing.
    pub damaged: HashSet<ObjectId>,
    /// Paths that cannot be had whole.
    pub affected: Vec<Affected>,
    /// What is wrong with parity, in words. It is no damage: all that is stored can be had.
    pub redundancy: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty() && self.damaged.is_empty() && self.affected.is_empty()
    }
}

/// The code of what a process or the machine ran out of, if that is why something could not be read:
/// nothing is called damaged for want of descriptors or memory.
fn shortage(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut codes = causes.filter_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
    codes.find(|code| SHORTAGES.iter().any(|short| short.raw_os_error() == *code))
}

const SHORTAGES: [Errno; 3] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];

/// Shared by the threads that read packs.
#[derive(Default)]
struct Tally {
    /// See [`shortage`].
    shortage: Option<i32>,
    problems: Vec<String>,
    damaged: HashSet<ObjectId>,
    objects: u64,
    bytes: u64,
}

impl Repository {
    /// Checks everything; with `data` also the bytes of every chunk.
    pub fn verify(&self, data: bool) -> Result<VerifyReport> {
        self.verify_to(if data { Depth::Data } else { Depth::Present })
    }

    /// Checks everything, and the bytes of chunks as far as `depth` says.
    pub fn verify_to(&self, depth: Depth) -> Result<VerifyReport> {
        let _reading = self.wait_to_read()?;
        self.monitor().phase(Phase::Verifying);
        let part = match depth {
            Depth::Present => None,
            Depth::Sample(percent) => Some(sample::next(&*self.disk, percent)),
            Depth::Data => Some(Part::ALL),
        };
        let mut report = VerifyReport { part, ..VerifyReport::default() };
        let store = self.store()?;
        report.problems.extend(store.damaged());
        for error in store.verify_indexes() {
            self.stop_at(shortage(&error))?;
            report.problems.push(error.describe());
        }
        if let Err(error) = PackStore::check_condemned(&**store.disk()) {
            self.stop_at(shortage(&error))?;
            report.problems.push(format!("{}; 'digstore gc' makes a new one", describe(&error)));
        }
        let (kept, condemned) = (Mutex::new(Tally::default()), store.condemned());
        let going = Mutex::new(Tally::default());
        let mut redundancy = parity::Redundancy::default();
        let mut index = IndexCheck::new(store);
        for id in store.packs() {
            self.stop_if_cancelled()?;
            let tally = if condemned.contains_key(&id) { &going } else { &kept };
            match store.pack(&id) {
                Ok(pack) => self.verify_pack(store, &pack, part, &mut index, tally)?,
                // `gc` does nothing then, whether it is to go or not.
                Err(error) if error.is_loss() => report.problems.push(describe(&error)),
                Err(error) => return Err(error.into()),
            }
            if !condemned.contains_key(&id) {
                redundancy.look(self, store, &id, part)?;
            }
            report.packs += 1;
        }
        let tally = |of: Mutex<Tally>| of.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (mut tally, mut going) = (tally(kept), tally(going));
        report.problems.extend(tally.problems);
        report.problems.extend(index.rest());
        (report.objects, report.bytes) = (tally.objects + going.objects, tally.bytes + going.bytes);
        // In a pack that goes only what is nowhere else matters, if anything needs it.
        let is_there =
            |id: &ObjectId| store.locate(id).is_some_and(|at| condemned.contains_key(&at.pack));
        going.damaged.retain(is_there);
        tally.damaged.extend(&going.damaged);
        self.objects()?.reader().trim();
        report.damaged = tally.damaged;
        self.verify_reachable(&mut report)?;
        report.redundancy = redundancy.problems(self, store)?;
        if report.affected.is_empty() && report.problems.is_empty() {
            report.damaged.retain(|id| !going.damaged.contains(id));
        } else {
            report.problems.extend(going.problems);
        }
        if let Some(part) = part.filter(|part| part.of > 1) {
            sample::passed(&*self.disk, part);
        }
        Ok(report)
    }

    pub(super) fn stop_if_cancelled(&self) -> Result<()> {
        if self.cancel_token().is_cancelled() { Err(RepoError::Interrupted) } else { Ok(()) }
    }

    fn verify_pack(
        &self,
        store: &PackStore,
        pack: &Pack,
        part: Option<Part>,
        index: &mut IndexCheck,
        tally: &Mutex<Tally>,
    ) -> Result<()> {
        let lock = || tally.lock().unwrap_or_else(PoisonError::into_inner);
        let id = pack.id();
        if let Err(error) = pack.verify_layout() {
            self.stop_at(shortage(&error))?;
            lock().problems.push(describe(&error));
        }
        let Ok(footer) = pack.footer() else { return Ok(()) };
        lock().problems.extend(index.look(store, pack)?);
        let part = match (footer.kind, part) {
            (PackKind::Meta, _) => Part::ALL,
            (PackKind::Data, Some(part)) => part,
            (PackKind::Data, None) => return Ok(()),
        };
        // Chunks by block, so that each block is decoded once.
        let mut chunks: Vec<(ObjectId, ChunkEntry)> = footer.chunks().collect();
        chunks.sort_unstable_by_key(|(_, chunk)| (chunk.block, chunk.offset));
        let blocks: Vec<&[(ObjectId, ChunkEntry)]> = chunks
            .chunk_by(|a, b| a.1.block == b.1.block)
            .filter(|chunks| sample::is_in(part, &id, chunks[0].1.block))
            .collect();
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
                    // Commands do not read all of the frame: some chunks may be sound for them.
                    let read = pack.block(block).map(|entry| entry.kind);
                    let read = read.and_then(|kind| Ok((kind, reader.block((id, block))?)));
                    let damaged = match read {
                        Ok((kind, plain)) => bad_chunks(chunks, kind, &plain),
                        Err(_) => chunks.iter().map(|chunk| chunk.0).collect(),
                    };
                    let mut tally = lock();
                    tally.shortage = tally.shortage.or(shortage(&error));
                    tally.problems.push(error.describe());
                    tally.damaged.extend(damaged);
                    return;
                }
            };
            let bad = bad_chunks(chunks, kind, &plain);
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
        self.stop_at(lock().shortage)?;
        self.stop_if_cancelled()
    }

    /// Ends a verification that could not look at all; see [`shortage`].
    fn stop_at(&self, shortage: Option<i32>) -> Result<()> {
        let Some(code) = shortage else { return Ok(()) };
        let (path, source) = (self.disk.root().to_owned(), io::Error::from_raw_os_error(code));
        Err(DiskError { op: "verify", path, source }.into())
    }
}

/// Those chunks of a decoded block that are not what their ids say.
fn bad_chunks(chunks: &[(ObjectId, ChunkEntry)], kind: BlockKind, plain: &[u8]) -> Vec<ObjectId> {
    let is_bad = |(id, chunk): &&(ObjectId, ChunkEntry)| {
        let end = chunk.offset as usize + chunk.len as usize;
        plain.get(chunk.offset as usize..end).is_none_or(|bytes| kind.id_of(bytes) != *id)
    };
    chunks.iter().filter(is_bad).map(|chunk| chunk.0).collect()
}
