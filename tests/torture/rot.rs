//! Bits that flip, lengths that shrink, pages of zeros: in any file of a repository, found by
//! `store verify` or without any effect.
//!
//! `DIGSTORE_TORTURE_ROT` is the number of changes, one at a time.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::Dice;
use crate::oracle::Facts;
use crate::script::{ROOT, open};
use crate::sim::{SimFs, State};
use crate::{Recording, below, random_commands, seed, setting};

/// What a disk writes as a whole.
const PAGE: usize = 4096;

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The repository is not opened, or `verify` names it.
    Found,
    /// Everything is as it was: a cache, or a hint.
    Harmless,
    /// The end of a log is gone, as behind a crash: what was staged or noted last. Refs and commits
    /// are as they were.
    LooksTorn,
}

/// A change of one file.
#[derive(Debug, Clone, Copy)]
enum Rot {
    Flip(usize, u8),
    Cut(usize),
    Zeros(usize),
}

impl Rot {
    fn any(dice: &mut Dice, len: usize) -> Self {
        let at = below(dice, len);
        match below(dice, 8) {
            0 => Self::Cut(at),
            1 => Self::Zeros(at / PAGE * PAGE),
            _ => Self::Flip(at, 1 << below(dice, 8)),
        }
    }

    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Flip(at, bit) => bytes[at] ^= bit,
            Self::Cut(at) => bytes.truncate(at),
            Self::Zeros(at) => {
                let end = bytes.len().min(at + PAGE);
                bytes[at..end].fill(0);
            }
        }
    }
}

/// A log: what is cut off at its end cannot be told from what a crash tore.
fn is_log(path: &Path) -> bool {
    let below = path.strip_prefix(ROOT).unwrap_or(path);
    below == Path::new("operations") || below == Path::new("staging/log")
}

fn judge(state: &State, work_tree: &Path, path: &Path, facts: &Facts) -> Result<Outcome, String> {
    let fs = SimFs::new(state.clone());
    let Ok(repository) = open(&fs, work_tree) else { return Ok(Outcome::Found) };
    let Ok(report) = repository.verify(true) else { return Ok(Outcome::Found) };
    if !report.problems.is_empty() || !report.affected.is_empty() {
        return Ok(Outcome::Found);
    }
    // What verify finds sound must read as it did: ids name contents, which it has hashed.
    let now = Facts::of(&repository).map_err(|why| format!("verified, and not readable: {why}"))?;
    if now == *facts {
        return Ok(Outcome::Harmless);
    }
    if is_log(path) && now.has_refs_of(facts) {
        return Ok(Outcome::LooksTorn);
    }
    Err(format!("not found: {now:#?}\ninstead of {facts:#?}"))
}

#[test]
fn rot_is_found_or_does_nothing() {
    let changes = setting("DIGSTORE_TORTURE_ROT", 2000);
    let seed = seed();
    let mut dice = Dice::new(seed);
    let mut outcomes: BTreeMap<Outcome, u64> = BTreeMap::new();
    let mut tried = 0;
    while tried < changes {
        let recording = Recording::of(&random_commands(&mut dice, 12));
        let state = recording.world.fs.state();
        let facts = Facts::of(&recording.world.open()).unwrap();
        let files: Vec<_> = state.files().into_iter().filter(|(_, len)| *len > 0).collect();
        for _ in 0..changes.min(500) {
            // Small files as often as large ones: each has its own format.
            let (path, len) = &files[below(&mut dice, files.len())];
            let rot = Rot::any(&mut dice, *len);
            let rotten = state.with(path, |bytes| rot.apply(bytes));
            let judged = judge(&rotten, recording.world.work_tree(), path, &facts);
            let outcome =
                judged.unwrap_or_else(|why| panic!("{}: {rot:?} of {len}: {why}", path.display()));
            *outcomes.entry(outcome).or_default() += 1;
            tried += 1;
        }
    }
    let of = |outcome| outcomes.get(&outcome).copied().unwrap_or(0);
    println!(
        "rig: rot: runs={tried} found={} harmless={} log-ends={} seed={seed}",
        of(Outcome::Found),
        of(Outcome::Harmless),
        of(Outcome::LooksTorn)
    );
    assert!(outcomes.contains_key(&Outcome::Found), "none was found");
}
