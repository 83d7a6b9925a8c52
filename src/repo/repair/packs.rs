//! Packs and the index over them.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::super::Result;
use super::Repair;
use crate::storage::pack_store::{
    INDEX_DIR, MergedIndex, PackStore, Salvage, list_packs, pack_path,
};

impl Repair<'_> {
    /// Reads every pack, writes what is sound of damaged ones into new packs, and builds the index
    /// anew where it is damaged or packs changed.
    pub(super) fn packs(&mut self) -> Result<()> {
        let mut ids: Vec<_> = list_packs(&**self.disk())?.into_iter().collect();
        ids.sort_unstable();
        let disk = Arc::clone(self.disk());
        let looks: Vec<_> = ids
            .par_iter()
            .map(|id| Ok(Some(Salvage::look(&*disk, *id)?).filter(|look| !look.is_sound)))
            .collect::<Result<_>>()?;
        let damaged: Vec<Salvage> = looks.into_iter().flatten().collect();
        for salvage in &damaged {
            self.repository.stop_if_cancelled()?;
            self.pack(salvage)?;
        }
        let names = self.disk().list(INDEX_DIR.as_ref())?;
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
        for id in store.packs() {
            let pack = store.pack(&id)?;
            let footer = pack.footer()?;
            let agrees = |(object, _)| {
                let Some(found) = store.locate(&object) else { return false };
                let there = store.pack(&found.pack);
                there.is_ok_and(|pack| {
                    pack.footer().is_ok_and(|footer| footer.find(&object) == Some(found.chunk))
                })
            };
            if !footer.chunks().all(agrees) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn pack(&mut self, salvage: &Salvage) -> Result<()> {
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
        let written = salvage.write(self.disk())?;
        if written.is_none_or(|pack| pack.id != salvage.id) {
            self.disk().remove_durably(&path)?;
        }
        Ok(())
    }
}
