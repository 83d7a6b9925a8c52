//! A file cut in segments, from arbitrary starts, with and without a previous version as a guide,
//! against the same file cut in sequence. `just fuzz cuts`.

#![no_main]

use std::io;

use digstore::id::ChunkId;
use digstore::storage::chunker::Chunker;
use digstore::storage::format::object::ChunkRef;
use digstore::storage::format::repository::ChunkerParams;
use digstore::storage::streaming::{Cut, Guide, Previous, Window, stitch, trace};
use libfuzzer_sys::fuzz_target;

const PARAMS: [ChunkerParams; 4] = [
    ChunkerParams { min: 1024, avg: 2048, max: 8192, whole_file: 0 },
    ChunkerParams { min: 1024, avg: 4096, max: 4096, whole_file: 0 },
    ChunkerParams { min: 2048, avg: 2048, max: 65_536, whole_file: 0 },
    ChunkerParams { min: 1026, avg: 1500, max: 5002, whole_file: 0 },
];

struct Memory<'a> {
    file: &'a [u8],
    start: usize,
    loaded: usize,
}

impl Window for Memory<'_> {
    fn rest(&self, from: u64) -> &[u8] {
        assert!(from as usize >= self.start);
        &self.file[from as usize..self.loaded.max(from as usize)]
    }

    fn load(&mut self, until: u64) -> io::Result<()> {
        self.loaded = self.loaded.max((until as usize).min(self.file.len()));
        Ok(())
    }

    fn file_len(&self) -> u64 {
        self.file.len() as u64
    }
}

/// Turns few bytes of input into much data: each pair is a value and how often it comes, or noise.
fn expand(recipe: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    for step in recipe.chunks(3) {
        let [kind, value, count] = [0, 1, 2].map(|at| step.get(at).copied().unwrap_or(1));
        let count = (usize::from(count) + 1) * 96;
        match kind % 4 {
            0 => data.extend(std::iter::repeat_n(value, count)),
            1 => data.extend((0..count).map(|at| (at % (usize::from(value) + 1)) as u8)),
            2 => {
                let mut state = u64::from(value) | 0x9e37_79b9_0000;
                data.extend((0..count).map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 40) as u8
                }));
            }
            _ => {
                let from = data.len().saturating_sub(usize::from(value) * 64);
                let copy: Vec<u8> = data[from..].iter().copied().cycle().take(count).collect();
                data.extend(copy);
            }
        }
    }
    data
}

fn sequential(chunker: &Chunker, data: &[u8]) -> Vec<u32> {
    let mut lengths = Vec::new();
    chunker.cut_all(data, true, &mut lengths);
    lengths
}

fn previous(chunker: &Chunker, data: &[u8]) -> Previous {
    let mut at = 0;
    let chunk = |len: u32| {
        let (offset, id) = (at as u64, ChunkId::of(&data[at..at + len as usize]));
        at += len as usize;
        (offset, ChunkRef { id, len })
    };
    let chunks: Vec<_> = sequential(chunker, data).into_iter().map(chunk).collect();
    Previous::new(Box::new(chunks.into_iter()), data.len() as u64)
}

fn in_segments(
    chunker: &Chunker,
    data: &[u8],
    segment: u64,
    early: u8,
    previous: Option<&Previous>,
) -> Vec<Cut> {
    let (mut entry, mut cuts) = (0, Vec::new());
    for number in 0..(data.len() as u64).div_ceil(segment) {
        let (from, until) = (number * segment, (number + 1) * segment);
        let is_early = early >> (number % 8) & 1 == 1;
        let mut guide = previous.map(|known| known.guide(if is_early { from } else { entry }));
        let guessed = guide.as_ref().and_then(Guide::start);
        let guessed = guessed.filter(|at| (from..until).contains(at)).unwrap_or(from);
        let start = if is_early { guessed } else { entry };
        let loaded = (start as usize).min(data.len());
        let mut window = Memory { file: data, start: from.min(entry) as usize, loaded };
        let traced = trace(chunker, &mut window, start, until, guide.as_mut()).unwrap();
        if let (Some(previous), Some(guide)) = (previous, &guide) {
            previous.learn(guide, traced.end);
        }
        let (joined, _) = stitch(chunker, &mut window, traced, entry, until).unwrap();
        cuts.extend(joined.cuts);
        entry = joined.end;
    }
    cuts
}

fn check(chunker: &Chunker, data: &[u8], cuts: &[Cut]) {
    let lengths: Vec<u32> = cuts.iter().map(|cut| cut.len).collect();
    assert_eq!(lengths, sequential(chunker, data));
    let mut at = 0;
    for cut in cuts {
        let bytes = &data[at..at + cut.len as usize];
        assert!(cut.id.is_none_or(|id| id == ChunkId::of(bytes)));
        at += bytes.len();
    }
}

fuzz_target!(|input: (u8, u8, u16, Vec<u8>, Vec<u8>, u8)| {
    let (params, early, segment, recipe, other, keep) = input;
    let chunker = Chunker::new(PARAMS[usize::from(params) % PARAMS.len()]);
    let segment = u64::from(segment).max(300);
    let data = expand(&recipe[..recipe.len().min(60)]);
    check(&chunker, &data, &in_segments(&chunker, &data, segment, early, None));

    // Another version: a part of the data, something else, and the rest of it.
    let at = data.len() * usize::from(keep) / 256;
    let second = [&data[..at], &expand(&other[..other.len().min(30)]), &data[at..]].concat();
    let known = previous(&chunker, &data);
    check(&chunker, &second, &in_segments(&chunker, &second, segment, early, Some(&known)));
});
