//! Compression of blocks: zstd where it pays, raw where it does not, decided per block.

use std::io;

use zstd::zstd_safe::{self, CParameter};

use super::format::pack::Codec;

/// A block is stored raw unless compression saves at least this share of it (1/32, about 3 %).
const MIN_SAVING_SHIFT: u32 = 5;
/// Bytes looked at to tell whether a block compresses at all, from each of three places.
const SAMPLE: usize = 4 << 10;
/// Order-0 entropy, in bits per byte, above which a sample is worth a trial. Machine code and text
/// lie below; compressed and encrypted data come close to 8.
const SUSPICIOUS_ENTROPY: f64 = 7.5;

/// Level 3 as zstd has it keeps two tables of 512 and 256 KiB. With these, which leave room for the
/// data in a core's cache, the Linux source takes 9 % less time and 0.8 % more space, in blocks of
/// 1 MiB (`docs/performance.md`).
const SMALL_TABLES: (u32, u32) = (16, 14);
const SMALL_TABLES_LEVEL: i32 = 3;

/// Bytes from the middle of a block that tell whether a slower level pays.
const PROBE: usize = 128 << 10;
/// A slower level pays if it saves at least this share of what the faster one leaves (1/32).
const MIN_GAIN_SHIFT: u32 = 5;
/// Most blocks between two probes.
const MOST_UNPROBED: u32 = 16;

/// Whether a slower level pays for the data at hand, as of the last probe. As long as the answer stays
/// the same, the next one is put off twice as long.
#[derive(Debug, Clone, Copy)]
struct Verdict {
    pays: bool,
    interval: u32,
    blocks_left: u32,
}

impl Verdict {
    const NONE: Self = Self { pays: true, interval: 1, blocks_left: 0 };

    fn renew(&mut self, pays: bool) {
        self.interval = if pays == self.pays { (self.interval * 2).min(MOST_UNPROBED) } else { 1 };
        (self.pays, self.blocks_left) = (pays, self.interval);
    }
}

/// Compresses blocks; one per worker, because it owns zstd's working memory.
pub struct BlockEncoder {
    compressor: zstd::bulk::Compressor<'static>,
    level: i32,
    sample: Vec<u8>,
    verdict: Verdict,
}

impl BlockEncoder {
    /// An encoder that starts at `level`.
    pub fn new(level: i32) -> io::Result<Self> {
        let compressor = zstd::bulk::Compressor::new(level)?;
        let sample = Vec::with_capacity(3 * SAMPLE);
        let mut encoder = Self { compressor, level, sample, verdict: Verdict::NONE };
        encoder.set_tables(level)?;
        Ok(encoder)
    }

    /// Most bytes that `len` bytes take compressed: room for [`Self::encode`] to work in.
    pub fn most(len: usize) -> usize {
        zstd_safe::compress_bound(len)
    }

    /// Sets the level of the blocks that follow.
    pub fn set_level(&mut self, level: i32) -> io::Result<()> {
        if level != self.level {
            self.compressor.set_compression_level(level)?;
            self.set_tables(level)?;
            self.level = level;
        }
        Ok(())
    }

    /// Sets the slower of two levels if it pays for such data, else the faster. Text gains by it, data
    /// without repetitions takes half as long again for nothing. Now and then a piece of the block is
    /// compressed at both to find out.
    pub fn choose_level(&mut self, plain: &[u8], slow: i32, fast: i32) -> io::Result<()> {
        if slow <= fast || plain.len() < 2 * PROBE {
            return self.set_level(slow);
        }
        if self.verdict.blocks_left == 0 {
            let middle = (plain.len() - PROBE) / 2;
            let piece = &plain[middle..middle + PROBE];
            self.set_level(fast)?;
            let least = self.compressor.compress(piece)?.len();
            self.set_level(slow)?;
            let most = self.compressor.compress(piece)?.len();
            self.verdict.renew(most + (least >> MIN_GAIN_SHIFT) <= least);
        } else {
            self.verdict.blocks_left -= 1;
        }
        self.set_level(if self.verdict.pays { slow } else { fast })
    }

    /// Sets the sizes of the match finder's tables, as logarithms; 0 leaves them to zstd.
    fn set_tables(&mut self, level: i32) -> io::Result<()> {
        let (hash, chain) = if level == SMALL_TABLES_LEVEL { SMALL_TABLES } else { (0, 0) };
        self.compressor.set_parameter(CParameter::HashLog(hash))?;
        self.compressor.set_parameter(CParameter::ChainLog(chain))
    }

    /// Compresses `plain` into `out` and returns [`Codec::Zstd`], or leaves `out` empty and
    /// returns [`Codec::Raw`] when it would save too little. Blocks below `threshold` bytes stay
    /// raw.
    pub fn encode(
        &mut self,
        plain: &[u8],
        threshold: usize,
        out: &mut Vec<u8>,
    ) -> io::Result<Codec> {
        out.clear();
        if plain.len() < threshold || !self.looks_compressible(plain)? {
            return Ok(Codec::Raw);
        }
        out.reserve(zstd_safe::compress_bound(plain.len()));
        self.compressor.compress_to_buffer(plain, out)?;
        // Of a block of a few bytes the share is none, but one byte it must be.
        if out.len() + (plain.len() >> MIN_SAVING_SHIFT).max(1) > plain.len() {
            out.clear();
            return Ok(Codec::Raw);
        }
        Ok(Codec::Zstd)
    }

