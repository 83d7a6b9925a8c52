//! Packs and the index over them.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::super::Result;
use super::super::verify::index::IndexCheck;
use super::Repair;
use super::parity::AsRead;
use crate::id::PackId;
use crate::storage::disk::ReadFile;
use crate::storage::pack_store::{
    INDEX_DIR, Mended, MergedIndex, PackStore, PackTable, Salvage, StoreError, heal, list_index,
    list_packs, list_parity, pack_path, parity_path, remove_pack, remove_parity,
};

/// How often a pack is looked at that the disk cannot read all of: a read may fail once.
const LOOKS: usize = 3;

impl Repair<'_> {
    /// Reads every pack, heals damaged ones or writes what is sound of them into new packs, and builds
    /// the index anew where it is damaged or packs changed.
    pub(super) fn packs(&mut self) -> Result<()> {
        let disk = Arc::clone(self.disk());
        // Parity without a pack is that of a pack that was lost.
        let ids =
            list_packs(&*disk)?.union(&list_parity(&*disk)?).copied().collect::<BTreeSet<_>>();
        let looks: Vec<_> = ids.par_iter().map(|id| self.look(*id)).collect::<Result<_>>()?;
        let mut is_changed = false;
        for look in looks {
            self.repository.stop_if_cancelled()?;
            match look {
                Look::AsItIs => continue,
                Look::Damaged(salvage) => self.pack(&salvage)?,
                Look::Partly(salvage, mended) => self.take_out(&salvage, mended.as_ref())?,
            }
            is_changed = true;
        }
        let names = list_index(&*disk)?;
        let is_sound = |name: &String| {
            let part = MergedIndex::open(&*disk, name);
            part.and_then(|part| part.map_or(Ok(()), |part| part.verify())).is_ok()
        };
        if !is_changed && names.iter().all(is_sound) && self.index_is_right()? {
            return Ok(());
        }
        self.note(INDEX_DIR, "the packs");
        if !self.apply {
            return Ok(());
        }
        for name in names {
            disk.remove(&Path::new(INDEX_DIR).join(name))?;
        }
        let store = PackStore::open(Arc::clone(&disk))?;
        if store.packs().is_empty() { Ok(()) } else { Ok(store.merge()?) }
    }

    /// Whether the index, sound by its checksums, leads to where the footers say.
    fn index_is_right(&self) -> Result<bool> {
        let store = PackStore::open(Arc::clone(self.disk()))?;
        let mut check = IndexCheck::new(&store);
        for id in store.packs() {
            let pack = match store.pack(&id) {
                // It is left as it is.
                Err(error) if error.is_loss() => continue,
                pack => pack?,
            };
            if check.look(&store, &pack)?.is_some() {
                return Ok(false);
            }
        }
        Ok(check.rest().is_none())
    }

    fn pack(&mut self, salvage: &Salvage) -> Result<()> {
        let disk = Arc::clone(self.disk());
        self.unsound.insert(salvage.id);
        let cancel = self.repository.cancel_token();
        let file = disk.open(&pack_path(&salvage.id))?;
        let Some(mended) = heal(&*disk, &salvage.id, cancel)? else {
            return match file {
                Some(file) if salvage.was_read => self.rescue(salvage, &*file),
                // It can be read again, if it is there at all.
                _ => Ok(()),
            };
        };
        let healed = Salvage::look_at(Box::new(Arc::clone(&mended)), salvage.id, cancel)?;
        if healed.is_sound {
            return self.put_back(salvage.id, &mended);
        }
        match file {
            Some(_) if !salvage.was_read => Ok(()),
            _ if is_more(&healed, salvage) => self.rescue(&healed, &mended),
            Some(file) => self.rescue(salvage, &*file),
            None => Ok(()),
        }
    }

    /// Keeps what is sound of a pack that is not whole any more; `file` is what was looked at.
    fn rescue(&mut self, salvage: &Salvage, file: &dyn ReadFile) -> Result<()> {
        let path = pack_path(&salvage.id);
        let objects = salvage.objects().collect::<HashSet<_>>().len();
        let lost = match salvage.lost.len() {
            0 => String::new(),
            lost => format!("; {lost} objects in it are damaged"),
        };
        self.note(path.to_string_lossy(), format!("{objects} sound objects of it{lost}"));
        self.set_aside(&path)?;
        if !self.apply {
            return Ok(());
        }
        let written = salvage.write(self.disk(), file)?;
        if written.is_none_or(|pack| pack.id != salvage.id) {
            self.set_aside(&parity_path(&salvage.id))?;
            remove_pack(&**self.disk(), &salvage.id)?;
        }
        Ok(())
    }

    /// As [`Self::rescue`], of a pack that the disk cannot read all of; some of it may have come back by
    /// parity. It is moved away, not removed.
    fn take_out(&mut self, salvage: &Salvage, mended: Option<&Arc<Mended>>) -> Result<()> {
        let (disk, path) = (Arc::clone(self.disk()), pack_path(&salvage.id));
        self.unsound.insert(salvage.id);
        let (sound, lost) = (salvage.objects().count(), salvage.lost.len());
        let what = format!("{sound} sound objects of it; {lost} objects in it cannot be read");
        self.note(path.to_string_lossy(), what);
        let Some(file) = disk.open(&path)?.filter(|_| self.apply) else { return Ok(()) };
        let written = match mended {
            Some(mended) => salvage.write(&disk, mended)?,
            None => salvage.write(&disk, &AsRead(file))?,
        };
        if written.is_some_and(|pack| pack.id == salvage.id) {
            // No object was lost, and it lies in the place of the old one.
            return Ok(());
        }
        self.set_aside(&parity_path(&salvage.id))?;
        remove_parity(&*disk, &salvage.id)?;
        self.move_aside(&path)
    }

    /// Looks at a pack. One that the disk cannot read all of, however often it is asked, counts as lost
    /// where parity brings all of it back. What else of it can be read is taken out of it, if its footer
    /// says what that should be; a pack without, as a disk that fails altogether leaves it, stays as it
    /// is, and the verification names it.
    fn look(&self, id: PackId) -> Result<Look> {
        let (disk, cancel) = (&**self.disk(), self.repository.cancel_token());
        for _ in 0..LOOKS {
            match Salvage::look_until(disk, id, cancel) {
                Err(StoreError::Disk(error)) if error.is_unreadable() => {}
                Ok(salvage) if salvage.is_sound => return Ok(Look::AsItIs),
                looked => return looked.map(Look::Damaged).map_err(Into::into),
            }
        }
        let mended = heal(disk, &id, cancel)?;
        let look_at = |mended: &Arc<Mended>| {
            let healed = Salvage::look_at(Box::new(Arc::clone(mended)), id, cancel)?;
            Ok::<_, StoreError>((healed, Arc::clone(mended)))
        };
        let mended = mended.as_ref().map(look_at).transpose()?;
        if mended.as_ref().is_some_and(|(healed, _)| healed.is_sound) {
            return Ok(Look::Damaged(Salvage::nothing(id)));
        }
        let is_known = PackTable::open(disk, id).is_ok();
        let file = match disk.open(&pack_path(&id)) {
            Err(error) if error.is_unreadable() => None,
            file => file?.filter(|_| is_known),
        };
        let Some(file) = file else { return Ok(Look::AsItIs) };
        let salvage = Salvage::look_at(Box::new(AsRead(file)), id, cancel)?;
        Ok(match mended {
            // It could be read after all.
            _ if salvage.is_sound => Look::AsItIs,
            Some((healed, mended)) if is_more(&healed, &salvage) => {
                Look::Partly(healed, Some(mended))
            }
            _ => Look::Partly(salvage, None),
        })
    }
}

/// Whether all objects of one and more are in the other: parity that lies may trade an object for others.
fn is_more(healed: &Salvage, salvage: &Salvage) -> bool {
    let had: HashSet<_> = salvage.objects().collect();
    let has: HashSet<_> = healed.objects().collect();
    has.len() > had.len() && has.is_superset(&had)
}

/// What becomes of a pack.
enum Look {
    /// It is sound, or nothing of it can be told.
    AsItIs,
    Damaged(Salvage),
    /// The disk cannot read all of it.
    Partly(Salvage, Option<Arc<Mended>>),
}
