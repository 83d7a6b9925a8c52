//! Rows 57 to 65: objects, indexes and formats that are well summed and wrong.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use digstore::id::{CommitId, ListId, TreeId};
use digstore::storage::format::bytes::push_checksum;
use digstore::storage::format::object::{
    ChunkRef, Content, EntryKind, ListChild, ListPage, TreeEntry, TreePage,
};
use digstore::storage::format::pack::{BlockKind, ChunkEntry, PackKind};
use digstore::storage::format::pack_index::{IndexRecord, PackIndex, encode_head};

use crate::common::{Sandbox, assert_same, files_below, noise, overwrite};
use crate::forge::{Forge, Pack, commit, entry, point};
use crate::packs::{detected, file_of};
use crate::watch::{refused, sound, watch, watch_for, watched};

#[test]
fn c57_lists_that_tell_other_lengths() {
    for (len, size) in [(999, 999), (1001, 1001), (1000, 999), (1000, 1001), (1000, 1 << 40)] {
        let (sandbox, mut forge) = (sound(), Forge::new());
        let id = forge.object(BlockKind::Data, &[b'p'; 1000]).into();
        let page = ListPage::Leaf(vec![ChunkRef { id, len }]);
        let list = ListId::from(forge.object(BlockKind::List, &page.encode()));
        forge.publish(&sandbox, vec![file_of(b"x", size, Content::List(list))]);
        detected(&sandbox);
    }
    for size in [999, 1001] {
        let (sandbox, mut forge) = (sound(), Forge::new());
        let id = forge.object(BlockKind::Data, &[b'p'; 1000]).into();
        forge.publish(&sandbox, vec![file_of(b"x", size, Content::Chunk(id))]);
        detected(&sandbox);
    }
}

#[test]
fn c58_sizes_that_overflow() {
    let (sandbox, mut forge) = (sound(), Forge::new());
    let id = forge.object(BlockKind::Data, &[b'p'; 1000]).into();
    let leaf = ListPage::Leaf(vec![ChunkRef { id, len: 1000 }]).encode();
    let id = forge.object(BlockKind::List, &leaf).into();
    let child = ListChild { id, bytes: 1 << 63, chunks: 1 };
    let page = ListPage::Node { level: 1, children: vec![child; 2] };
    let list = ListId::from(forge.object(BlockKind::List, &page.encode()));
    forge.publish(&sandbox, vec![file_of(b"x", 1000, Content::List(list))]);
    detected(&sandbox);
    // Directories whose totals do.
    let (sandbox, mut forge) = (sound(), Forge::new());
    let file = forge.file(b"x", b"planted");
    let tree = forge.tree(vec![file.clone()]);
    let dir = |name: &[u8]| entry(name, EntryKind::Dir { tree, files: u64::MAX, bytes: u64::MAX });
    forge.publish(&sandbox, vec![dir(b"a"), dir(b"b"), file]);
    watched(&sandbox, ["store", "verify", "--data"]).expect_code(21);
    for args in [
        &["ls", "-s", "evil"][..],
        &["show", "evil"],
        &["log", "--stat", "evil"],
        &["diff", "HEAD", "evil"],
    ] {
        watched(&sandbox, args);
    }
}

/// A tree of a thousand million paths from twelve objects; its one file may be missing.
fn bomb(is_whole: bool) -> Sandbox {
    let (sandbox, mut forge) = (sound(), Forge::new());
    let names: Vec<_> = (b'0'..=b'9').collect();
    let file = forge.file(b"x", b"planted");
    if !is_whole {
        forge.data.clear();
    }
    let mut level = names
        .iter()
        .map(|name| TreeEntry { name: vec![*name], ..file.clone() })
        .collect::<Vec<_>>();
    for _ in 0..8 {
        let first = forge.dir(b"0", level);
        level = names.iter().map(|name| TreeEntry { name: vec![*name], ..first.clone() }).collect();
    }
    forge.publish(&sandbox, level);
    sandbox
}

#[test]
fn c59_a_thousand_million_files_from_twelve_objects() {
    let sandbox = bomb(true);
    // Each object is looked at once.
    watched(&sandbox, ["store", "verify", "--data"]).expect_code(0);
    watched(&sandbox, ["log", "--stat", "-n", "1", "main"]).expect_code(0);
    // What lists all of it goes on without more memory, and stops when it is told to.
    for args in
        [&["ls", "-s", "evil"][..], &["diff", "--name-only", "HEAD", "evil"], &["switch", "evil"]]
    {
        let mut command = sandbox.command(args);
        watch_for(command.stdin(Stdio::null()), Duration::from_millis(500));
    }
    sandbox.ok(["store", "verify"]);
}

