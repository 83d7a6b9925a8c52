//! Rows 45 to 56: bytes that lie about themselves, and packs that are not what their sums say.

use std::fs;
use std::path::PathBuf;

use digstore::id::{ChunkId, CommitId, ListId, TreeId};
use digstore::storage::format::bytes::{checksum, push_varint};
use digstore::storage::format::object::{
    ChunkRef, Content, EntryKind, ListPage, TreeEntry, TreePage,
};
use digstore::storage::format::pack::{BlockKind, Codec, MAX_BLOCK, PackKind};

use crate::common::{Sandbox, assert_same, flip, noise, overwrite};
use crate::forge::{Forge, Frame, Pack, commit, entry, point};
use crate::watch::{refused, sound, watched, world};

/// A file with such content.
pub(crate) fn file_of(name: &[u8], size: u64, content: Content) -> TreeEntry {
    entry(name, EntryKind::File { executable: false, size, content })
}

/// A branch `evil` with one file of one chunk, whose frame and pack can be bent.
#[track_caller]
fn bent(frame: impl FnOnce(&mut Frame), pack: impl FnOnce(&mut Pack)) -> Sandbox {
    let (sandbox, mut forge) = (sound(), Forge::new());
    let entry = forge.file(b"x", &[b'p'; 1000]);
    let mut frames = std::mem::take(&mut forge.data);
    frame(&mut frames[0]);
    let mut data = Pack::of(&frames);
    pack(&mut data);
    data.publish(&sandbox, PackKind::Data);
    forge.publish(&sandbox, vec![entry]);
    sandbox
}

/// Every read of the file fails, and `store verify --data` names the damage.
#[track_caller]
pub(crate) fn detected(sandbox: &Sandbox) -> String {
    let before = world(sandbox);
    for args in [
        &["get", "evil:x"][..],
        &["restore", "-s", "evil", "x"],
        &["restore", "-s", "evil", "--target", "../out"],
        &["switch", "evil"],
        &["export", "tar", "evil", "-o", "../out.tar"],
    ] {
        let output = watched(sandbox, args);
        assert!(matches!(output.code, 1 | 21), "{args:?}: {output:#?}");
        let _ = fs::remove_dir(sandbox.beside("out"));
        if args[0] == "switch" {
            // It may have got as far as removing files that are stored.
            watched(sandbox, ["reset", "--hard"]).expect_code(0);
        }
        assert_same(&before, &world(sandbox));
    }
    let output = watched(sandbox, ["store", "verify", "--data"]).expect_code(21);
    assert_eq!(watched(sandbox, ["get", "HEAD:mine"]).expect_code(0).text(), "kept");
    output.text().to_owned() + &output.stderr
}

#[test]
fn c45_bytes_that_do_not_have_their_id() {
    let told = detected(&bent(|frame| frame.payload[500] ^= 1, |_| {}));
    assert!(told.contains('x'), "{told}");
    // Likewise of a tree and of a commit.
    for kind in [BlockKind::Tree, BlockKind::Commit] {
        let (sandbox, mut forge) = (sound(), Forge::new());
        let other = forge.file(b"other", b"planted");
        let file = forge.file(b"x", b"planted");
        let wanted = TreePage::Leaf(vec![file]).encode();
        let planted = TreePage::Leaf(vec![other]).encode();
        if kind == BlockKind::Tree {
            let id = kind.id_of(&wanted);
            forge.object_as(kind, id, &planted);
            forge.publish_commit(&sandbox, &commit(id.into()));
        } else {
            let tree = forge.object(BlockKind::Tree, &planted).into();
            let id = CommitId::of(b"another commit");
            forge.object_as(kind, id.into(), &commit(tree).encode());
            Pack::of(&forge.data).publish(&sandbox, PackKind::Data);
            Pack::of(&forge.meta).publish(&sandbox, PackKind::Meta);
            point(&sandbox, id);
        }
        refused(&sandbox);
    }
}

#[test]
fn c46_two_chunks_in_each_others_place() {
    let (sandbox, mut forge) = (sound(), Forge::new());
    let entries = vec![forge.file(b"x", b"first"), forge.file(b"y", b"other")];
    let chunks = &mut forge.data[0].chunks;
    chunks.swap(0, 1);
    forge.publish(&sandbox, entries);
    detected(&sandbox);
}

