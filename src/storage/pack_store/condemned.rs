//! What `gc` asks of the store: slots to mark objects in, the list of condemned packs, and the
//! removal of packs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::{
    INDEX_DIR, Location, PackStore, Result, State, StoreError, list_index, list_packs, merge,
    remove_pack,
};
use crate::id::{ObjectId, PackId};
use crate::storage::disk::Disk;
use crate::storage::format::FormatError;
use crate::storage::format::condemned::Condemned;

/// The list of condemned packs.
pub const CONDEMNED_FILE: &str = "condemned";
/// Larger than a list of twenty million packs.
const MAX_LIST: u64 = 1 << 30;

/// The record by which an object is found in a [`Snapshot`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Number of the table of records.
    pub table: usize,
    /// Number of the record in it.
    pub number: usize,
}

/// The packs and indexes of one moment: whatever the store comes to know later, the record by which
/// an object is found is the same for every look.
#[derive(Debug)]
pub struct Snapshot(State);

impl Snapshot {
    /// The record of an object.
    pub fn slot(&self, id: &ObjectId) -> Option<(Slot, Location)> {
        self.0.slot(id, true)
    }

    /// The number of records in each table.
    pub fn tables(&self) -> Result<Vec<usize>> {
        let merged = self.0.merged.iter().map(|index| Ok(index.record_count()));
        let recent = (self.0.recent.iter())
            .map(|pack| pack.footer().map(|footer| footer.chunk_count() as usize));
        merged.chain(recent).collect()
    }

    /// Whether the tables behind the lookups so far were whole.
    pub fn check_tables(&self) -> Result<()> {
        self.0.check_tables()
    }

    /// All packs, in order of their ids.
    pub fn packs(&self) -> Vec<PackId> {
        self.0.packs()
    }
}

impl State {
    /// The record of an object. One in a pack that is condemned, or that is known to be cut short,
    /// counts only for those who read, and if there is no other.
    pub(super) fn slot(&self, id: &ObjectId, to_read: bool) -> Option<(Slot, Location)> {
        let is_whole = |pack: &PackId| !self.damaged.contains_key(pack);
        let stays = |pack: &PackId| is_whole(pack) && !self.condemned.contains_key(pack);
        let found = self.slot_in(id, stays);
        let is_all = self.condemned.is_empty() && self.damaged.is_empty();
        if found.is_some() || !to_read || is_all {
            return found;
        }
        self.slot_in(id, is_whole).or_else(|| self.slot_in(id, |_| true))
    }

    fn slot_in(&self, id: &ObjectId, wanted: impl Fn(&PackId) -> bool) -> Option<(Slot, Location)> {
        let recent = self.recent.iter().enumerate().rev().find_map(|(at, pack)| {
            if !wanted(&pack.id()) {
                return None;
            }
            let (number, chunk) = pack.footer().ok()?.position(id)?;
            let slot = Slot { table: self.merged.len() + at, number: number as usize };
            Some((slot, Location { pack: pack.id(), chunk }))
        });
        recent.or_else(|| {
            self.merged.iter().enumerate().find_map(|(table, index)| {
                let (number, location) = index.position(id)?;
                let counts = self.live.contains(&location.pack) && wanted(&location.pack);
                counts.then_some((Slot { table, number }, location))
            })
        })
    }
}

impl State {
    pub(super) fn take_list(&mut self, list: Condemned) {
        (self.is_thorough, self.is_obliterating) = (list.is_thorough, list.is_obliterating);
        self.condemned = list.packs.into_iter().collect();
    }
}

/// Reads the list; none is an empty one.
fn read(disk: &dyn Disk) -> Result<Condemned> {
    let path = Path::new(CONDEMNED_FILE);
    let Some(bytes) = disk.read(path, MAX_LIST)? else { return Ok(Condemned::default()) };
    Condemned::decode(&bytes).map_err(|source| StoreError::Format { path: path.into(), source })
}

/// Reads the list; to those who read, a damaged one says nothing.
pub(super) fn read_lenient(disk: &dyn Disk) -> Result<Condemned> {
    match read(disk) {
        Err(StoreError::Format { .. }) => Ok(Condemned::default()),
        Err(error) if error.is_loss() => Ok(Condemned::default()),
        other => other,
    }
}

/// Condemns a pack that takes the place of another one, if that is condemned. A damaged list says
/// nothing: until `gc` makes a new one, nobody stores.
pub(super) fn condemn_too(disk: &dyn Disk, old: &PackId, new: PackId) -> Result<()> {
    let mut list = read_lenient(disk)?;
    let since = list.packs.iter().find(|(id, _)| id == old).map(|(_, since)| *since);
    let Some(since) = since.filter(|_| *old != new) else { return Ok(()) };
    list.packs.push((new, since));
    list.packs.sort_unstable();
    list.packs.dedup_by_key(|(id, _)| *id);
    Ok(disk.publish(Path::new(CONDEMNED_FILE), &list.encode(), true)?)
}