#[test]
fn c59_a_thousand_million_damaged_files_from_twelve_objects() {
    let sandbox = bomb(false);
    let told = watched(&sandbox, ["store", "verify"]).expect_code(21);
    assert!(told.text().contains("0/0/0/0/0/0/0/0/0"), "{}", told.text());
    watched(&sandbox, ["store", "repair"]);
}

/// A directory that is known to be whole is looked at again where it stands too deep.
#[test]
fn c59_what_is_whole_in_one_place_and_too_long_in_another() {
    for is_too_long in [false, true] {
        let (sandbox, mut forge) = (sound(), Forge::new());
        let part = [b'p'; 250];
        let mut first = forge.file(b"x", b"planted");
        for _ in 0..15 {
            first = forge.dir(&part, vec![first]);
        }
        let mut second = first.clone();
        for _ in 0..if is_too_long { 2 } else { 1 } {
            second = forge.dir(&part, vec![second]);
        }
        second = forge.dir(b"q", vec![second]);
        forge.publish(&sandbox, vec![first, second]);
        let code = if is_too_long { 21 } else { 0 };
        watched(&sandbox, ["store", "verify"]).expect_code(code);
        watched(&sandbox, ["ls", "-s", "evil"]).expect_code(code);
    }
}

#[test]
fn c60_a_tree_that_holds_itself() {
    let (sandbox, mut forge) = (sound(), Forge::new());
    let id = TreeId::of(b"a circle");
    let itself = entry(b"d", EntryKind::Dir { tree: id, files: 1, bytes: 1 });
    let page = TreePage::Leaf(vec![itself]).encode();
    forge.object_as(BlockKind::Tree, id.into(), &page);
    forge.publish_commit(&sandbox, &commit(id));
    refused(&sandbox);
    // A commit that is its own parent.
    let (sandbox, mut forge) = (sound(), Forge::new());
    let id = CommitId::of(b"a circle");
    let tree = forge.tree(Vec::new());
    let mut circle = commit(tree);
    circle.parents.push(id);
    forge.object_as(BlockKind::Commit, id.into(), &circle.encode());
    Pack::of(&forge.meta).publish(&sandbox, PackKind::Meta);
    point(&sandbox, id);
    refused(&sandbox);
}

#[test]
fn c61_a_million_parents() {
    for count in [4097, 100_000] {
        let (sandbox, mut forge) = (sound(), Forge::new());
        let tree = forge.tree(Vec::new());
        let mut many = commit(tree);
        many.parents = vec![CommitId::of(b"nobody"); count];
        forge.publish_commit(&sandbox, &many);
        refused(&sandbox);
    }
}

/// The parts of the merged index, made anew by what `change` makes of each of their records.
fn with_index(sandbox: &Sandbox, change: impl Fn(&mut IndexRecord)) {
    rebuilt_index(sandbox, |records| records.iter_mut().for_each(&change));
}

/// The same, of all records of a part.
fn rebuilt_index(sandbox: &Sandbox, change: impl Fn(&mut Vec<IndexRecord>)) {
    for part in files_below(&sandbox.path(".digstore/index")) {
        let bytes = fs::read(&part).unwrap();
        let index = PackIndex::decode(&bytes).unwrap();
        let packs: Vec<_> = index.packs().collect();
        let mut records = (0..index.record_count()).map(|at| index.record(at)).collect();
        change(&mut records);
        let mut out = encode_head(&packs, records.len() as u64);
        records.iter().for_each(|record| out.extend_from_slice(&record.encode()));
        push_checksum(&mut out, 0);
        fs::remove_file(&part).unwrap();
        let sum = u64::from_le_bytes(out[out.len() - 8..].try_into().unwrap());
        fs::write(part.with_file_name(format!("{sum:016x}.midx")), out).unwrap();
    }
}

/// Enough packs that a merged index is made.
fn indexed() -> Sandbox {
    let sandbox = Sandbox::new();
    for number in 0..40 {
        sandbox.write(format!("f{number}"), noise(number, 100));
        sandbox.save("x");
    }
    assert!(!files_below(&sandbox.path(".digstore/index")).is_empty(), "no merged index");
    sandbox
}

