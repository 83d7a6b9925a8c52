//! Packs and the index over them.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::super::Result;
use super::super::verify::index::IndexCheck;
use super::Repair;
use crate::id::PackId;
use crate::storage::disk::ReadFile;
use crate::storage::pack_store::{
    INDEX_DIR, MergedIndex, PackStore, Salvage, StoreError, heal, list_index, list_packs,
    list_parity, pack_path, parity_path, remove_pack,
};

impl Repair<'_> {
    /// Reads every pack, heals damaged ones or writes what is sound of them into new packs, and builds
    /// the index anew where it is damaged or packs changed.
    pub(super) fn packs(&mut self) -> Result<()> {
        let disk = Arc::clone(self.disk());
        // Parity without a pack is that of a pack that was lost.
        let ids =
            list_packs(&*disk)?.union(&list_parity(&*disk)?).copied().collect::<BTreeSet<_>>();
        let looks: Vec<_> = ids.par_iter().map(|id| self.look(*id)).collect::<Result<_>>()?;
        let damaged: Vec<Salvage> = looks.into_iter().flatten().collect();
        for salvage in &damaged {
            self.repository.stop_if_cancelled()?;
            self.pack(salvage)?;
        }
        let names = list_index(&*disk)?;
        let is_sound = |name: &String| {
            let part = MergedIndex::open(&*disk, name);
            part.and_then(|part| part.map_or(Ok(()), |part| part.verify())).is_ok()
        };
        if damaged.is_empty() && names.iter().all(is_sound) && self.index_is_right()? {
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
        // Parity that lies may trade an object for others.
        let had: HashSet<_> = salvage.objects().collect();
        let has: HashSet<_> = healed.objects().collect();
        let more = has.len() > had.len() && has.is_superset(&had);
        match file {
            Some(_) if !salvage.was_read => Ok(()),
            _ if more => self.rescue(&healed, &mended),
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

    /// Looks at a pack; nothing where it is sound. One that the disk cannot read all of counts as lost
    /// where parity brings all of it back; else it is left as it is, and the verification names it.
    fn look(&self, id: PackId) -> Result<Option<Salvage>> {
        let (disk, cancel) = (&**self.disk(), self.repository.cancel_token());
        let salvage = match Salvage::look_until(disk, id, cancel) {
            Err(StoreError::Disk(error)) if error.is_unreadable() => {
                let Some(mended) = heal(disk, &id, cancel)? else { return Ok(None) };
                if !Salvage::look_at(Box::new(mended), id, cancel)?.is_sound {
                    return Ok(None);
                }
                Salvage::nothing(id)
            }
            looked => looked?,
        };
        Ok(Some(salvage).filter(|salvage| !salvage.is_sound))
    }
}