#[test]
fn c47_objects_of_another_type() {
    // A tree where a commit should be, a list where a tree should be, a commit as a file.
    let leaf = ListPage::Leaf(vec![ChunkRef { id: ChunkId::of(b"x"), len: 1 }]).encode();
    for kind in [BlockKind::List, BlockKind::Commit, BlockKind::Tag] {
        let (sandbox, mut forge) = (sound(), Forge::new());
        forge.object_as(kind, BlockKind::Tree.id_of(&leaf), &leaf);
        forge.publish_commit(&sandbox, &commit(TreeId::of(&leaf)));
        refused(&sandbox);
    }
    let (sandbox, mut forge) = (sound(), Forge::new());
    let tree = forge.tree(Vec::new());
    let bytes = commit(tree).encode();
    let id = CommitId::of(&bytes);
    // It is what its id says, among objects of another type.
    forge.object_as(BlockKind::Tree, id.into(), &bytes);
    Pack::of(&forge.meta).publish(&sandbox, PackKind::Meta);
    point(&sandbox, id);
    watched(&sandbox, ["store", "verify", "--data"]).expect_code(21);
    // Metadata in a pack of data.
    let (sandbox, mut forge) = (sound(), Forge::new());
    let entry = forge.file(b"x", b"planted");
    let mut frames = std::mem::take(&mut forge.data);
    frames[0].kind = BlockKind::Tree;
    Pack::of(&frames).publish(&sandbox, PackKind::Meta);
    forge.publish(&sandbox, vec![entry]);
    sound_or_refused(&sandbox, b"planted");
}

/// The file can be read as it should be or not at all, and `store verify --data` names what is wrong.
#[track_caller]
fn sound_or_refused(sandbox: &Sandbox, expected: &[u8]) {
    let output = watched(sandbox, ["get", "evil:x"]);
    assert!(output.code == 21 || output.code == 0 && output.stdout == expected, "{output:#?}");
    watched(sandbox, ["store", "verify", "--data"]).expect_code(21);
}

/// The one data pack of a repository with a file of a few chunks.
fn with_pack() -> (Sandbox, PathBuf, Vec<u8>) {
    let sandbox = Sandbox::new();
    sandbox.write("x", noise(1, 200_000));
    sandbox.save("x");
    let pack = sandbox.packs(1).pop().unwrap();
    let bytes = fs::read(&pack).unwrap();
    (sandbox, pack, bytes)
}

/// Places that begin, end and divide a pack.
fn places(len: usize) -> impl Iterator<Item = usize> {
    (0..60).chain((60..len).step_by(len / 40)).chain(len - 90..len)
}

