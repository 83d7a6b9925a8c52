//! Parity: packs that it heals, and what of it is missing or damaged itself.

use std::path::Path;
use std::sync::Arc;

use super::super::{RepoError, Result};
use super::{COPY, Repair};
use crate::id::PackId;
use crate::storage::disk::{Disk, FileBytes, ReadFile, Result as DiskResult};
use crate::storage::pack_store::{
    AsProven, MakeParity, Mended, Pack, PackStore, ParityState, check_parity, list_lost,
    make_parity, pack_path, parity_path, plan_parity, remove_parity,
};

impl Repair<'_> {
    /// Puts a pack that was healed, and proven to be whole, in the place of what is left of it.
    pub(super) fn put_back(&mut self, id: PackId, mended: &Arc<Mended>) -> Result<()> {
        let path = pack_path(&id);
        self.healed.insert(id);
        self.note(path.to_string_lossy(), "its parity");
        self.set_aside(&path)?;
        if !self.apply {
            return Ok(());
        }
        // What was proven, and nothing that cannot be read any more.
        publish_copy(&**self.disk(), &AsProven(Arc::clone(mended)), &path, true)
    }

    /// Makes the parity that the settings ask for and that is missing, damaged or too little. The
    /// packs are sound now; what was found damaged in a dry run would be.
    pub(super) fn parity(&mut self) -> Result<()> {
        let disk = Arc::clone(self.disk());
        let store = PackStore::open(Arc::clone(&disk))?;
        let condemned = store.condemned();
        let mut missing = 0;
        for id in store.packs().into_iter().filter(|id| !condemned.contains_key(id)) {
            self.repository.stop_if_cancelled()?;
            if self.apply || !self.unsound.contains(&id) {
                let pack = match store.pack(&id) {
                    // It is left as it is.
                    Err(error) if error.is_loss() => continue,
                    pack => pack?,
                };
                missing += match self.parity_of(&pack) {
                    // What of it cannot be read has no parity: the verification names it.
                    Err(RepoError::Store(error)) if error.is_loss() => 0,
                    made => u64::from(made?),
                };
            }
        }
        if missing > 0 {
            self.note(format!("parity of {missing} packs"), "the packs");
        }
        for id in list_lost(&*disk)? {
            if !self.healed.contains(&id) {
                self.drop_parity(&id, "no pack: it is set aside")?;
            }
        }
        Ok(())
    }

    /// Answers whether there was none, or too little, and is now.
    fn parity_of(&mut self, pack: &Pack) -> Result<bool> {
        let disk = Arc::clone(self.disk());
        let wanted = plan_parity(pack, self.repository.config.reliability.parity)?;
        let state = check_parity(&*disk, &pack.id(), pack.len(), true)?;
        if state.is_enough(wanted.as_ref()) {
            return Ok(false);
        }
        let is_damaged = matches!(state, ParityState::Damaged(_));
        let Some(layout) = wanted else {
            self.drop_parity(&pack.id(), "no need of any: it is set aside")?;
            return Ok(false);
        };
        if is_damaged {
            self.note(parity_path(&pack.id()).to_string_lossy(), "its pack");
        }
        if self.apply {
            make_parity(&*disk, &layout, MakeParity::Durably)?;
        }
        Ok(!is_damaged)
    }

    fn drop_parity(&mut self, id: &PackId, why: &str) -> Result<()> {
        let path = parity_path(id);
        self.note(path.to_string_lossy(), why);
        self.set_aside(&path)?;
        if self.apply { Ok(remove_parity(&**self.disk(), id)?) } else { Ok(()) }
    }
}

/// Publishes the bytes of a file under a name.
pub(super) fn publish_copy(
    disk: &dyn Disk,
    file: &dyn ReadFile,
    path: &Path,
    replace: bool,
) -> Result<()> {
    let mut copy = disk.create()?;
    let (len, mut at) = (file.len()?, 0);
    let mut piece = vec![0; COPY];
    while at < len {
        let part = &mut piece[..(len - at).min(COPY as u64) as usize];
        file.read_exact_at(part, at)?;
        copy.write_all(part)?;
        at += part.len() as u64;
    }
    Ok(copy.publish(path, replace)?)
}

/// A damaged file that is copied as far as it can be read: what cannot is zeros in the copy.
pub(super) struct AsRead(pub(super) Box<dyn ReadFile>);

/// What a disk loses at once, from a multiple of it on.
const SECTOR: usize = 4096;

impl ReadFile for AsRead {
    fn len(&self) -> DiskResult<u64> {
        self.0.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> DiskResult<()> {
        match self.0.read_exact_at(buf, offset) {
            Err(error) if error.is_unreadable() => {
                let first = SECTOR - (offset % SECTOR as u64) as usize;
                if buf.len() <= first {
                    buf.fill(0);
                    return Ok(());
                }
                let (head, rest) = buf.split_at_mut(first);
                self.read_exact_at(head, offset)?;
                let mut sectors =
                    (offset + first as u64..).step_by(SECTOR).zip(rest.chunks_mut(SECTOR));
                sectors.try_for_each(|(at, sector)| self.read_exact_at(sector, at))
            }
            read => read,
        }
    }

    fn map(&self, offset: u64, len: usize) -> DiskResult<FileBytes> {
        if offset.checked_add(len as u64).is_none_or(|end| self.len().is_ok_and(|own| end > own)) {
            return self.0.map(offset, len);
        }
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, offset)?;
        Ok(FileBytes::Read(bytes))
    }
}
