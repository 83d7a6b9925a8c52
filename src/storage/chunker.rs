//! Content-defined chunking: `FastCDC` (Xia et al., IEEE TPDS 2020) with the repository's parameters.
//!
//! The next cut depends on the bytes behind the previous cut and on nothing else, so the cuts are
//! the same however the input is fed, and whoever knows one cut of a file can go on from there. That
//! is what `streaming` builds on: segments of a file are cut from arbitrary starts and joined.
//!
//! A chunk ends *before* the byte whose hash ends it, so a cut depends on one byte more than the
//! chunk has ([`Chunker::confirms`]), and on no more than [`Chunker::lookahead`] bytes.

use std::sync::{Arc, OnceLock};

use fastcdc::v2020::{Normalization, cut, get_gear_with_seed, select_masks};

use super::format::repository::ChunkerParams;
use crate::id::ChunkId;

/// Bytes that the gear hash remembers: each shifts it by one bit.
const GEAR_WINDOW: usize = 64;

/// Every chunk inside a long run of one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunChunk {
    /// Its length.
    pub len: usize,
    /// Its id.
    pub id: ChunkId,
}

/// Cuts one file after another; holds no state between calls but what it knows of runs.
#[derive(Debug, Clone)]
pub struct Chunker {
    params: ChunkerParams,
    mask_small: u64,
    mask_large: u64,
    /// For each byte, filled when a run of it is met.
    runs: Arc<[OnceLock<RunChunk>; 256]>,
}

impl Chunker {
    /// A chunker for checked parameters.
    pub fn new(params: ChunkerParams) -> Self {
        let (mask_small, mask_large) = select_masks(params.avg as usize, Normalization::Level1);
        let runs = Arc::new([const { OnceLock::new() }; 256]);
        Self { params, mask_small, mask_large, runs }
    }

    /// The parameters.
    pub fn params(&self) -> &ChunkerParams {
        &self.params
    }

    /// Bytes that a cut may depend on: the largest chunk.
    pub fn lookahead(&self) -> usize {
        self.params.max as usize
    }

    /// Length of the chunk at the start of `data`, which holds [`Self::lookahead`] bytes or all
    /// that is left of the file. 0 only for no data.
    pub fn cut(&self, data: &[u8]) -> usize {
        let params = &self.params;
        let (_, len) = cut(
            data,
            params.min as usize,
            params.avg as usize,
            params.max as usize,
            self.mask_small,
            self.mask_large,
            self.mask_small << 1,
            self.mask_large << 1,
        );
        len
    }

    /// Length of the chunk at the start of `data`; `None` when that depends on bytes behind it.
    /// `is_end` says that there are none.
    pub fn try_cut(&self, data: &[u8], is_end: bool) -> Option<usize> {
        let len = self.cut(data);
        (len < data.len() || is_end || data.len() >= self.lookahead()).then_some(len)
    }

    /// Whether a chunk that ended after `len` bytes in one place, and not because the file did, ends
    /// there again: `data` begins with the same `len` bytes and holds two more or all of the file.
    ///
    /// No byte before can end it, or it would have ended there the first time; the one behind it
    /// is looked at anew.
    pub fn confirms(&self, data: &[u8], len: usize, is_end: bool) -> bool {
        let ChunkerParams { min, avg, max, .. } = self.params;
        let (min, avg, max) = (min as usize, avg as usize, max as usize);
        if len >= max || data.len() <= len {
            return len == max || (data.len() == len && is_end);
        }
        // The scan takes two bytes a step: an odd last one is never tested.
        let is_tested = data.len() > len + 1 || (is_end && data.len().is_multiple_of(2));
        if len < min || !is_tested {
            return false;
        }
        let (gear, _) = get_gear_with_seed(0);
        let from = min.max((len + 1).saturating_sub(GEAR_WINDOW));
        let hash = data[from..=len]
            .iter()
            .fold(0u64, |hash, byte| (hash << 1).wrapping_add(gear[usize::from(*byte)]));
        hash & (if len < avg { self.mask_small } else { self.mask_large }) == 0
    }

    /// The chunks of a run: `run` holds [`Self::lookahead`] equal bytes. Each chunk that begins
    /// with that many of them is this one.
    pub fn run_chunk(&self, run: &[u8]) -> RunChunk {
        let byte = run.first().copied().unwrap_or_default();
        *self.runs[usize::from(byte)].get_or_init(|| {
            let len = self.cut(run);
            RunChunk { len, id: ChunkId::of(&run[..len]) }
        })
    }

    /// Bytes at the start of `data` that are all equal, where they are enough for
    /// [`Self::run_chunk`]; else 0, mostly at the price of three looks.
    pub fn run_at(&self, data: &[u8]) -> usize {
        if self.begins_run(data) { equal_prefix(data, data[0]) } else { 0 }
    }

