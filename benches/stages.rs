//! Speed of the single stages of `add` and `get`, on one core: `cargo bench`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use digstore::id::ChunkId;
use digstore::storage::chunker::Chunker;
use digstore::storage::codec::{BlockDecoder, BlockEncoder};
use digstore::storage::format::pack::Codec;
use digstore::storage::format::repository::ChunkerParams;

/// Bytes of one input: a block of the pipelines.
const BLOCK: usize = 1 << 20;

fn noise() -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// Real text that every checkout has: this crate's own sources, repeated.
fn text() -> Vec<u8> {
    let source = concat!(include_str!("../src/id.rs"), include_str!("../src/path.rs"));
    source.bytes().cycle().take(BLOCK).collect()
}

fn stages(criterion: &mut Criterion) {
    let chunker = Chunker::new(ChunkerParams::DEFAULT);
    for (name, plain) in [("noise", noise()), ("text", text())] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(BLOCK as u64));
        group.bench_function("cut", |bencher| {
            bencher.iter(|| {
                let mut lengths = Vec::new();
                chunker.cut_all(black_box(&plain), true, &mut lengths)
            });
        });
        group.bench_function("hash a chunk of 64 KiB", |bencher| {
            bencher.iter(|| plain.chunks(64 << 10).map(ChunkId::of).collect::<Vec<_>>());
        });
        for level in [1, 3] {
            let Ok(mut encoder) = BlockEncoder::new(level) else { return };
            let mut stored = Vec::new();
            group.bench_function(format!("compress at level {level}"), |bencher| {
                bencher.iter(|| encoder.encode(black_box(&plain), 0, &mut stored));
            });
            let (Ok(mut decoder), false) = (BlockDecoder::new(), stored.is_empty()) else {
                continue;
            };
            let mut back = Vec::new();
            group.bench_function(format!("decompress level {level}"), |bencher| {
                bencher.iter(|| decoder.decode(Codec::Zstd, &stored, BLOCK, &mut back));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, stages);
criterion_main!(benches);
