//! A sample of the fuzzing of every stored format and of everything that others write: the checks of
//! `fuzz/fuzz_targets/formats.rs` over changed seeds, and each input that ever failed one.
//!
//! `DIGSTORE_FUZZ_CASES` is the number of inputs for each format, `DIGSTORE_FUZZ_SEED` the seed,
//! which is printed; `just fuzz NAME` and `just fuzz-all` go on without end.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "checks make files by any means, and one that fails panics"
)]

mod checks;
mod found;

use std::path::PathBuf;

use checks::{Scratch, TARGETS, Target};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

#[global_allocator]
static ALLOCATOR: checks::memory::Counting = checks::memory::Counting;

/// A directory for checks that goes when the test ends: in memory, if the machine has such a place.
fn scratch() -> (tempfile::TempDir, Scratch) {
    let shared = PathBuf::from("/dev/shm");
    let place = if shared.is_dir() { shared } else { std::env::temp_dir() };
    let dir = tempfile::tempdir_in(place).unwrap();
    let scratch = Scratch::new(dir.path().to_owned());
    (dir, scratch)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A change of an input; places are parts of its length.
#[derive(Debug, Clone)]
enum Change {
    Flip(u16, u8),
    Put(u16, Vec<u8>),
    Cut(u16),
    Drop(u16, u16),
    Repeat(u16, u16),
    Insert(u16, Vec<u8>),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 1..9);
    let change = prop_oneof![
        3 => (any::<u16>(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        3 => (any::<u16>(), bytes()).prop_map(|(at, bytes)| Change::Put(at, bytes)),
        1 => any::<u16>().prop_map(Change::Cut),
        1 => (any::<u16>(), 0..40u16).prop_map(|(at, len)| Change::Drop(at, len)),
        1 => (any::<u16>(), 0..40u16).prop_map(|(at, len)| Change::Repeat(at, len)),
        1 => (any::<u16>(), bytes()).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
    ];
    proptest::collection::vec(change, 0..5)
}

impl Change {
    fn apply(&self, input: &mut Vec<u8>) {
        let place = |at: u16| usize::from(at) * (input.len() + 1) / (1 << 16);
        let range = |at: u16, len: u16| place(at)..(place(at) + usize::from(len)).min(input.len());
        match self {
            Self::Flip(at, bit) => {
                let at = place(*at);
                input.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << bit);
            }
            Self::Put(at, bytes) => {
                drop(input.splice(range(*at, bytes.len() as u16), bytes.clone()));
            }
            Self::Cut(at) => input.truncate(place(*at)),
            Self::Drop(at, len) => drop(input.drain(range(*at, *len))),
            Self::Repeat(at, len) => {
                let range = range(*at, *len);
                let copy = input[range.clone()].to_vec();
                input.splice(range.start..range.start, copy);
            }
            Self::Insert(at, bytes) => {
                let at = place(*at);
                input.splice(at..at, bytes.clone());
            }
        }
    }
}

fn sample(target: &Target, cases: u32) {
    let seed = setting("DIGSTORE_FUZZ_SEED", std::process::id().into());
    println!("{}: {cases} inputs, DIGSTORE_FUZZ_SEED={seed}", target.name);
    let (_dir, mut scratch) = scratch();
    let seeds = (target.seeds)();
    seeds.iter().for_each(|input| target.run(&mut scratch, input));
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let strategy = (proptest::sample::select(seeds), changes()).prop_map(|(mut input, changes)| {
        changes.iter().for_each(|change| change.apply(&mut input));
        input
    });
    let scratch = std::cell::RefCell::new(scratch);
    let run = |input: Vec<u8>| {
        target.run(&mut scratch.borrow_mut(), &input);
        Ok::<_, TestCaseError>(())
    };
    TestRunner::new_with_rng(config, rng).run(&strategy, run).unwrap();
}

/// A test for each format, so that they run side by side.
macro_rules! samples {
    ($($name:ident: $cases:expr,)+) => {
        $(#[test]
        fn $name() {
            let scale = setting("DIGSTORE_FUZZ_CASES", 0) as u32;
            sample(checks::find(stringify!($name)), if scale == 0 { $cases } else { scale });
        })+

        #[test]
        fn every_format_has_its_sample() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),+]);
        }
    };
}

samples! {
    repository: 2000,
    refs: 2000,
    merge_state: 2000,
    moving: 2000,
    sparse: 2000,
    object: 4000,
    tag: 2000,
    import_marks: 2000,
    condemned: 2000,
    parity: 2000,
    verify_turn: 2000,
    run_history: 1000,
    oplog: 2000,
    staging_log: 2000,
    staging_base: 2000,
    pack: 2000,
    pack_file: 4000,
    pack_index: 2000,
    zstd: 200,
    path: 4000,
    fast_export: 2000,
    ignore: 2000,
    pathspec: 4000,
    config: 500,
    revision: 500,
    tar: 50,
    graph: 100,
    store: 300,
}

/// Every stored format of the library is among them.
#[test]
fn every_stored_format_is_checked() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/storage/format");
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // What they are made of, and entries that are checked in the logs and the base.
        let is_part = matches!(&*name, "mod" | "bytes" | "staging");
        let is_file = path.extension().is_some_and(|ext| ext == "rs");
        assert!(
            !is_file || is_part || TARGETS.iter().any(|target| target.name == name),
            "{name} has no check"
        );
    }
}
