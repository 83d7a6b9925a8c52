//! Segments, traced from arbitrary starts and joined, against the reference over the whole file.

use proptest::prelude::*;

use super::*;
use crate::storage::format::object::ChunkRef;
use crate::storage::format::repository::ChunkerParams;
use crate::storage::streaming::guide::Previous;

/// Parameters of all shapes: chunks longer than segments, no spread at all, the default's ratios.
const PARAMS: [ChunkerParams; 5] = [
    ChunkerParams { min: 1024, avg: 2048, max: 8192, whole_file: 0 },
    ChunkerParams { min: 1024, avg: 4096, max: 4096, whole_file: 0 },
    ChunkerParams { min: 2048, avg: 2048, max: 65_536, whole_file: 0 },
    ChunkerParams { min: 4096, avg: 4096, max: 4096, whole_file: 0 },
    ChunkerParams { min: 1026, avg: 1500, max: 5002, whole_file: 0 },
];

/// A file in memory that loads no more than it is asked for.
struct Memory<'a> {
    file: &'a [u8],
    start: usize,
    loaded: usize,
}

impl Window for Memory<'_> {
    fn rest(&self, from: u64) -> &[u8] {
        assert!(from as usize >= self.start, "a look before the window");
        &self.file[from as usize..self.loaded.max(from as usize)]
    }

    fn load(&mut self, until: u64) -> io::Result<()> {
        self.loaded = self.loaded.max((until as usize).min(self.file.len()));
        Ok(())
    }

    fn file_len(&self) -> u64 {
        self.file.len() as u64
    }

    fn is_hole(&self) -> bool {
        self.file[self.start..self.loaded].iter().all(|byte| *byte == 0)
    }
}

fn sequential(chunker: &Chunker, data: &[u8]) -> Vec<u32> {
    let mut lengths = Vec::new();
    chunker.cut_all(data, true, &mut lengths);
    lengths
}

fn known(chunker: &Chunker, data: &[u8]) -> Previous {
    let mut at = 0;
    let mut chunks = Vec::new();
    for len in sequential(chunker, data) {
        let id = ChunkId::of(&data[at..at + len as usize]);
        chunks.push((at as u64, ChunkRef { id, len }));
        at += len as usize;
    }
    Previous::new(Box::new(chunks.into_iter()), data.len() as u64)
}

/// Cuts a file in segments; `early` says for each whether it is traced before the one before it is
/// joined. Returns the cuts and how many of them were expected.
fn in_segments(
    chunker: &Chunker,
    data: &[u8],
    segment: u64,
    early: &[bool],
    previous: Option<&Previous>,
) -> (Vec<Cut>, usize) {
    let (mut entry, mut hits) = (0, 0usize);
    let mut cuts = Vec::new();
    for number in 0..(data.len() as u64).div_ceil(segment) {
        let (from, until) = (number * segment, (number + 1) * segment);
        let is_early = early.get(number as usize % early.len().max(1)).copied().unwrap_or(true);
        let mut guide =
            previous.map(|previous| previous.guide(if is_early { from } else { entry }));
        let start = match &guide {
            _ if !is_early => entry,
            Some(guide) => guide.start().filter(|at| (from..until).contains(at)).unwrap_or(from),
            None => from,
        };
        let loaded = start.min(data.len() as u64) as usize;
        let mut window = Memory { file: data, start: from.min(entry) as usize, loaded };
        let traced = trace(chunker, &mut window, start, until, guide.as_mut()).unwrap();
        if let (Some(previous), Some(guide)) = (previous, &guide) {
            previous.learn(guide, traced.end);
            hits += guide.hits();
        }
        let (joined, wasted) = stitch(chunker, &mut window, traced.clone(), entry, until).unwrap();
        assert!(wasted <= traced.end - traced.start);
        assert_eq!(joined.start, entry);
        cuts.extend(joined.cuts);
        entry = joined.end;
    }
    (cuts, hits)
}

