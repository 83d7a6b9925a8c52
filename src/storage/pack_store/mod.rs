//! The pack store: every object of a repository, filed by id in immutable packs.
//!
//! Packs that the merged index does not cover yet are looked up in their own footers, which are
//! sorted by id; there are never more than a few, because [`PackStore::merge`] folds them into the merged
//! index. "Already stored" needs an index entry *and* its pack: an entry whose pack is gone counts
//! as absent. So does, for whoever stores something, one whose pack is cut short, which the first who
//! relies on it finds out; and what only condemned packs hold: `gc` will remove them. They can still
//! be read.

mod condemned;
mod merge;
mod pack;
mod parity;
mod reader;
mod salvage;
mod writer;

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use lru::LruCache;
use thiserror::Error;

pub use condemned::{CONDEMNED_FILE, Slot, Snapshot};
pub use merge::{MergedIndex, list_index};
pub use pack::{Pack, PackTable, RebuiltFooter, rebuild_footer};
pub use parity::{
    AsProven, MakeParity, Mended, ParityState, check_parity, heal, list_lost, list_parity,
    make_parity, parity_len, parity_path, plan as plan_parity, remove_pack, remove_parity,
};
pub use reader::{Block, BlockCache, BlockKey, ObjectReader, PendingBlock, verified};
pub use salvage::Salvage;
pub use writer::{EncodedBlock, PACK_TARGET, PackWriter, SealedPack, new_nonce};

use super::disk::{Disk, DiskError};
use super::format::FormatError;
use super::format::condemned::Condemned;
use super::format::pack::{BlockKind, ChunkEntry};
use crate::config::Parity;
use crate::id::{IdPrefix, ObjectId, PackId};

/// Directory of the packs.
pub const PACKS_DIR: &str = "packs";
/// Directory of the merged index.
pub const INDEX_DIR: &str = "index";
/// Packs outside the merged index that are allowed before they are folded into it.
const MERGE_AT: usize = 16;
/// Packs kept open.
const OPEN_PACKS: NonZeroUsize = NonZeroUsize::new(128).unwrap();

/// Looks for new packs that found none, after which what is missing counts as missing at once.
const MAX_VAIN_LOOKS: usize = 64;

/// Why an object cannot be had.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A stored structure is damaged or of a newer release.
    #[error("'{}' is damaged", path.display())]
    Format {
        /// The file, relative to the repository.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// A block does not decode, or a chunk in it is not what its id says.
    #[error("block {block} of pack {pack} is damaged: {why}")]
    Block {
        /// The pack.
        pack: PackId,
        /// Number of the block in it.
        block: u32,
        /// What is wrong with it.
        why: String,
    },
    /// No pack holds the object.
    #[error("object {0} is missing: no pack holds it")]
    Missing(ObjectId),
    /// The object's bytes are sound but not a well-formed object.
    #[error("object {id} is malformed")]
    Object {
        /// The object.
        id: ObjectId,
        /// What is wrong with it.
        source: FormatError,
    },
    /// zstd could not set up its working memory.
    #[error("cannot set up compression")]
    Codec(#[source] std::io::Error),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl StoreError {
    /// Whether stored bytes were found damaged or missing, as against a failing disk.
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Format { source, .. } => !source.is_newer(),
            Self::Block { .. } | Self::Missing(_) | Self::Object { .. } => true,
            Self::Disk(error) => error.source.kind() == std::io::ErrorKind::UnexpectedEof,
            Self::Codec(_) | Self::Interrupted => false,
        }
    }

    /// Whether stored bytes cannot be had: damaged, missing, or on a sector that the disk cannot read
    /// any more. It hurts what they hold, and nothing else.
    pub fn is_loss(&self) -> bool {
        self.is_corruption() || matches!(self, Self::Disk(error) if error.is_unreadable())
    }
}

impl StoreError {
    /// The error with its causes on one line.
    pub fn describe(&self) -> String {
        describe(self)
    }
}

/// An error with its causes on one line; a cause that the text before ends with is not repeated.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Result of a store operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Where an object lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// In which pack.
    pub pack: PackId,
    /// Where in it.
    pub chunk: ChunkEntry,
}

/// Path of a pack in the repository.
pub fn pack_path(id: &PackId) -> PathBuf {
    let hex = id.to_string();
    PathBuf::from(format!("{PACKS_DIR}/{}/{hex}.pack", &hex[..2]))
}