    /// Whether [`Self::run_at`] finds a run; how long it is stays open.
    pub fn begins_run(&self, data: &[u8]) -> bool {
        let max = self.lookahead();
        let Some(window) = data.get(..max) else { return false };
        let byte = window[0];
        window[max / 2] == byte && window[max - 1] == byte && equal_prefix(window, byte) == max
    }

    /// Cuts as much of `data` as can be decided: everything when it ends the file, else as long as
    /// the lookahead lasts. Appends the lengths and returns how many bytes they cover.
    pub fn cut_all(&self, data: &[u8], is_end: bool, lengths: &mut Vec<u32>) -> usize {
        let mut at = 0;
        while at < data.len() && (is_end || data.len() - at >= self.lookahead()) {
            let len = self.cut(&data[at..]);
            lengths.push(len as u32);
            at += len;
        }
        at
    }
}

/// How many bytes at the start equal `byte`.
fn equal_prefix(data: &[u8], byte: u8) -> usize {
    const STEP: usize = 256;
    // A fold without an early end is what the compiler turns into vector instructions.
    let differs = |piece: &&[u8]| piece.iter().fold(0, |seen, other| seen | (other ^ byte)) != 0;
    let whole = data.chunks_exact(STEP).position(|piece| differs(&piece));
    let from = whole.unwrap_or(data.len() / STEP) * STEP;
    from + data[from..].iter().take_while(|other| **other == byte).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastcdc::v2020::FastCDC;
    use proptest::prelude::*;

    const SMALL: ChunkerParams = ChunkerParams { min: 1024, avg: 2048, max: 8192, whole_file: 0 };

    /// Random, periodic, constant and text-like data, mixed.
    fn data() -> impl Strategy<Value = Vec<u8>> {
        let piece = (any::<u64>(), 0u8..4, 0usize..30_000).prop_map(|(seed, shape, len)| {
            let mut state = seed | 1;
            let mut next = move || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as u8
            };
            match shape {
                0 => (0..len).map(|_| next()).collect(),
                1 => vec![seed as u8; len],
                2 => (0..len).map(|at| (at % (seed as usize % 300 + 1)) as u8).collect::<Vec<_>>(),
                _ => (0..len).map(|_| b"etaoin shrdlu\n"[next() as usize % 14]).collect(),
            }
        });
        proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn the_cuts_are_those_of_the_reference_however_it_is_fed(data in data(), feed in 1usize..20_000) {
            let chunker = Chunker::new(SMALL);
            let reference: Vec<u32> = FastCDC::new(&data, 1024, 2048, 8192).map(|chunk| chunk.length as u32).collect();
            let (mut lengths, mut pending, mut rest) = (Vec::new(), Vec::new(), &data[..]);
            loop {
                let (head, tail) = rest.split_at(feed.min(rest.len()));
                pending.extend_from_slice(head);
                rest = tail;
                let used = chunker.cut_all(&pending, rest.is_empty(), &mut lengths);
                pending.drain(..used);
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(lengths, reference);
        }

        #[test]
        fn a_cut_is_decided_as_soon_as_its_bytes_are_there(data in data(), at in 0usize..30_000) {
            let chunker = Chunker::new(SMALL);
            let whole = chunker.cut(&data);
            let part = &data[..at.min(data.len())];
            if let Some(len) = chunker.try_cut(part, part.len() == data.len()) {
                prop_assert_eq!(len, whole);
            } else {
                prop_assert!(part.len() <= whole);
            }
        }

        #[test]
        fn a_chunk_is_confirmed_exactly_where_it_would_be_cut(
            data in data(),
            other in data(),
            keep in 0usize..4,
        ) {
            let chunker = Chunker::new(SMALL);
            let len = chunker.cut(&data);
            // Only what ended before the file did says anything.
            prop_assume!(len < data.len());
            let moved = [&data[..len], &data[len..(len + keep).min(data.len())], &other].concat();
            let there = &moved[..];
            prop_assert_eq!(chunker.confirms(there, len, true), chunker.cut(there) == len);
            if there.len() >= len + 2 {
                let part = &there[..len + 2];
                prop_assert_eq!(chunker.confirms(part, len, false), chunker.cut(there) == len);
            }
        }

        #[test]
        fn chunks_of_a_run_are_known(byte in any::<u8>(), extra in 0usize..9_000) {
            let chunker = Chunker::new(SMALL);
            let mut data = vec![byte; SMALL.max as usize + extra];
            prop_assert_eq!(chunker.run_at(&data), data.len());
            let chunk = chunker.run_chunk(&data);
            prop_assert_eq!(chunk.len, chunker.cut(&data));
            prop_assert_eq!(chunk.id, ChunkId::of(&data[..chunk.len]));
            data[SMALL.max as usize - 1] ^= 1;
            prop_assert_eq!(chunker.run_at(&data), 0);
        }
    }
}
