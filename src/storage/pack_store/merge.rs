//! The merged index: built by a k-way merge of sorted footers and older parts, in flat memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::{INDEX_DIR, Location, PackTable, Result, StoreError, list_dir};
use crate::id::{ObjectId, PackId};
use crate::storage::disk::{Disk, FileBytes, NewFile};
use crate::storage::format::FormatError;
use crate::storage::format::pack_index::{self, IndexRecord, PackIndex};

/// A part is merged again when it is at most this many times larger than what is merged into it.
const GROWTH: usize = 2;
/// A part up to this size is checked whole when it is opened; a larger one would
/// show as memory, so only `store verify` reads all of it.
const CHECK_AT_OPEN: usize = 32 << 20;
/// Bytes gathered before a write.
const WRITE_BUFFER: usize = 256 << 10;

/// One part of the merged index, mapped.
#[derive(Debug)]
pub struct MergedIndex {
    name: String,
    bytes: FileBytes,
}

/// Ending of the names of parts.
const ENDING: &str = ".midx";

/// The names of the parts that are there. What else lies beside them is not ours.
pub fn list_index(disk: &dyn Disk) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for name in list_dir(disk, INDEX_DIR.as_ref())? {
        let is_part = name.ends_with(ENDING)
            && disk.file_kind(&index_path(&name))?.is_some_and(|(is_dir, _)| !is_dir);
        names.extend(is_part.then_some(name));
    }
    Ok(names)
}

fn index_path(name: &str) -> PathBuf {
    PathBuf::from(format!("{INDEX_DIR}/{name}"))
}

impl MergedIndex {
    /// Opens one part; `None` where it is gone.
    pub fn open(disk: &dyn Disk, name: &str) -> Result<Option<Self>> {
        let path = index_path(name);
        let Some(file) = disk.open(&path)? else { return Ok(None) };
        let bytes = file.map(0, file.len()? as usize)?;
        let checked = PackIndex::decode(&bytes).map(|_| ()).and_then(|()| {
            if bytes.len() <= CHECK_AT_OPEN { pack_index::verify(&bytes) } else { Ok(()) }
        });
        if let Err(source) = checked {
            bytes.check()?;
            return Err(StoreError::Format { path, source });
        }
        Ok(Some(Self { name: name.to_owned(), bytes }))
    }

    /// Name of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes on disk.
    #[expect(clippy::len_without_is_empty, reason = "there is always a header")]
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn view(&self) -> std::result::Result<PackIndex<'_>, FormatError> {
        PackIndex::decode(&self.bytes)
    }

    /// The packs it covers.
    pub fn packs(&self) -> Vec<PackId> {
        self.view().map(|view| view.packs().collect()).unwrap_or_default()
    }

    /// Looks an object up, with the number of its record.
    pub(super) fn position(&self, id: &ObjectId) -> Option<(usize, Location)> {
        let view = self.view().ok()?;
        let (number, record) = view.position(id)?;
        Some((number, Location { pack: view.pack(record.pack).ok()?, chunk: record.chunk }))
    }

    /// Where it says that an object lies, whether the pack is there or not.
    pub fn location(&self, id: &ObjectId) -> Option<Location> {
        self.position(id).map(|(_, location)| location)
    }

    /// How many records it has of each pack, and how many of none.
    pub fn records_of_packs(&self) -> (HashMap<PackId, u64>, u64) {
        let Ok(view) = self.view() else { return Default::default() };
        let mut counts = vec![0; view.pack_count()];
        let mut rest = 0;
        for number in 0..view.record_count() {
            *counts.get_mut(view.record(number).pack as usize).unwrap_or(&mut rest) += 1;
        }
        let mut packs = HashMap::new();
        for (pack, count) in view.packs().zip(counts) {
            *packs.entry(pack).or_default() += count;
        }
        (packs, rest)
    }

    /// Number of records.
    pub(super) fn record_count(&self) -> usize {
        self.view().map_or(0, |view| view.record_count())
    }

    /// Whether it was still whole when it was used last.
    pub fn check(&self) -> Result<()> {
        Ok(self.bytes.check()?)
    }

    /// Checks all of it.
    pub fn verify(&self) -> Result<()> {
        pack_index::verify(&self.bytes)
            .map_err(|source| StoreError::Format { path: index_path(&self.name), source })
    }
}

/// Chooses the parts that are merged together with `recent`: the newest first, as long as each is
/// not much larger than what is gathered so far.
pub(super) fn plan(
    recent: &[Arc<PackTable>],
    merged: &[Arc<MergedIndex>],
) -> Vec<Arc<MergedIndex>> {
    let count = |index: &MergedIndex| index.view().map_or(0, |view| view.record_count());
    let mut gathered: usize = recent
        .iter()
        .map(|pack| pack.footer().map_or(0, |footer| footer.chunk_count() as usize))
        .sum();
    let mut parts: Vec<_> = merged.to_vec();
    parts.sort_by_key(|part| count(part));
    let mut chosen = Vec::new();
    for part in parts {
        if count(&part) > gathered.saturating_mul(GROWTH) {
            break;
        }
        gathered += count(&part);
        chosen.push(part);
    }
    chosen
}

