//! The redundancy of what is stored: whether the parity that the settings ask for is there and whole.
//!
//! What is wrong with it is no damage: everything can be had. So it is told apart from damage.

use std::collections::BTreeSet;

use super::super::{Repository, Result};
use super::{Part, sample};
use crate::id::PackId;
use crate::storage::format::pack::PackKind;
use crate::storage::pack_store::{
    PackStore, ParityState, check_parity, list_lost, pack_path, parity_path, plan_parity,
};

/// The number of the block that parity counts as where a part of the data is read.
const PARITY_BLOCK: u32 = u32::MAX;

/// What a verification finds out about parity.
#[derive(Default)]
pub(super) struct Redundancy {
    problems: Vec<String>,
    /// Packs that have less than the settings ask for.
    missing: BTreeSet<PackId>,
}

impl Redundancy {
    /// Looks at the parity of a pack; at all bytes of it where those of its pack are read.
    pub(super) fn look(
        &mut self,
        repository: &Repository,
        store: &PackStore,
        id: &PackId,
        part: Option<Part>,
    ) -> Result<()> {
        // What is wrong with a pack is told as its damage.
        let Ok(pack) = store.pack(id) else { return Ok(()) };
        let Ok(wanted) = plan_parity(&pack, repository.config.reliability.parity) else {
            return Ok(());
        };
        let is_meta = pack.footer().is_ok_and(|footer| footer.kind == PackKind::Meta);
        let is_turn = part.is_some_and(|part| sample::is_in(part, id, PARITY_BLOCK));
        let state = check_parity(&*repository.disk, id, pack.len(), is_meta || is_turn)?;
        let is_enough = state.is_enough(wanted.as_ref());
        match state {
            ParityState::Damaged(why) | ParityState::Newer(why) => {
                self.problems.push(format!("'{}': {why}", parity_path(id).display()));
            }
            _ if is_enough => {}
            _ => drop(self.missing.insert(*id)),
        }
        Ok(())
    }

    /// Everything that is wrong, in words. Other commands may have stored packs, and made their parity,
    /// since they were looked at; or removed them.
    pub(super) fn problems(
        mut self,
        repository: &Repository,
        store: &PackStore,
    ) -> Result<Vec<String>> {
        let disk = &*repository.disk;
        for id in std::mem::take(&mut self.missing) {
            self.look(repository, store, &id, None)?;
        }
        let is_there =
            |id: &PackId| -> Result<bool> { Ok(disk.file_kind(&pack_path(id))?.is_some()) };
        let mut missing = 0;
        for id in &self.missing {
            missing += u64::from(is_there(id)?);
        }
        for id in list_lost(disk)? {
            if !is_there(&id)? {
                self.problems
                    .push(format!("'{}': its pack is missing", parity_path(&id).display()));
            }
        }
        if missing > 0 {
            let are = if missing == 1 { "pack has" } else { "packs have" };
            self.problems
                .push(format!("{missing} {are} less parity than reliability.parity asks for"));
        }
        Ok(self.problems)
    }
}
