//! Content-defined chunking: `FastCDC` (Xia et al., IEEE TPDS 2020) with the repository's parameters.
//!
//! The next cut depends on the bytes behind the previous cut and on nothing else, so the cuts are
//! the same however the input is fed, as long as each call sees [`Chunker::lookahead`] bytes or
//! the end of the file.

use fastcdc::v2020::{Normalization, cut, select_masks};

use super::format::repository::ChunkerParams;

/// Cuts one file after another; holds no state between calls.
#[derive(Debug, Clone)]
pub struct Chunker {
    params: ChunkerParams,
    mask_small: u64,
    mask_large: u64,
}

impl Chunker {
    /// A chunker for checked parameters.
    pub fn new(params: ChunkerParams) -> Self {
        let (mask_small, mask_large) = select_masks(params.avg as usize, Normalization::Level1);
        Self { params, mask_small, mask_large }
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
    }
}