/// A sorted run of records, with pack numbers of the new index.
type Run<'a> = Box<dyn Iterator<Item = IndexRecord> + 'a>;

/// Builds and publishes one part out of footers and older parts; records of packs that are not
/// `live` are left out. Of several records of one object, one in a pack that is not `condemned` stays.
pub(super) fn build(
    disk: &dyn Disk,
    recent: &[Arc<PackTable>],
    parts: &[Arc<MergedIndex>],
    live: &HashSet<PackId>,
    condemned: &BTreeMap<PackId, i64>,
) -> Result<MergedIndex> {
    let mut packs: Vec<PackId> = recent.iter().map(|pack| pack.id()).collect();
    packs.extend(parts.iter().flat_map(|part| part.packs()).filter(|pack| live.contains(pack)));
    packs.sort_unstable();
    packs.dedup();
    let numbers: HashMap<PackId, u32> =
        packs.iter().enumerate().map(|(number, pack)| (*pack, number as u32)).collect();
    let yields: Vec<bool> = packs.iter().map(|pack| condemned.contains_key(pack)).collect();
    // A copy that leaves out what holds nothing has none.
    disk.create_dir(INDEX_DIR.as_ref())?;
    // Once to count, once to write: the head of the file names the number of records.
    let count = merge_runs(runs(recent, parts, &numbers)?, &yields).count() as u64;
    let mut out = IndexWriter { file: disk.create()?, buffer: Vec::new(), sum: Xxh3::new() };
    out.write(&pack_index::encode_head(&packs, count))?;
    for record in merge_runs(runs(recent, parts, &numbers)?, &yields) {
        out.write(&record.encode())?;
    }
    // Records of a source that was cut off meanwhile are missing or nonsense.
    recent.iter().try_for_each(|pack| pack.check_footer())?;
    parts.iter().try_for_each(|part| part.check())?;
    let name = out.publish()?;
    MergedIndex::open(disk, &name)?.ok_or_else(|| StoreError::Format {
        path: index_path(&name),
        source: FormatError::Magic { what: "a merged index" },
    })
}

fn runs<'a>(
    recent: &'a [Arc<PackTable>],
    parts: &'a [Arc<MergedIndex>],
    numbers: &'a HashMap<PackId, u32>,
) -> Result<Vec<Run<'a>>> {
    let mut runs: Vec<Run<'a>> = Vec::new();
    for pack in recent {
        let number = numbers.get(&pack.id()).copied().unwrap_or_default();
        let footer = pack.footer()?;
        runs.push(Box::new((0..footer.chunk_count()).map(move |at| {
            let (id, chunk) = footer.chunk(at);
            IndexRecord { id, pack: number, chunk }
        })));
    }
    for part in parts {
        let path = index_path(part.name());
        let view = part.view().map_err(|source| StoreError::Format { path, source })?;
        let renumbered: Vec<Option<u32>> =
            view.packs().map(|pack| numbers.get(&pack).copied()).collect();
        runs.push(Box::new((0..view.record_count()).filter_map(move |at| {
            let record = view.record(at);
            let pack = (*renumbered.get(record.pack as usize)?)?;
            Some(IndexRecord { pack, ..record })
        })));
    }
    Ok(runs)
}

/// Merges sorted runs; of records with one id the first run's wins among those whose pack does not
/// yield.
fn merge_runs<'a>(
    mut runs: Vec<Run<'a>>,
    yields: &'a [bool],
) -> impl Iterator<Item = IndexRecord> + 'a {
    let key = move |record: &IndexRecord, run: usize| {
        let yields = yields.get(record.pack as usize).copied().unwrap_or_default();
        Reverse((record.id, yields, run))
    };
    let mut heads: Vec<Option<IndexRecord>> = runs.iter_mut().map(Iterator::next).collect();
    let mut heap: BinaryHeap<Reverse<(ObjectId, bool, usize)>> = heads
        .iter()
        .enumerate()
        .filter_map(|(run, head)| head.map(|record| key(&record, run)))
        .collect();
    let mut last = None;
    std::iter::from_fn(move || {
        while let Some(Reverse((id, _, run))) = heap.pop() {
            let record = heads[run].take();
            heads[run] = runs[run].next();
            if let Some(next) = heads[run] {
                heap.push(key(&next, run));
            }
            if last != Some(id) {
                last = Some(id);
                return record;
            }
        }
        None
    })
}

struct IndexWriter {
    file: Box<dyn NewFile>,
    buffer: Vec<u8>,
    sum: Xxh3,
}

impl IndexWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.sum.update(&self.buffer);
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn publish(mut self) -> Result<String> {
        self.flush()?;
        let sum = self.sum.digest();
        self.file.write_all(&sum.to_le_bytes())?;
        let name = format!("{sum:016x}{ENDING}");
        self.file.publish(&index_path(&name), true)?;
        Ok(name)
    }
}
