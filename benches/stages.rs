//! Speed of the single stages of `add` and `get`, on one core: `cargo bench --bench stages`.

use std::hint::black_box;
use std::io;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement,
};
use digstore::id::{ChunkId, PackId};
use digstore::storage::chunker::Chunker;
use digstore::storage::codec::{BlockDecoder, BlockEncoder};
use digstore::storage::disk::{Disk, OsDisk, TMP_DIR};
use digstore::storage::format::object::ChunkRef;
use digstore::storage::format::pack::Codec;
use digstore::storage::format::parity::Layout;
use digstore::storage::format::repository::ChunkerParams;
use digstore::storage::pack_store::{MakeParity, heal, make_parity, pack_path};
use digstore::storage::queues::CancelToken;
use digstore::storage::streaming::{Previous, Window, stitch, trace};

type Group<'a> = BenchmarkGroup<'a, measurement::WallTime>;

/// Bytes of one input: a block of the pipelines.
const BLOCK: usize = 1 << 20;
/// A file of many segments.
const LARGE: usize = 64 << 20;

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// Real text that every checkout has: this crate's own sources, repeated.
fn text(len: usize) -> Vec<u8> {
    let source = concat!(include_str!("../src/id.rs"), include_str!("../src/path.rs"));
    source.bytes().cycle().take(len).collect()
}

/// A file in memory, and how much of it is loaded.
struct Memory<'a>(&'a [u8], usize);

impl Window for Memory<'_> {
    fn rest(&self, from: u64) -> &[u8] {
        &self.0[from as usize..self.1]
    }

    fn load(&mut self, until: u64) -> io::Result<()> {
        self.1 = self.1.max(until as usize).min(self.0.len());
        Ok(())
    }

    fn file_len(&self) -> u64 {
        self.0.len() as u64
    }
}

/// Cuts a file in segments, each before the one before it is joined, and counts the chunks.
fn in_segments(chunker: &Chunker, data: &[u8], previous: Option<&Previous>) -> usize {
    let (mut entry, mut chunks) = (0, 0);
    for number in 0..(data.len() / BLOCK) as u64 {
        let (from, until) = (number * BLOCK as u64, (number + 1) * BLOCK as u64);
        let mut guide = previous.map(|previous| previous.guide(from));
        let start = guide.as_ref().and_then(digstore::storage::streaming::Guide::start);
        let window = &mut Memory(data, until as usize);
        let joined = trace(chunker, window, start.unwrap_or(from), until, guide.as_mut())
            .and_then(|traced| stitch(chunker, window, traced, entry, until));
        let Ok((joined, _)) = joined else { return 0 };
        if let (Some(previous), Some(guide)) = (previous, &guide) {
            previous.learn(guide, joined.end);
        }
        (entry, chunks) = (joined.end, chunks + joined.cuts.len());
    }
    chunks
}

fn previous(chunker: &Chunker, data: &[u8]) -> Previous {
    let (mut lengths, mut at) = (Vec::new(), 0);
    chunker.cut_all(data, true, &mut lengths);
    let chunk = |len: u32| {
        let (offset, id) = (at as u64, ChunkId::of(&data[at..at + len as usize]));
        at += len as usize;
        (offset, ChunkRef { id, len })
    };
    let chunks: Vec<_> = lengths.into_iter().map(chunk).collect();
    Previous::new(Box::new(chunks.into_iter()), data.len() as u64)
}

/// Files of the sizes that the specification names: below 64 KiB, up to 1 MiB, and more.
fn chunking(criterion: &mut Criterion) {
    let chunker = Chunker::new(ChunkerParams::DEFAULT);
    let mut group = criterion.benchmark_group("chunking");
    for (name, len) in [("small, 8 KiB", 8 << 10), ("medium, 512 KiB", 512 << 10)] {
        let file = noise(len);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("{name}: cut and hash"), |bencher| {
            bencher.iter(|| {
                let (mut lengths, mut rest) = (Vec::new(), &file[..]);
                chunker.cut_all(black_box(&file), true, &mut lengths);
                let mut ids = Vec::with_capacity(lengths.len());
                for len in lengths {
                    let (chunk, tail) = rest.split_at(len as usize);
                    ids.push(ChunkId::of(chunk));
                    rest = tail;
                }
                ids
            });
        });
    }
    large(&mut group, &chunker);
    group.finish();
}

