//! The staging area beside a text form of the same facts, and what opening and looking up cost:
//! `cargo bench --bench staging`, or `-- DIRECTORY` for the paths of a directory of yours.
//!
//! Sizes are exact. Times are the least of several runs, on one core.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures, and has nobody to report an error to"
)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use digstore::id::{ChunkId, ListId};
use digstore::path::RepoPath;
use digstore::storage::binary_staging::{
    BinaryStagingArea, FileStat, Frame, StagedEntry, StagedKind, StagingOp,
};
use digstore::storage::disk::{Disk, OsDisk, TMP_DIR};
use digstore::storage::format::object::{ChunkRef, Content, ListPage};
use serde_json::{Value, json};

/// Bytes of an average chunk.
const CHUNK: u32 = 64 << 10;
/// Chunks of a page of a list, on average.
const PAGE: usize = 320;

fn new_area(dir: &Path) -> BinaryStagingArea {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(dir));
    disk.create_dir(Path::new(TMP_DIR)).unwrap();
    BinaryStagingArea::create(&*disk).unwrap();
    BinaryStagingArea::open(disk).unwrap()
}

fn open(dir: &Path) -> BinaryStagingArea {
    BinaryStagingArea::open(Arc::new(OsDisk::new(dir))).unwrap()
}

fn entry(path: &str, size: u64, content: Content) -> StagedEntry {
    let number = size.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let stat = FileStat {
        size,
        mtime_ns: 1_700_000_000_000_000_000 + (number >> 8) as i64,
        ctime_ns: 1_700_000_000_000_000_000 + (number >> 9) as i64,
        ino: number >> 40,
        dev: 65_024,
    };
    let kind = StagedKind::File { executable: false, content };
    StagedEntry { path: RepoPath::new(path).unwrap(), kind, stat, racy: false }
}

fn small_file(path: &str, number: u64) -> StagedEntry {
    let id = ChunkId::of(&number.to_le_bytes());
    entry(path, number % 60_000 + 1, Content::Chunk(id))
}

/// An entry as text, with the names of the fields written out.
fn as_json(entry: &StagedEntry) -> Value {
    let StagedKind::File { executable, content } = &entry.kind else { return Value::Null };
    let (kind, id) = match content {
        Content::Empty => ("empty", String::new()),
        Content::Chunk(id) => ("chunk", id.to_string()),
        Content::List(id) => ("list", id.to_string()),
    };
    json!({
        "path": entry.path.to_string(),
        "kind": kind,
        "executable": executable,
        "size": entry.stat.size,
        "mtime_ns": entry.stat.mtime_ns,
        "ctime_ns": entry.stat.ctime_ns,
        "ino": entry.stat.ino,
        "dev": entry.stat.dev,
        "racy": entry.racy,
        "id": id,
    })
}

/// Bytes on disk after the entries were staged in one batch.
fn stored_bytes(entries: &[StagedEntry]) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let mut area = new_area(dir.path());
    area.apply(entries.iter().cloned().map(StagingOp::Put).collect()).unwrap();
    let (base, log) = open(dir.path()).file_sizes();
    base + log
}

fn compare(what: &str, text: u64, binary: u64) {
    let saved = 100.0 * (1.0 - binary as f64 / text as f64);
    println!("  {what:<44} {text:>13} {binary:>13} {saved:>7.2} %");
}

/// Paths as source trees have them.
fn source_paths() -> Vec<String> {
    let names = ["core", "device", "driver", "net", "main", "util", "config", "types"];
    let mut paths = Vec::new();
    for number in 0..80_000usize {
        let pick = |shift: usize| names[(number >> shift) % names.len()];
        let dir = format!("{}/{}/{}{}", pick(13), pick(10), pick(6), number >> 6);
        let end = ["c", "h", "rs", "md"][number % 4];
        paths.push(format!("{dir}/{}_{}.{end}", pick(3), number & 63));
    }
    paths
}

fn paths_below(root: &Path) -> Vec<String> {
    let (mut paths, mut todo) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(root.join(&dir)).unwrap().flatten() {
            let path = dir.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => todo.push(path),
                _ => paths.extend(path.to_str().map(str::to_owned)),
            }
        }
    }
    paths.retain(|path| RepoPath::new(path.as_str()).is_ok());
    paths
}