    /// Takes samples from the block; only where their entropy is high does a trial run decide.
    fn looks_compressible(&mut self, plain: &[u8]) -> io::Result<bool> {
        if plain.len() < 8 * SAMPLE {
            return Ok(true);
        }
        self.sample.clear();
        for start in [0, (plain.len() - SAMPLE) / 2, plain.len() - SAMPLE] {
            self.sample.extend_from_slice(&plain[start..start + SAMPLE]);
        }
        if entropy(&self.sample) < SUSPICIOUS_ENTROPY {
            return Ok(true);
        }
        let trial = self.compressor.compress(&self.sample)?;
        Ok(trial.len() + (self.sample.len() >> MIN_SAVING_SHIFT) <= self.sample.len())
    }
}

/// Order-0 entropy in bits per byte.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    bytes.iter().for_each(|byte| counts[*byte as usize] += 1);
    let total = bytes.len() as f64;
    let bits = |count: &u32| {
        let share = f64::from(*count) / total;
        if *count == 0 { 0.0 } else { -share * share.log2() }
    };
    counts.iter().map(bits).sum()
}

/// Why a stored payload cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the payload does not decode to {plain_len} bytes: {why}")]
pub struct DecodeError {
    plain_len: usize,
    why: String,
}

/// Decodes blocks; one per worker.
pub struct BlockDecoder {
    decompressor: zstd::bulk::Decompressor<'static>,
}

impl BlockDecoder {
    /// A decoder.
    pub fn new() -> io::Result<Self> {
        Ok(Self { decompressor: zstd::bulk::Decompressor::new()? })
    }

    /// Decodes `stored` into `out`, exactly `plain_len` bytes. The output buffer has that size and
    /// never grows, so that a payload made to explode ends in an error.
    pub fn decode(
        &mut self,
        codec: Codec,
        stored: &[u8],
        plain_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let error = |why: String| DecodeError { plain_len, why };
        out.clear();
        match codec {
            Codec::Raw => out.extend_from_slice(stored),
            Codec::Zstd => {
                let frame = zstd_safe::find_frame_compressed_size(stored);
                if frame != Ok(stored.len()) {
                    return Err(error("it is not one zstd frame".to_owned()));
                }
                out.reserve_exact(plain_len);
                self.decompressor
                    .decompress_to_buffer(stored, out)
                    .map_err(|source| error(source.to_string()))?;
            }
        }
        if out.len() == plain_len {
            Ok(())
        } else {
            Err(error(format!("it has {} bytes", out.len())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"noise");
        hasher.finalize_xof().fill(&mut out);
        out
    }

    fn round_trip(plain: &[u8]) -> (Codec, usize) {
        let mut stored = Vec::new();
        let codec = BlockEncoder::new(1).unwrap().encode(plain, 0, &mut stored).unwrap();
        let bytes = if codec == Codec::Raw { plain } else { &stored };
        let mut out = Vec::new();
        BlockDecoder::new().unwrap().decode(codec, bytes, plain.len(), &mut out).unwrap();
        assert_eq!(out, plain);
        (codec, bytes.len())
    }

    #[test]
    fn noise_stays_raw_and_text_does_not() {
        assert_eq!(round_trip(&noise(1 << 20)).0, Codec::Raw);
        assert_eq!(round_trip(&noise(10_000)).0, Codec::Raw);
        let text = "the quick brown fox\n".repeat(10_000);
        assert!(round_trip(text.as_bytes()).1 < 10_000);
    }

    #[test]
    fn noise_with_compressible_parts_is_compressed() {
        let mut plain = noise(300_000);
        plain[100_000..].fill(7);
        assert_eq!(round_trip(&plain).0, Codec::Zstd);
    }

    #[test]
    fn the_slower_level_is_taken_where_it_pays() {
        let words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"];
        let text: Vec<u8> = noise(400_000)
            .iter()
            .flat_map(|byte| [words[usize::from(byte % 8)], " "].concat().into_bytes())
            .take(1 << 20)
            .collect();
        let narrow: Vec<u8> = noise(1 << 20).iter().map(|byte| byte % 16).collect();
        let mut encoder = BlockEncoder::new(3).unwrap();
        let mut level = |plain: &[u8]| {
            encoder.choose_level(plain, 3, 1).unwrap();
            encoder.level
        };
        assert_eq!(level(&text), 3);
        // A change is seen after as many blocks as the verdict held before.
        let taken: Vec<i32> = (0..4).map(|_| level(&narrow)).collect();
        assert_eq!((taken[0], taken[3]), (3, 1), "{taken:?}");
        let taken: Vec<i32> = (0..2 * MOST_UNPROBED).map(|_| level(&text)).collect();
        assert_eq!(taken.last(), Some(&3));
        assert_eq!(level(&text[..PROBE]), 3, "too little to tell");
        encoder.choose_level(&narrow, 1, 1).unwrap();
        assert_eq!(encoder.level, 1);
    }

    #[test]
    fn a_bomb_ends_in_an_error() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
        let mut out = Vec::new();
        let mut decoder = BlockDecoder::new().unwrap();
        assert!(decoder.decode(Codec::Zstd, &bomb, 1000, &mut out).is_err());
        let twice = [bomb.clone(), bomb].concat();
        assert!(decoder.decode(Codec::Zstd, &twice, 64 << 20, &mut out).is_err());
        assert!(decoder.decode(Codec::Raw, b"abc", 4, &mut out).is_err());
    }

    proptest! {
        #[test]
        fn any_block_round_trips(plain in proptest::collection::vec(any::<u8>(), 1..5000)) {
            round_trip(&plain);
        }

        #[test]
        fn any_payload_gives_no_panic(stored in proptest::collection::vec(any::<u8>(), 0..300), len in 0usize..5000) {
            let mut out = Vec::new();
            let _ = BlockDecoder::new().unwrap().decode(Codec::Zstd, &stored, len, &mut out);
        }
    }
}