#[derive(Debug, Clone, Default)]
struct State {
    live: HashSet<PackId>,
    /// Packs outside the merged index, oldest first.
    recent: Vec<Arc<PackTable>>,
    /// The newest first: they are the smaller ones.
    merged: Vec<Arc<MergedIndex>>,
    /// Packs that are not looked up in, and what is wrong with them. Those that an index covers are still
    /// live: who reads is told by the pack itself.
    damaged: BTreeMap<PackId, String>,
    /// Packs that were seen to end as they should.
    whole: HashSet<PackId>,
    /// Packs that `gc` will remove, and since when.
    condemned: BTreeMap<PackId, i64>,
    /// Whether the next `gc` is a thorough one.
    is_thorough: bool,
    /// Whether an `obliterate` is not done.
    is_obliterating: bool,
}

impl State {
    /// Takes a pack in that no merged index covers; one that is damaged, or that the disk cannot read,
    /// is noted and left out.
    fn take(&mut self, disk: &dyn Disk, id: PackId) -> Result<()> {
        match PackTable::open(disk, id) {
            Ok(table) => {
                self.live.insert(id);
                self.whole.insert(id);
                self.recent.push(Arc::new(table));
            }
            Err(error) if error.is_loss() => {
                self.live.remove(&id);
                self.damaged.insert(id, error.describe());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// All packs of a repository and the index over them.
#[derive(Debug)]
pub struct PackStore {
    disk: Arc<dyn Disk>,
    state: RwLock<State>,
    open_packs: Mutex<LruCache<PackId, Arc<Pack>>>,
    /// What new packs get.
    parity: Parity,
    /// How often nothing new was found for an object that is missing.
    vain_looks: AtomicUsize,
}

/// Sums over all packs, from their footers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreTotals {
    /// Packs.
    pub packs: u64,
    /// Bytes of all packs on disk.
    pub pack_bytes: u64,
    /// Chunks of files.
    pub data_chunks: u64,
    /// Their bytes, each counted once per pack that holds it.
    pub data_plain: u64,
    /// Their bytes as stored.
    pub data_stored: u64,
    /// Bytes of trees, lists and commits.
    pub meta_plain: u64,
    /// Their bytes as stored.
    pub meta_stored: u64,
    /// Bytes of the merged index.
    pub index_bytes: u64,
}

impl State {
    fn load(disk: &dyn Disk) -> Result<Self> {
        // In this order, because others may write meanwhile: whatever pack the list or an index
        // leads to was there before, and is found.
        let list = condemned::read_lenient(disk)?;
        let mut merged = Vec::new();
        for name in list_index(disk)? {
            if let Ok(Some(index)) = MergedIndex::open(disk, &name) {
                merged.push(Arc::new(index));
            }
        }
        Self::load_with(disk, list, merged)
    }

    /// The packs that are there, of which an index covers some.
    fn load_with(disk: &dyn Disk, list: Condemned, merged: Vec<Arc<MergedIndex>>) -> Result<Self> {
        let mut state = Self { live: list_packs(disk)?, merged, ..Self::default() };
        state.sort_merged();
        state.take_list(list);
        let covered: HashSet<PackId> =
            state.merged.iter().flat_map(|index| index.packs()).collect();
        let mut uncovered: Vec<_> = state.live.difference(&covered).copied().collect();
        uncovered.sort_unstable();
        uncovered.into_iter().try_for_each(|id| state.take(disk, id))?;
        Ok(state)
    }

    fn check_tables(&self) -> Result<()> {
        self.recent.iter().try_for_each(|pack| pack.check_footer())?;
        self.merged.iter().try_for_each(|part| part.check())
    }

    fn packs(&self) -> Vec<PackId> {
        let is_whole = |pack: &&PackId| !self.damaged.contains_key(pack);
        let mut packs: Vec<_> = self.live.iter().filter(is_whole).copied().collect();
        packs.sort_unstable();
        packs
    }

    /// What was stored again, because an older pack is damaged, is found before that.
    fn sort_merged(&mut self) {
        self.merged.sort_by_key(|part| part.record_count());
    }
}

impl PackStore {
    /// Opens the packs and indexes that are there. Damaged merged indexes are left out: their
    /// packs are looked up in their footers, and the next merge replaces them. So are damaged
    /// packs: what they hold counts as absent and is stored again by the next `add`, the rest of
    /// the repository stays usable, and `store verify` names them.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self> {
        let state = State::load(&*disk)?;
        let open_packs = Mutex::new(LruCache::new(OPEN_PACKS));
        let state = RwLock::new(state);
        let (parity, vain_looks) = (Parity::None, AtomicUsize::new(0));
        Ok(Self { disk, state, open_packs, parity, vain_looks })
    }

    /// As [`Self::refresh`], when an object is not found. Where much is missing, no look finds it.
    fn look_again(&self) -> Result<bool> {
        if self.vain_looks.load(Ordering::Relaxed) >= MAX_VAIN_LOOKS {
            return Ok(false);
        }
        let found = self.refresh()?;
        self.vain_looks.fetch_add(usize::from(!found), Ordering::Relaxed);
        Ok(found)
    }

    /// What was wrong with the packs that were left out at open, or when they were to be relied on.
    pub fn damaged(&self) -> Vec<String> {
        self.read_state(|state| state.damaged.values().cloned().collect())
    }

    /// The disk below.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    fn read_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Finds an object; damage in a footer counts as absence here and is named by a read. Of its
    /// places one is preferred that is not condemned, nor known to be damaged.
    pub fn locate(&self, id: &ObjectId) -> Option<Location> {
        self.read_state(|state| state.slot(id, true)).map(|(_, location)| location)
    }

    /// Whether the object need not be stored: a live pack holds it that is not condemned, and is whole.
    /// The index alone does not say so: each pack is asked once.
    pub fn contains(&self, id: &ObjectId) -> bool {
        loop {
            let found = self.read_state(|state| {
                let (_, at) = state.slot(id, false)?;
                Some((at.pack, state.whole.contains(&at.pack)))
            });
            match found {
                None => return false,
                Some((_, true)) => return true,
                // What the disk says nothing of is better stored twice.
                Some((pack, false)) if !self.look_at_end(pack) => return false,
                Some(_) => {}
            }
        }
    }

    /// Notes whether a pack is whole, as far as its end tells; false where the disk does not say.
    fn look_at_end(&self, id: PackId) -> bool {
        let answer = pack::check_end(&*self.disk, &id);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(()) => {
                state.whole.insert(id);
                true
            }
            Err(error) if error.is_loss() => {
                state.damaged.insert(id, error.describe());
                true
            }
            Err(_) => false,
        }
    }

    /// Whether the tables behind the lookups so far were whole: asked before an absence is
    /// believed where it matters. A file that was cut off under the command is named.
    pub fn check_tables(&self) -> Result<()> {
        self.snapshot().check_tables()
    }

    /// All packs, in order of their ids.
    pub fn packs(&self) -> Vec<PackId> {
        self.read_state(State::packs)
    }

    /// Opens a pack, or takes it from the open ones.
    pub fn pack(&self, id: &PackId) -> Result<Arc<Pack>> {
        let mut open = self.open_packs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pack) = open.get(id) {
            return Ok(Arc::clone(pack));
        }
        let recent =
            self.read_state(|state| state.recent.iter().find(|pack| pack.id() == *id).cloned());
        let pack = Arc::new(match recent {
            Some(table) => Pack::with_table(&*self.disk, table)?,
            None => Pack::open(&*self.disk, *id)?,
        });
        open.put(*id, Arc::clone(&pack));
        Ok(pack)
    }