fn sizes(root: Option<&Path>) {
    println!("bytes stored: JSON, one object a file | staging area | saved");
    let paths = root.map_or_else(source_paths, paths_below);
    let mut entries: Vec<_> =
        (0..).zip(&paths).map(|(number, path)| small_file(path, number)).collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let text: usize = entries.iter().map(|entry| as_json(entry).to_string().len() + 1).sum();
    let binary = stored_bytes(&entries);
    compare(&format!("{} paths of a source tree", entries.len()), text as u64, binary);
    println!(
        "  {:<44} {:>13} {:>13}",
        "  for each file",
        text / entries.len(),
        binary / entries.len() as u64
    );
    large_files();
}

/// Ten files of a GiB. The text form has their chunk lists inside; Digstore keeps those in packs,
/// so that they are counted apart as well.
fn large_files() {
    let (mut text, mut lists, mut entries) = (0, 0, Vec::new());
    for number in 0..10u32 {
        let chunk = |at: u32| ChunkRef {
            id: ChunkId::of(&[number, at].map(u32::to_le_bytes).concat()),
            len: CHUNK,
        };
        let chunks: Vec<_> = (0..(1 << 30) / CHUNK).map(chunk).collect();
        for page in chunks.chunks(PAGE) {
            lists += ListPage::Leaf(page.to_vec()).encode().len() as u64;
        }
        let list = Content::List(ListId::of(&number.to_le_bytes()));
        let one = entry(&format!("models/checkpoint-{number}.safetensors"), 1 << 30, list);
        let mut value = as_json(&one);
        let offsets = (0..).step_by(CHUNK as usize);
        value["chunks"] = offsets
            .zip(&chunks)
            .map(|(offset, chunk): (u64, _)| {
                json!({ "offset": offset, "size": chunk.len, "hash": chunk.id.to_string() })
            })
            .collect();
        text += value.to_string().len() as u64 + 1;
        entries.push(one);
    }
    let staged = stored_bytes(&entries);
    compare("10 files of 1 GiB with chunk lists as JSON", text, staged);
    compare("  the chunk lists in the packs counted too", text, staged + lists);
}

fn least<T>(runs: usize, mut run: impl FnMut() -> T) -> Duration {
    let time = |_| {
        let started = Instant::now();
        black_box(run());
        started.elapsed()
    };
    (0..runs).map(time).min().unwrap_or_default()
}

fn each(time: Duration, count: usize) -> u128 {
    time.as_nanos() / count as u128
}

fn times(count: usize) {
    let dir = tempfile::tempdir().unwrap();
    let path = |number: usize| format!("data/part-{:04}/sample-{number:08}.jpg", number / 1000);
    let mut area = new_area(dir.path());
    let mut frame = Frame::default();
    for number in 0..count {
        frame.put(&small_file(&path(number), number as u64).view());
    }
    area.apply_frame(frame).unwrap();
    let opened = least(5, || open(dir.path()));
    let mut random: Vec<String> = (0..count).map(path).collect();
    let in_order = random.clone();
    // Any order that is far from that of the records.
    random.sort_by_key(|path| ChunkId::of(path.as_bytes()));
    let area = open(dir.path());
    let look_up =
        |paths: &[String]| paths.iter().filter(|path| area.view(path.as_bytes()).is_some()).count();
    let by_hash = least(3, || look_up(&random));
    let guessed = least(3, || {
        let mut number = usize::MAX;
        for path in &in_order {
            let found = area.locate(path.as_bytes(), number.wrapping_add(1));
            number = found.map_or(usize::MAX, |(number, _)| number);
        }
        number
    });
    let walked = least(3, || area.views().map(|view| view.stat.size).sum::<u64>());
    let mut changed = open(dir.path());
    let mut frame = Frame::default();
    for number in (0..count).step_by(20) {
        frame.put(&small_file(&path(number), 1).view());
    }
    changed.apply_frame(frame).unwrap();
    let with_log = least(5, || open(dir.path()));
    let (base, log) = open(dir.path()).file_sizes();
    println!(
        "  {count:>9} {:>11.3} {:>9} {:>9} {:>9} {:>14.3}   ({} B of base, {log} B of log)",
        opened.as_secs_f64() * 1e3,
        each(by_hash, count),
        each(guessed, count),
        each(walked, count),
        with_log.as_secs_f64() * 1e3,
        base,
    );
}

fn main() {
    // Cargo passes `--bench`.
    let root = std::env::args_os().skip(1).find(|arg| !arg.to_string_lossy().starts_with("--"));
    sizes(root.map(PathBuf::from).as_deref());
    println!(
        "\n    entries     open ms   look up, ns each: by hash, in order; walk | open ms with a log"
    );
    [10_000, 100_000, 1_000_000].into_iter().for_each(times);
}