#[test]
fn c48_a_pack_cut_short() {
    let (sandbox, pack, bytes) = with_pack();
    for cut in places(bytes.len()).step_by(4) {
        overwrite(&pack, &bytes[..cut]);
        watched(&sandbox, ["store", "verify", "--data"]).expect_code(21);
        watched(&sandbox, ["get", "HEAD:x"]).expect_code(21);
    }
    overwrite(&pack, &bytes);
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn c49_a_flip_anywhere_in_a_pack() {
    let (sandbox, pack, bytes) = with_pack();
    for at in places(bytes.len()).step_by(4) {
        flip(&pack, at);
        watched(&sandbox, ["store", "verify", "--data"]).expect_code(21);
        flip(&pack, at);
    }
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn c50_bytes_behind_the_end_of_a_pack() {
    let (sandbox, pack, bytes) = with_pack();
    for behind in [vec![0], vec![0; 4096], bytes.clone(), bytes[bytes.len() - 72..].to_vec()] {
        overwrite(&pack, &[bytes.as_slice(), &behind].concat());
        watched(&sandbox, ["store", "verify", "--data"]).expect_code(21);
    }
}

#[test]
fn c51_offsets_behind_the_end() {
    for offset in [u64::MAX, u64::MAX - 47, 1 << 63, 1 << 32, 0, 39, 2000] {
        detected(&bent(|_| {}, |pack| pack.blocks[0].offset = offset));
    }
    for place in
        [(1, 0, 1000), (u32::MAX, 0, 1000), (0, 1, 1000), (0, u32::MAX, 1000), (0, 0, u32::MAX)]
    {
        let bend = |pack: &mut Pack| {
            let chunk = &mut pack.chunks[0].1;
            (chunk.block, chunk.offset, chunk.len) = place;
        };
        detected(&bent(|_| {}, bend));
    }
}

#[test]
fn c52_frames_that_overlap() {
    // What a read needs is checked by the read: the frame and the id of what it holds.
    let bend: [fn(&mut Pack); 4] = [
        |pack| pack.blocks.push(pack.blocks[0]),
        |pack| pack.blocks[0].stored_len -= 1,
        // A byte between the frames, and behind them.
        |pack| pack.body.insert(0, 0),
        |pack| pack.body.push(0),
    ];
    for bend in bend {
        sound_or_refused(&bent(|_| {}, bend), &[b'p'; 1000]);
    }
}

/// A tree or list page whose count or size is a number that nothing can hold.
fn boast(magic: u8, numbers: &[u64], more: &[u8]) -> Vec<u8> {
    let mut page = vec![magic, 0];
    numbers.iter().for_each(|number| push_varint(&mut page, *number));
    page.extend_from_slice(more);
    page
}

#[test]
fn c53_lengths_that_nothing_can_hold() {
    for huge in [1 << 63, u64::MAX, 1 << 40] {
        for page in [boast(b'T', &[huge], &[0; 64]), boast(b'T', &[1, huge], &[0; 64])] {
            let (sandbox, mut forge) = (sound(), Forge::new());
            let tree = forge.object(BlockKind::Tree, &page).into();
            forge.publish_commit(&sandbox, &commit(tree));
            refused(&sandbox);
        }
        for page in [boast(b'L', &[huge], &[0; 64]), boast(b'L', &[1, huge], &[0; 64])] {
            let (sandbox, mut forge) = (sound(), Forge::new());
            let list = ListId::from(forge.object(BlockKind::List, &page));
            forge.publish(&sandbox, vec![file_of(b"x", 1 << 63, Content::List(list))]);
            detected(&sandbox);
        }
        // A file of that size by its own account.
        let (sandbox, mut forge) = (sound(), Forge::new());
        let chunk = ChunkId::from(forge.object(BlockKind::Data, b"planted"));
        forge.publish(&sandbox, vec![file_of(b"x", huge, Content::Chunk(chunk))]);
        detected(&sandbox);
    }
    // Frames whose header says so.
    for (plain, chunks) in [(u32::MAX, 1), (MAX_BLOCK as u32 + 1, 1), (1000, u32::MAX)] {
        let lie = |pack: &mut Pack| {
            pack.body[8..12].copy_from_slice(&u32::to_le_bytes(chunks));
            pack.body[20..24].copy_from_slice(&plain.to_le_bytes());
            let sum = checksum(&pack.body[..40]);
            pack.body[40..48].copy_from_slice(&sum.to_le_bytes());
            pack.blocks[0].plain_len = plain;
            pack.blocks[0].chunk_count = chunks;
        };
        detected(&bent(|_| {}, lie));
    }
}

/// A frame whose payload is such bytes, which say they are one zstd frame of the file's 1000 bytes.
fn squeezed(payload: Vec<u8>) -> Sandbox {
    let squeeze = |frame: &mut Frame| (frame.codec, frame.payload) = (Codec::Zstd, payload);
    bent(squeeze, |_| {})
}

/// A zstd frame of zeros without end, as far as `len` goes, in blocks of one repeated byte.
fn bomb(window: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, window];
    let block: usize = 128 << 10;
    let count = len / block;
    for number in 0..count {
        let header = (block << 3) | 0b010 | usize::from(number + 1 == count);
        out.extend_from_slice(&header.to_le_bytes()[..3]);
        out.push(b'p');
    }
    out
}

#[test]
fn c54_a_block_that_bursts() {
    // 29 MiB from 900 bytes, and 1 GiB from as many as a block of 32 MiB may have.
    detected(&squeezed(bomb(0x58, 29 << 20)));
    let payload = bomb(0x58, 1 << 30);
    let (sandbox, mut forge) = (sound(), Forge::new());
    let plain = vec![b'p'; 16 << 20];
    let entry = forge.file(b"x", &plain);
    (forge.data[0].codec, forge.data[0].payload) = (Codec::Zstd, payload);
    forge.publish(&sandbox, vec![entry]);
    detected(&sandbox);
}

#[test]
fn c55_a_window_of_two_gibibytes() {
    // The exponent is in the upper five bits, counted from 10.
    for window in [31, 27, 40] {
        detected(&squeezed(bomb((window - 10) << 3, 1 << 20)));
    }
}

#[test]
fn c56_frames_behind_and_between_frames() {
    let whole = zstd::bulk::compress(&[b'p'; 1000], 3).unwrap();
    let part = zstd::bulk::compress(&[b'p'; 500], 3).unwrap();
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    watched(&squeezed(whole.clone()), ["get", "evil:x"]).expect_code(0);
    for payload in [
        [&part[..], &part].concat(),
        [&whole[..], &skippable].concat(),
        [&skippable[..], &whole].concat(),
        [&whole[..], b"x"].concat(),
        whole[..whole.len() - 1].to_vec(),
        Vec::new(),
    ] {
        detected(&squeezed(payload));
    }
}