#[test]
fn c62_an_index_that_names_a_pack_that_is_gone() {
    let sandbox = indexed();
    let pack = sandbox.packs(1).swap_remove(3);
    fs::remove_file(pack).unwrap();
    watched(&sandbox, ["store", "verify"]).expect_code(21);
    // It is stored again from the work tree.
    for number in 0..40 {
        sandbox.write(format!("f{number}"), noise(number, 100));
    }
    sandbox.ok(["add", "-A"]);
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn c63_an_index_with_good_sums_and_wrong_places() {
    let wrong: [fn(&mut IndexRecord); 5] = [
        |record| record.chunk.offset = record.chunk.offset.wrapping_add(1),
        |record| record.chunk.block = u32::MAX,
        |record| record.pack = u32::MAX,
        |record| record.chunk.len = u32::MAX,
        |record| record.pack ^= 1,
    ];
    for change in wrong {
        let sandbox = indexed();
        let before = sandbox.snapshot();
        with_index(&sandbox, change);
        watched(&sandbox, ["store", "verify", "--data"]).expect_code(21);
        watched(&sandbox, ["log"]);
        let output = watched(&sandbox, ["restore", "-s", "HEAD", "--target", "../out"]);
        if output.code == 0 {
            assert_same(&before, &crate::common::snapshot(&sandbox.beside("out")));
        }
        // It is only a cache.
        for part in files_below(&sandbox.path(".digstore/index")) {
            fs::remove_file(part).unwrap();
        }
        sandbox.ok(["store", "verify", "--data"]);
        assert_same(&before, &sandbox.restored("HEAD"));
    }
}

#[test]
fn c63_an_index_with_records_that_nothing_stands_behind() {
    let phantom = noise(99, 100);
    let id = BlockKind::Data.id_of(&phantom);
    let another: [fn(&mut IndexRecord); 3] = [
        |_| {},
        |record| record.pack = u32::MAX,
        |record| record.chunk = ChunkEntry { block: 0, offset: 0, len: 100 },
    ];
    for change in another {
        let sandbox = indexed();
        rebuilt_index(&sandbox, |records| {
            let mut record = IndexRecord { id, ..records[0] };
            change(&mut record);
            let at = records.partition_point(|record| record.id < id);
            records.insert(at, record);
        });
        for depth in [&["store", "verify"][..], &["store", "verify", "--data"]] {
            let told = watched(&sandbox, depth).expect_code(21);
            assert!(told.text().contains("the index holds"), "{told:?}");
        }
        assert!(sandbox.run(["store", "repair"]).expect_code(21).text().contains("index"));
        watched(&sandbox, ["store", "repair", "--apply"]).expect_code(0);
        sandbox.write("phantom", &phantom);
        sandbox.save("it is stored");
        assert_eq!(sandbox.ok(["get", "HEAD:phantom"]).stdout, phantom);
        sandbox.ok(["store", "verify", "--data"]);
    }
}

#[test]
fn c64_formats_of_another_time() {
    let path = |sandbox: &Sandbox| sandbox.path(".digstore/format");
    // The version, and a feature that nobody knows, with its sum.
    for (at, byte) in [(8, 2), (8, 255), (12, 1), (19, 0x80)] {
        let sandbox = sound();
        let mut bytes = fs::read(path(&sandbox)).unwrap();
        bytes[at] = byte;
        bytes.truncate(64);
        push_checksum(&mut bytes, 0);
        overwrite(&path(&sandbox), &bytes);
        for args in [&["log"][..], &["add", "-A"], &["store", "verify"], &["status"]] {
            watched(&sandbox, args).expect_code(12);
        }
    }
    // An optional one is no hindrance.
    let sandbox = sound();
    let mut bytes = fs::read(path(&sandbox)).unwrap();
    bytes[20] = 1;
    bytes.truncate(64);
    push_checksum(&mut bytes, 0);
    overwrite(&path(&sandbox), &bytes);
    watched(&sandbox, ["log"]).expect_code(0);
}

#[test]
fn c65_times_before_and_after_all_calendars() {
    for seconds in [i64::MIN, i64::MAX, -1, i64::MIN + 1, 253_402_300_800] {
        for offset in [0, i16::MIN, i16::MAX] {
            let (sandbox, mut forge) = (sound(), Forge::new());
            let tree = forge.tree(Vec::new());
            let mut odd = commit(tree);
            (odd.files, odd.bytes) = (0, 0);
            for who in [&mut odd.author, &mut odd.committer] {
                (who.seconds, who.offset_minutes) = (seconds, offset);
            }
            forge.publish_commit(&sandbox, &odd);
            for args in [
                &["log", "evil"][..],
                &["log", "--json", "evil", "main"],
                &["show", "evil"],
                &["log", "--since", "2020-01-01", "evil"],
                &["store", "verify", "--data"],
            ] {
                watched(&sandbox, args).expect_code(0);
            }
            watch(&mut sandbox.command(["export", "tar", "evil", "-o", "../out.tar"]));
        }
    }
}
