use std::collections::HashMap;

use super::*;
use crate::storage::cache::BufferPool;
use crate::storage::codec::BlockEncoder;
use crate::storage::disk::{OsDisk, TMP_DIR};
use crate::storage::format::pack::{Codec, PackKind};
use crate::storage::queues::CancelToken;

fn fresh() -> (tempfile::TempDir, Arc<dyn Disk>) {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(dir.path()));
    for sub in [TMP_DIR, PACKS_DIR, INDEX_DIR] {
        disk.create_dir(sub.as_ref()).unwrap();
    }
    (dir, disk)
}

/// Writes a pack with one block per slice of chunks.
fn write_pack(disk: &Arc<dyn Disk>, seed: u8, blocks: &[Vec<Vec<u8>>]) -> PackId {
    let pool = BufferPool::new(1 << 20);
    let mut encoder = BlockEncoder::new(1).unwrap();
    let mut writer = PackWriter::new(Arc::clone(disk), PackKind::Data, [seed; 16]).unwrap();
    for block in blocks {
        let plain = block.concat();
        let mut payload = pool.acquire(plain.len());
        let codec = encoder.encode(&plain, 64, &mut payload).unwrap();
        if codec == Codec::Raw {
            payload.extend_from_slice(&plain);
        }
        let chunks =
            block.iter().map(|chunk| (BlockKind::Data.id_of(chunk), chunk.len() as u32)).collect();
        writer.append(&EncodedBlock { kind: BlockKind::Data, codec, chunks, payload }).unwrap();
    }
    writer.seal().unwrap().id
}

fn sample(seed: u8) -> Vec<Vec<Vec<u8>>> {
    (0..4u8)
        .map(|block| {
            (1..5u8).map(|chunk| vec![seed ^ block ^ (chunk << 4); 100 * chunk as usize]).collect()
        })
        .collect()
}

fn read_all(store: &Arc<PackStore>, blocks: &[Vec<Vec<u8>>]) {
    let reader = ObjectReader::new(Arc::clone(store), 1 << 20, 1 << 20);
    for chunk in blocks.iter().flatten() {
        let id = BlockKind::Data.id_of(chunk);
        assert_eq!(&reader.read(BlockKind::Data, &id).unwrap(), chunk);
    }
}

#[test]
fn what_is_written_is_found_again_after_opening() {
    let (_dir, disk) = fresh();
    let id = write_pack(&disk, 1, &sample(1));
    let store = Arc::new(PackStore::open(Arc::clone(&disk)).unwrap());
    read_all(&store, &sample(1));
    let pack = store.pack(&id).unwrap();
    pack.verify_layout().unwrap();
    let reader = ObjectReader::new(store, 0, 1 << 20);
    for block in 0..4 {
        reader.verify_block((id, block)).unwrap();
    }
    assert!(!reader.store().contains(&BlockKind::Data.id_of(b"elsewhere")));
}