fn check(
    chunker: &Chunker,
    data: &[u8],
    segment: u64,
    early: &[bool],
    previous: Option<&Previous>,
) {
    let (cuts, _) = in_segments(chunker, data, segment, early, previous);
    let lengths: Vec<u32> = cuts.iter().map(|cut| cut.len).collect();
    assert_eq!(lengths, sequential(chunker, data));
    let mut at = 0;
    for cut in cuts {
        let bytes = &data[at..at + cut.len as usize];
        assert!(cut.id.is_none_or(|id| id == ChunkId::of(bytes)), "a wrong id at {at}");
        at += bytes.len();
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Random, constant, zero, periodic and text-like pieces.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let piece = (any::<u64>(), 0u8..5, 0usize..60_000).prop_map(|(seed, shape, len)| match shape {
        0 => noise(seed, len),
        1 => vec![seed as u8; len],
        2 => vec![0; len],
        3 => (0..len).map(|at| (at % (seed as usize % 5000 + 1)) as u8).collect(),
        _ => noise(seed, len).iter().map(|n| b"etaoin shrdlu\n"[*n as usize % 14]).collect(),
    });
    proptest::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

/// What happens to a file between two versions.
#[derive(Debug, Clone)]
enum Edit {
    Insert(usize, Vec<u8>),
    Delete(usize, usize),
    Overwrite(usize, Vec<u8>),
}

fn edit() -> impl Strategy<Value = Edit> {
    let bytes = (any::<u64>(), 1usize..20_000).prop_map(|(seed, len)| noise(seed, len));
    prop_oneof![
        (any::<usize>(), bytes.clone()).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (any::<usize>(), 1usize..40_000).prop_map(|(at, len)| Edit::Delete(at, len)),
        (any::<usize>(), bytes).prop_map(|(at, bytes)| Edit::Overwrite(at, bytes)),
    ]
}

fn apply(data: &mut Vec<u8>, edit: &Edit) {
    let place = |at: usize| if data.is_empty() { 0 } else { at % data.len() };
    match edit {
        Edit::Insert(at, bytes) => {
            let at = place(*at);
            data.splice(at..at, bytes.iter().copied());
        }
        Edit::Delete(at, len) => {
            let at = place(*at);
            let end = (at + len).min(data.len());
            data.drain(at..end);
        }
        Edit::Overwrite(at, bytes) => {
            let at = place(*at);
            let end = (at + bytes.len()).min(data.len());
            data[at..end].copy_from_slice(&bytes[..end - at]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn segments_are_cut_as_the_whole_file(
        data in data(),
        params in 0..PARAMS.len(),
        segment in 500u64..70_000,
        early in proptest::collection::vec(any::<bool>(), 1..8),
    ) {
        check(&Chunker::new(PARAMS[params]), &data, segment, &early, None);
    }

    #[test]
    fn a_previous_version_changes_no_cut(
        data in data(),
        edits in proptest::collection::vec(edit(), 0..6),
        params in 0..PARAMS.len(),
        segment in 500u64..70_000,
        early in proptest::collection::vec(any::<bool>(), 1..8),
    ) {
        let chunker = Chunker::new(PARAMS[params]);
        let previous = known(&chunker, &data);
        let mut now = data;
        edits.iter().for_each(|edit| apply(&mut now, edit));
        check(&chunker, &now, segment, &early, Some(&previous));
    }
}

#[test]
fn what_did_not_change_is_expected_and_needs_no_cutting() {
    let chunker = Chunker::new(PARAMS[0]);
    let data = noise(7, 3_000_000);
    let count = sequential(&chunker, &data).len();
    let same = in_segments(&chunker, &data, 100_000, &[true], Some(&known(&chunker, &data)));
    assert_eq!(same.1, count);

    let mut inserted = data.clone();
    inserted.splice(1_000_000..1_000_000, *b"a hundred bytes or so, put in somewhere");
    let (_, hits) =
        in_segments(&chunker, &inserted, 100_000, &[true], Some(&known(&chunker, &data)));
    assert!(hits + 6 >= count, "{hits} of {count}");

    let mut far = data.clone();
    far.splice(5..5, noise(8, 2_000_000));
    let (_, hits) = in_segments(&chunker, &far, 100_000, &[true], Some(&known(&chunker, &data)));
    assert!(hits + 6 >= count, "{hits} of {count} behind a long insertion");
}

#[test]
fn a_hole_is_cut_as_zeros_are() {
    let chunker = Chunker::new(PARAMS[0]);
    let mut data = vec![0; 1_000_000];
    data[400_123..400_200].fill(9);
    check(&chunker, &data, 50_000, &[true, false], None);
}