    /// Starts to find the objects of a pack that was just sealed, and makes its parity.
    pub fn adopt(&self, id: PackId) -> Result<()> {
        self.adopt_copy(id)?;
        self.merge_if_many()
    }

    /// The same, of a pack with copies of what other packs hold. The index would name one place of
    /// each; it is not merged before it is known which packs go.
    pub fn adopt_copy(&self, id: PackId) -> Result<()> {
        let pack = Pack::open(&*self.disk, id)?;
        self.make_parity(&pack)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.whole.insert(id);
        if state.live.insert(id) {
            state.recent.push(Arc::clone(pack.table()));
        }
        Ok(())
    }

    /// Folds the packs outside the merged index into it, where they are many. It is a cache, and what they
    /// hold is found without: where the disk refuses, as when it is full, the next who stores has another
    /// try.
    pub fn merge_if_many(&self) -> Result<()> {
        if self.read_state(|state| state.recent.len() < MERGE_AT) {
            return Ok(());
        }
        match self.merge() {
            Err(StoreError::Disk(_)) => Ok(()),
            merged => merged,
        }
    }

    /// Folds the packs outside the merged index into it, together with every part of it that is
    /// not much larger, so that the parts stay few and grow geometrically.
    pub fn merge(&self) -> Result<()> {
        let (recent, merged) =
            self.read_state(|state| (state.recent.clone(), state.merged.clone()));
        let plan = merge::plan(&recent, &merged);
        let (live, condemned) =
            self.read_state(|state| (state.live.clone(), state.condemned.clone()));
        let built = merge::build(&*self.disk, &recent, &plan, &live, &condemned)?;
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.recent.retain(|pack| !recent.iter().any(|done| done.id() == pack.id()));
            state.merged.retain(|index| !plan.iter().any(|old| old.name() == index.name()));
            state.merged.push(Arc::new(built));
            state.sort_merged();
        }
        // What is not in use any more goes: merged parts, and damaged ones whose packs are covered
        // again.
        let used: HashSet<String> = self
            .read_state(|state| state.merged.iter().map(|part| part.name().to_owned()).collect());
        for name in list_index(&*self.disk)? {
            if !used.contains(&name) {
                self.disk.remove(&Path::new(INDEX_DIR).join(name))?;
            }
        }
        Ok(())
    }

    /// Ids that begin with `prefix` among objects of one kind; at most `limit`.
    pub fn find_prefix(
        &self,
        prefix: &IdPrefix,
        kind: BlockKind,
        limit: usize,
    ) -> Result<Vec<ObjectId>> {
        let mut found = HashSet::new();
        for id in self.packs() {
            let pack = self.pack(&id)?;
            let footer = pack.footer()?;
            for number in footer.lower_bound(prefix.low())..footer.chunk_count() {
                let (id, chunk) = footer.chunk(number);
                if !prefix.matches(&id) {
                    break;
                }
                if footer.block(chunk.block).is_ok_and(|block| block.kind == kind) {
                    found.insert(id);
                }
            }
            pack.check_footer()?;
            if found.len() >= limit {
                break;
            }
        }
        let mut ids: Vec<_> = found.into_iter().collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Sums over all packs.
    pub fn totals(&self) -> Result<StoreTotals> {
        let mut totals = StoreTotals::default();
        for id in self.packs() {
            let pack = self.pack(&id)?;
            let footer = pack.footer()?;
            totals.packs += 1;
            totals.pack_bytes += pack.len();
            if footer.kind == super::format::pack::PackKind::Data {
                totals.data_chunks += u64::from(footer.chunk_count());
                totals.data_plain += footer.plain_bytes;
                totals.data_stored += footer.stored_bytes;
            } else {
                totals.meta_plain += footer.plain_bytes;
                totals.meta_stored += footer.stored_bytes;
            }
            pack.check_footer()?;
        }
        totals.index_bytes =
            self.read_state(|state| state.merged.iter().map(|index| index.len()).sum());
        Ok(totals)
    }

    /// The parts of the merged index that are in use.
    pub fn merged_parts(&self) -> Vec<Arc<MergedIndex>> {
        self.read_state(|state| state.merged.clone())
    }

    /// Checks every merged index whole and returns what is wrong.
    pub fn verify_indexes(&self) -> Vec<StoreError> {
        let mut problems = Vec::new();
        for name in list_index(&*self.disk).unwrap_or_default() {
            match MergedIndex::open(&*self.disk, &name)
                .and_then(|index| index.map_or(Ok(()), |index| index.verify()))
            {
                Ok(()) => {}
                Err(problem) => problems.push(problem),
            }
        }
        problems
    }
}

/// The packs that are there, by their names.
pub fn list_packs(disk: &dyn Disk) -> Result<HashSet<PackId>> {
    list_files(disk, ".pack")
}

/// The names in a directory; none where there is none, or something else in its place.
fn list_dir(disk: &dyn Disk, path: &Path) -> Result<Vec<String>> {
    match disk.list(path) {
        Err(error) if error.source.kind() == std::io::ErrorKind::NotADirectory => Ok(Vec::new()),
        names => Ok(names?),
    }
}

/// The packs that have a file of this ending, by their names.
fn list_files(disk: &dyn Disk, suffix: &str) -> Result<HashSet<PackId>> {
    let mut packs = HashSet::new();
    // What somebody else left beside them is not ours.
    let is_ours =
        |name: &String| name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    for prefix in disk.list(PACKS_DIR.as_ref())?.into_iter().filter(is_ours) {
        for name in list_dir(disk, &PathBuf::from(format!("{PACKS_DIR}/{prefix}")))? {
            let id = name.strip_suffix(suffix).and_then(|hex| hex.parse::<PackId>().ok());
            packs.extend(id);
        }
    }
    Ok(packs)
}

#[cfg(test)]
mod tests;