impl PackStore {
    /// The packs and indexes as they are known now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.read_state(State::clone))
    }

    /// Whether the list of condemned packs can be read: a writer that does not know them must not
    /// rely on what they hold.
    pub fn check_condemned(disk: &dyn Disk) -> Result<()> {
        read(disk).map(|_| ())
    }

    /// The condemned packs and since when they are, in seconds since 1970-01-01 UTC.
    pub fn condemned(&self) -> BTreeMap<PackId, i64> {
        self.read_state(|state| state.condemned.clone())
    }

    /// Makes a new list, durably, where the old one is damaged and nobody can tell what is in use: all
    /// packs are condemned. Whoever stores something relies on none of them then, and the next `gc`
    /// that can tell keeps what is in use.
    pub fn condemn_all(&self, since: i64) -> Result<()> {
        let packs = list_packs(&*self.disk)?;
        let all = packs.into_iter().map(|id| (id, since)).collect::<BTreeMap<_, _>>();
        self.condemn(all, false)
    }

    /// Whether the next `gc` frees every byte.
    pub fn is_thorough(&self) -> bool {
        self.read_state(|state| state.is_thorough)
    }

    /// Replaces the list of condemned packs, durably.
    pub fn condemn(&self, packs: BTreeMap<PackId, i64>, is_thorough: bool) -> Result<()> {
        let is_obliterating = self.is_obliterating();
        self.publish_list(Condemned {
            is_thorough,
            is_obliterating,
            packs: packs.into_iter().collect(),
        })
    }

    /// Whether an `obliterate` has begun and is not done.
    pub fn is_obliterating(&self) -> bool {
        self.read_state(|state| state.is_obliterating)
    }

    /// Notes durably that an `obliterate` begins, and that the next `gc` is to free every byte.
    pub fn begin_obliterating(&self) -> Result<()> {
        self.note_obliterating(true)
    }

    /// Notes durably that it is done.
    pub fn end_obliterating(&self) -> Result<()> {
        self.note_obliterating(false)
    }

    fn note_obliterating(&self, is_obliterating: bool) -> Result<()> {
        let packs = self.condemned().into_iter().collect();
        self.publish_list(Condemned { is_thorough: true, is_obliterating, packs })
    }

    fn publish_list(&self, list: Condemned) -> Result<()> {
        let path = Path::new(CONDEMNED_FILE);
        let is_same = matches!(read(&*self.disk), Ok(known) if known == list);
        if !is_same {
            self.disk.publish(path, &list.encode(), true)?;
        }
        self.state.write().unwrap_or_else(PoisonError::into_inner).take_list(list);
        Ok(())
    }

    /// Looks at the disk again, and answers whether packs came or went: another process may have moved
    /// a ref, which was read since, to what it had just stored, and what was opened before the lock
    /// was taken may be older than the last `gc`.
    pub fn refresh(&self) -> Result<bool> {
        // In this order, as at open.
        let list = read_lenient(&*self.disk)?;
        let there = list_packs(&*self.disk)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if !state.live.iter().chain(state.damaged.keys()).all(|id| there.contains(id)) {
            *state = State::load(&*self.disk)?;
            return Ok(true);
        }
        state.take_list(list);
        let is_new = |id: &PackId| !state.live.contains(id) && !state.damaged.contains_key(id);
        let new: BTreeSet<PackId> = there.into_iter().filter(is_new).collect();
        new.iter().try_for_each(|id| state.take(&*self.disk, *id))?;
        Ok(!new.is_empty())
    }

    /// Leaves packs out of everything that is looked up, in the index durably.
    pub fn forget(&self, gone: &BTreeSet<PackId>) -> Result<()> {
        let parts: Vec<_> = self.read_state(|state| {
            let names_one = |part: &&Arc<merge::MergedIndex>| {
                part.packs().iter().any(|pack| gone.contains(pack))
            };
            state.merged.iter().filter(names_one).cloned().collect()
        });
        let (mut live, condemned) =
            self.read_state(|state| (state.live.clone(), state.condemned.clone()));
        live.retain(|pack| !gone.contains(pack));
        let covers = |part: &Arc<merge::MergedIndex>| part.packs().iter().any(|p| live.contains(p));
        let built = if parts.iter().any(covers) {
            Some(merge::build(&*self.disk, &[], &parts, &live, &condemned)?)
        } else {
            None
        };
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.live = live;
            state.recent.retain(|pack| !gone.contains(&pack.id()));
            state.merged.retain(|part| !parts.iter().any(|old| old.name() == part.name()));
            state.merged.extend(built.map(Arc::new));
            state.sort_merged();
        }
        for part in parts {
            let is_used =
                self.read_state(|state| state.merged.iter().any(|used| used.name() == part.name()));
            if !is_used {
                self.disk.remove_durably(&Path::new(INDEX_DIR).join(part.name()))?;
            }
        }
        Ok(())
    }

    /// Drops the merged index, which is a cache; its packs are looked up in their footers until the
    /// next merge.
    pub fn drop_index(&self) -> Result<()> {
        // First, so that nothing is lost where the footers cannot be had.
        self.look_past_index()?;
        Self::remove_index(&*self.disk)
    }

    /// Removes the merged index. Who has it mapped goes on with that.
    pub fn remove_index(disk: &dyn Disk) -> Result<()> {
        for name in list_index(disk)? {
            disk.remove_durably(&Path::new(INDEX_DIR).join(name))?;
        }
        Ok(())
    }

    /// Looks everything up in the footers of the packs from now on, whatever the merged index says.
    pub fn look_past_index(&self) -> Result<()> {
        let fresh = State::load_with(&*self.disk, read_lenient(&*self.disk)?, Vec::new())?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Removes a pack that [`Self::forget`] left out, and its parity.
    pub fn remove(&self, pack: &PackId) -> Result<()> {
        self.open_packs.lock().unwrap_or_else(PoisonError::into_inner).pop(pack);
        remove_pack(&*self.disk, pack)
    }

    /// The error of an index that names what a pack does not hold.
    pub fn index_lies(pack: &PackId) -> StoreError {
        let why = format!("it disagrees with the footer of pack {pack}");
        StoreError::Format {
            path: INDEX_DIR.into(),
            source: FormatError::invalid("a merged index", why),
        }
    }
}