#[test]
fn many_packs_are_merged_and_still_found() {
    let (_dir, disk) = fresh();
    let store = Arc::new(PackStore::open(Arc::clone(&disk)).unwrap());
    for seed in 0..40 {
        store.adopt(write_pack(&disk, seed, &sample(seed))).unwrap();
    }
    assert!(disk.list(INDEX_DIR.as_ref()).unwrap().len() <= 2);
    assert!(store.verify_indexes().is_empty());
    let reopened = Arc::new(PackStore::open(disk).unwrap());
    for seed in 0..40 {
        read_all(&store, &sample(seed));
        read_all(&reopened, &sample(seed));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test breaks files on purpose")]
fn an_index_entry_without_its_pack_counts_as_absent() {
    let (dir, disk) = fresh();
    let store = PackStore::open(Arc::clone(&disk)).unwrap();
    let packs: Vec<_> =
        (0..16).map(|seed| write_pack(&disk, seed, &[vec![vec![seed; 50]]])).collect();
    packs.iter().for_each(|id| store.adopt(*id).unwrap());
    std::fs::remove_file(dir.path().join(pack_path(&packs[3]))).unwrap();
    let store = PackStore::open(disk).unwrap();
    assert!(!store.contains(&BlockKind::Data.id_of(&[3; 50])));
    assert!(store.contains(&BlockKind::Data.id_of(&[4; 50])));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test breaks files on purpose")]
fn every_flip_and_every_cut_of_a_pack_is_found_and_never_read() {
    let (dir, disk) = fresh();
    let blocks = sample(1);
    let id = write_pack(&disk, 1, &blocks);
    let path = dir.path().join(pack_path(&id));
    let good = std::fs::read(&path).unwrap();
    let truth: HashMap<_, _> =
        blocks.iter().flatten().map(|chunk| (BlockKind::Data.id_of(chunk), chunk)).collect();
    let check = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let Ok(pack) = Pack::open(&*disk, id) else { return true };
        let store = Arc::new(PackStore::open(Arc::clone(&disk)).unwrap());
        let reader = ObjectReader::new(store, 1 << 20, 1 << 20);
        for (id, chunk) in &truth {
            if let Ok(bytes) = reader.read(BlockKind::Data, id) {
                assert_eq!(bytes, **chunk);
            }
        }
        let is_bad = |block| reader.verify_block((id, block)).is_err();
        pack.verify_layout().is_err() || (0..4).any(is_bad)
    };
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(check(&bytes), "flip at {at}");
        assert!(check(&good[..at]), "cut at {at}");
    }
    assert!(check(&[&good[..], b"x"].concat()), "garbage behind the end");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test breaks files on purpose")]
fn a_lost_footer_is_rebuilt_from_the_frames() {
    let (dir, disk) = fresh();
    let id = write_pack(&disk, 1, &sample(1));
    let path = dir.path().join(pack_path(&id));
    let good = std::fs::read(&path).unwrap();
    let footer_len = Pack::open(&*disk, id).unwrap().footer().unwrap().chunk_count() as usize * 44;
    std::fs::write(&path, &good[..good.len() - footer_len]).unwrap();
    let rebuilt = rebuild_footer(&*disk, &id).unwrap().unwrap();
    assert_eq!((rebuilt.id, rebuilt.blocks), (id, 4));
}

/// The objects that can be read of a pack.
fn readable(disk: &Arc<dyn Disk>, blocks: &[Vec<Vec<u8>>]) -> HashSet<ObjectId> {
    let store = Arc::new(PackStore::open(Arc::clone(disk)).unwrap());
    let reader = ObjectReader::new(store, 1 << 20, 1 << 20);
    let ids = blocks.iter().flatten().map(|chunk| BlockKind::Data.id_of(chunk));
    ids.filter(|id| reader.read(BlockKind::Data, id).is_ok()).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test breaks files on purpose")]
fn all_that_can_be_read_of_a_damaged_pack_is_salvaged() {
    let (dir, disk) = fresh();
    let mut raw = vec![0; 900];
    blake3::Hasher::new().finalize_xof().fill(&mut raw);
    let raw: Vec<Vec<u8>> = raw.chunks(300).map(<[u8]>::to_vec).collect();
    let blocks = [vec![raw], sample(1)].concat();
    let id = write_pack(&disk, 1, &blocks);
    let path = dir.path().join(pack_path(&id));
    let good = std::fs::read(&path).unwrap();
    let (mut same, mut less) = (0, 0);
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bytes).unwrap();
        let before = readable(&disk, &blocks);
        let salvage = Salvage::look(&*disk, id).unwrap();
        assert!(!salvage.is_sound, "flip at {at}");
        let file = disk.open(&pack_path(&id)).unwrap().unwrap();
        let sealed = salvage.write(&disk, &*file).unwrap().unwrap();
        if sealed.id == id {
            assert!(std::fs::read(&path).unwrap() == good, "flip at {at}");
            same += 1;
        } else {
            std::fs::remove_file(&path).unwrap();
            less += 1;
        }
        let after = readable(&disk, &blocks);
        assert!(after.is_superset(&before), "flip at {at}: {before:?} {after:?}");
        std::fs::remove_file(dir.path().join(pack_path(&sealed.id))).unwrap();
    }
    // Whatever is not a payload is said twice.
    assert!(same > good.len() / 2 && less > 900, "{same} {less}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test breaks files on purpose")]
fn a_header_of_another_version_before_a_sound_footer_is_damage() {
    let (dir, disk) = fresh();
    let id = write_pack(&disk, 1, &sample(1));
    let path = dir.path().join(pack_path(&id));
    let good = std::fs::read(&path).unwrap();
    let mut bytes = good.clone();
    // The number of the version, and one byte behind it, so that it is not the number alone.
    bytes[8] ^= 0x80;
    bytes[20] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let salvage = Salvage::look(&*disk, id).unwrap();
    assert!(!salvage.is_sound && salvage.lost.is_empty());
    let file = disk.open(&pack_path(&id)).unwrap().unwrap();
    assert_eq!(salvage.write(&disk, &*file).unwrap().unwrap().id, id);
    assert!(std::fs::read(&path).unwrap() == good);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test breaks files on purpose")]
fn frames_in_a_stored_file_do_not_say_what_kind_a_pack_is() {
    let (dir, disk) = fresh();
    let mut noise = vec![0; 4000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let mut writer = PackWriter::new(Arc::clone(&disk), PackKind::Meta, [7; 16]).unwrap();
    let mut payload = BufferPool::new(1 << 20).acquire(500);
    payload.extend_from_slice(&noise[..500]);
    let chunks = vec![(BlockKind::Tree.id_of(&payload), 500)];
    let block = EncodedBlock { kind: BlockKind::Tree, codec: Codec::Raw, chunks, payload };
    writer.append(&block).unwrap();
    let inner = std::fs::read(dir.path().join(pack_path(&writer.seal().unwrap().id))).unwrap();
    let blocks = [vec![[&inner[..], &noise[2000..]].concat()], vec![noise[500..2000].to_vec()]];
    let id = write_pack(&disk, 1, &blocks);
    let path = dir.path().join(pack_path(&id));
    let mut bytes = std::fs::read(&path).unwrap();
    // Neither header nor footer, nor the header of the frame with the file.
    bytes[..88].fill(0);
    std::fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
    let salvage = Salvage::look(&*disk, id).unwrap();
    assert!(salvage.objects().eq([BlockKind::Data.id_of(&blocks[1][0])]), "{salvage:?}");
}

#[test]
fn a_stop_is_heard_while_a_pack_is_looked_at() {
    let (_dir, disk) = fresh();
    let id = write_pack(&disk, 1, &sample(1));
    let cancel = CancelToken::default();
    cancel.cancel();
    let look = Salvage::look_until(&*disk, id, &cancel);
    assert!(matches!(look, Err(StoreError::Interrupted)), "{look:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test breaks files on purpose")]
fn what_is_not_found_in_a_file_that_was_cut_off_is_not_called_absent() {
    let (dir, disk) = fresh();
    let many = |seed: u8| -> Vec<Vec<u8>> {
        (0..2000u32).map(|number| [&number.to_le_bytes()[..], &[seed; 20]].concat()).collect()
    };
    let cut = |path: PathBuf, len: u64| {
        let file = std::fs::OpenOptions::new().write(true).open(dir.path().join(path)).unwrap();
        file.set_len(len).unwrap();
    };
    let absent = BlockKind::Data.id_of(b"elsewhere");
    let is_cut = |answer: Result<Location>| match answer {
        Err(StoreError::Disk(error)) => error.source.to_string().contains("truncated"),
        other => panic!("{other:?}"),
    };
    let id = write_pack(&disk, 1, &[many(1)]);
    let open = || Arc::new(PackStore::open(Arc::clone(&disk)).unwrap());

    let (store, whole) = (open(), std::fs::read(dir.path().join(pack_path(&id))).unwrap());
    let reader = ObjectReader::new(Arc::clone(&store), 1 << 20, 1 << 20);
    assert!(matches!(reader.locate(&absent), Err(StoreError::Missing(_))));
    cut(pack_path(&id), 1000);
    assert!(is_cut(reader.locate(&absent)));
    assert!(store.merge().is_err(), "no index is made of a footer that was cut off");
    assert!(disk.list(INDEX_DIR.as_ref()).unwrap().is_empty());

    std::fs::write(dir.path().join(pack_path(&id)), whole).unwrap();
    open().merge().unwrap();
    let reader = ObjectReader::new(open(), 1 << 20, 1 << 20);
    assert!(matches!(reader.locate(&absent), Err(StoreError::Missing(_))));
    let index = disk.list(INDEX_DIR.as_ref()).unwrap().remove(0);
    cut(Path::new(INDEX_DIR).join(index), 1000);
    assert!(is_cut(reader.locate(&absent)));
    assert!(is_cut(reader.locate(&BlockKind::Data.id_of(&many(1)[7]))));
}

#[test]
fn what_others_store_meanwhile_is_found() {
    let (_dir, disk) = fresh();
    write_pack(&disk, 1, &sample(1));
    let store = Arc::new(PackStore::open(Arc::clone(&disk)).unwrap());
    write_pack(&disk, 2, &sample(200));
    read_all(&store, &sample(200));
    read_all(&store, &sample(1));
}

#[test]
fn what_is_condemned_is_read_and_counts_as_absent() {
    let (_dir, disk) = fresh();
    let old = write_pack(&disk, 1, &sample(1));
    let store = Arc::new(PackStore::open(Arc::clone(&disk)).unwrap());
    let id = BlockKind::Data.id_of(&sample(1)[0][0]);
    assert!(store.contains(&id));
    store.condemn([(old, 5)].into(), false).unwrap();
    for store in [&store, &Arc::new(PackStore::open(Arc::clone(&disk)).unwrap())] {
        assert!(!store.contains(&id));
        assert_eq!(store.locate(&id).unwrap().pack, old);
        read_all(store, &sample(1));
    }
    // Of a copy the index keeps the place that stays, whatever it merges, and when.
    let copy = write_pack(&disk, 9, &sample(1));
    store.adopt_copy(copy).unwrap();
    store.merge().unwrap();
    assert_eq!(store.locate(&id).unwrap().pack, copy);
    store.forget(&[old].into()).unwrap();
    store.remove(&old).unwrap();
    for store in [&store, &Arc::new(PackStore::open(Arc::clone(&disk)).unwrap())] {
        assert!(store.contains(&id));
        read_all(store, &sample(1));
    }
    assert!(store.verify_indexes().is_empty());
}

#[test]
fn who_opened_the_packs_before_finds_out_what_went() {
    let (_dir, disk) = fresh();
    let old = write_pack(&disk, 1, &sample(1));
    write_pack(&disk, 2, &sample(200));
    let early = PackStore::open(Arc::clone(&disk)).unwrap();
    let id = BlockKind::Data.id_of(&sample(1)[0][0]);
    let collector = PackStore::open(Arc::clone(&disk)).unwrap();
    collector.condemn([(old, 5)].into(), true).unwrap();
    early.refresh().unwrap();
    assert!(!early.contains(&id) && early.locate(&id).is_some() && early.is_thorough());
    collector.forget(&[old].into()).unwrap();
    collector.remove(&old).unwrap();
    collector.condemn(BTreeMap::new(), false).unwrap();
    early.refresh().unwrap();
    assert!(early.locate(&id).is_none() && !early.is_thorough());
}

#[test]
fn what_another_process_stored_meanwhile_is_found() {
    let (_dir, disk) = fresh();
    write_pack(&disk, 1, &sample(1));
    let store = Arc::new(PackStore::open(Arc::clone(&disk)).unwrap());
    let damaged = write_pack(&disk, 2, &sample(12));
    disk.publish(&pack_path(&damaged), b"short", true).unwrap();
    write_pack(&disk, 3, &sample(8));
    read_all(&store, &sample(8));
    assert_eq!((store.packs().len(), store.damaged().len()), (2, 1));
    assert!(!store.refresh().unwrap());
    let reader = ObjectReader::new(Arc::clone(&store), 0, 1 << 20);
    let missing = BlockKind::Data.id_of(b"nowhere");
    for _ in 0..2 * MAX_VAIN_LOOKS {
        assert!(matches!(reader.locate(&missing), Err(StoreError::Missing(id)) if id == missing));
    }
}
