//! Whether lookups lead to where the footers of packs say: an index that is sound by its checksums may
//! lie all the same.

use crate::id::ObjectId;
use crate::storage::format::pack::{ChunkEntry, Footer};
use crate::storage::pack_store::{Pack, PackStore};

/// The first object of a pack that is looked up where it is not.
pub(in crate::repo) fn astray(
    store: &PackStore,
    pack: &Pack,
    footer: &Footer<'_>,
) -> Option<ObjectId> {
    let is_found = |(object, chunk): &(ObjectId, ChunkEntry)| {
        let Some(found) = store.locate(object) else { return false };
        if found.pack == pack.id() {
            return found.chunk == *chunk;
        }
        // Two packs may hold it.
        store.pack(&found.pack).is_ok_and(|other| {
            other.footer().is_ok_and(|footer| footer.find(object) == Some(found.chunk))
        })
    };
    footer.chunks().find(|entry| !is_found(entry)).map(|(object, _)| object)
}