fn large(group: &mut Group<'_>, chunker: &Chunker) {
    let file = noise(LARGE);
    group.throughput(Throughput::Bytes(LARGE as u64)).sample_size(20);
    group.bench_function("large, 64 MiB: cut in sequence", |bencher| {
        bencher.iter(|| {
            let mut lengths = Vec::new();
            chunker.cut_all(black_box(&file), true, &mut lengths)
        });
    });
    group.bench_function("large, 64 MiB: cut in segments", |bencher| {
        bencher.iter(|| in_segments(chunker, black_box(&file), None));
    });
    group.bench_function("large, 64 MiB: guided and hashed", |bencher| {
        bencher.iter_batched(
            || previous(chunker, &file),
            |previous| in_segments(chunker, black_box(&file), Some(&previous)),
            criterion::BatchSize::LargeInput,
        );
    });
    let zeros = vec![0; LARGE];
    group.bench_function("large, 64 MiB of zeros: cut in segments", |bencher| {
        bencher.iter(|| in_segments(chunker, black_box(&zeros), None));
    });
}

fn stages(criterion: &mut Criterion) {
    for (name, plain) in [("noise", noise(BLOCK)), ("text", text(BLOCK))] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(BLOCK as u64));
        group.bench_function("hash a chunk of 64 KiB", |bencher| {
            bencher.iter(|| plain.chunks(64 << 10).map(ChunkId::of).collect::<Vec<_>>());
        });
        for level in [1, 3] {
            compression(&mut group, &plain, level);
        }
        group.finish();
    }
}

fn compression(group: &mut Group<'_>, plain: &[u8], level: i32) {
    let Ok(mut encoder) = BlockEncoder::new(level) else { return };
    let mut stored = Vec::new();
    group.bench_function(format!("compress at level {level}"), |bencher| {
        bencher.iter(|| encoder.encode(black_box(plain), 0, &mut stored));
    });
    let (Ok(mut decoder), false) = (BlockDecoder::new(), stored.is_empty()) else { return };
    let mut back = Vec::new();
    group.bench_function(format!("decompress level {level}"), |bencher| {
        bencher.iter(|| decoder.decode(Codec::Zstd, &stored, BLOCK, &mut back));
    });
}

/// Parity of one group, made from a file and healing it.
fn parity(criterion: &mut Criterion) {
    const PACK: usize = 16 << 20;
    let Ok(dir) = tempfile::tempdir() else { return };
    let disk = OsDisk::new(dir.path());
    let pack = PackId::of(b"pack");
    let mut bytes = noise(PACK);
    let path = pack_path(&pack);
    let written = disk
        .create_dir(TMP_DIR.as_ref())
        .and_then(|()| disk.create_dir(path.parent().unwrap_or(&path)))
        .and_then(|()| disk.publish(&path, &bytes, false));
    if written.is_err() {
        return;
    }
    let mut group = criterion.benchmark_group("parity");
    group.throughput(Throughput::Bytes(PACK as u64));
    let layout = Layout { pack, pack_len: PACK as u64, shard_len: 4096, groups: 1, recovery: 205 };
    group.bench_function("make 5%", |bencher| {
        bencher.iter(|| make_parity(&disk, &layout, MakeParity::Unsynced));
    });
    bytes[PACK / 2..PACK / 2 + 4096].fill(0);
    if disk.publish(&path, &bytes, true).is_ok() {
        let cancel = CancelToken::default();
        group.bench_function("heal a sector", |bencher| {
            bencher.iter(|| heal(&disk, &pack, &cancel));
        });
    }
    group.finish();
}

criterion_group!(benches, chunking, stages, parity);
criterion_main!(benches);
