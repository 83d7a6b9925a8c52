//! Objects that no command would write, in packs that are sound: trees that name what is no tree,
//! sizes that lie, links that lead out.

use std::sync::Arc;

use digstore::id::{CommitId, ObjectId};
use digstore::storage::cache::BufferPool;
use digstore::storage::disk::{Disk, OsDisk};
use digstore::storage::format::object::{
    ChunkRef, Commit, Content, EntryKind, ListChild, ListPage, TreeChild, TreeEntry, TreePage,
};
use digstore::storage::format::pack::{BlockKind, Codec, PackKind};
use digstore::storage::format::refs::RefRecord;
use digstore::storage::format::tag::Tag;
use digstore::storage::pack_store::{EncodedBlock, PackWriter};

use super::Scratch;
use super::small::signature;
use super::store::{Input, commands};

/// Most things that all the ways down from an object lead to: more, and reading it would take for
/// ever, which it may.
const MOST: u64 = 3000;

/// An object that was made.
#[derive(Clone)]
struct Made {
    kind: BlockKind,
    id: ObjectId,
    bytes: Vec<u8>,
    /// Files below it, and bytes of them; chunks, of a list.
    totals: (u64, u64),
    weight: u64,
    level: u8,
}

struct Maker<'a, 'b> {
    input: &'a mut Input<'b>,
    made: Vec<Made>,
    /// Of the object that is being made.
    weight: u64,
}

impl Maker<'_, '_> {
    /// An object that was made before, of the kind if there is one and the input does not say
    /// otherwise.
    fn pick(&mut self, kind: BlockKind) -> Option<Made> {
        let which = usize::from(self.input.byte());
        let fits = |made: &&Made| made.kind == kind || which & 0xc0 == 0xc0;
        let fitting: Vec<&Made> = self.made.iter().filter(fits).collect();
        let found = (*fitting.get((which & 0x3f) % fitting.len().max(1))?).clone();
        self.weight += found.weight;
        (self.weight <= MOST).then_some(found)
    }

    /// A number that is right, as a rule.
    fn lie(&mut self, right: u64) -> u64 {
        match self.input.byte() {
            0xff => u64::MAX,
            0xfe => right.wrapping_add(1),
            0xfd => right.wrapping_sub(1),
            0xfc => 0,
            0xfb => 1 << 40,
            _ => right,
        }
    }

    fn push(&mut self, kind: BlockKind, bytes: Vec<u8>, totals: (u64, u64), level: u8) {
        let (id, weight) = (kind.id_of(&bytes), self.weight + 1);
        self.made.push(Made { kind, id, bytes, totals, weight, level });
    }

    fn object(&mut self) {
        self.weight = 0;
        match self.input.byte() % 8 {
            0 | 1 => {
                let len = self.input.number() % 300;
                let mut bytes = self.input.take(len).to_vec();
                bytes.push(1);
                let len = bytes.len() as u64;
                self.push(BlockKind::Data, bytes, (1, len), 0);
            }
            2 => self.list(),
            3 | 4 => self.tree(),
            5 => self.commit(),
            6 => self.tag(),
            _ => {
                let kinds = [BlockKind::List, BlockKind::Tree, BlockKind::Commit, BlockKind::Tag];
                let kind = kinds[usize::from(self.input.byte()) % 4];
                let len = usize::from(self.input.byte());
                let mut bytes = self.input.take(len).to_vec();
                bytes.push(0);
                self.push(kind, bytes, (0, 0), 0);
            }
        }
    }

    fn list(&mut self) {
        let (count, level) = (usize::from(self.input.byte() % 6), self.input.byte() % 12);
        let (mut chunks, mut children, mut totals, mut below) =
            (Vec::new(), Vec::new(), (0u64, 0u64), 0);
        for _ in 0..count {
            let wanted = if level == 0 { BlockKind::Data } else { BlockKind::List };
            let Some(made) = self.pick(wanted) else { continue };
            let (number, bytes) = made.totals;
            totals = (totals.0.wrapping_add(number), totals.1.wrapping_add(bytes));
            below = below.max(made.level);
            if wanted == BlockKind::Data {
                let len = self.lie(bytes).min(u64::from(u32::MAX)) as u32;
                chunks.push(ChunkRef { id: made.id.into(), len });
            } else {
                let (bytes, chunks) = (self.lie(bytes), self.lie(number));
                children.push(ListChild { id: made.id.into(), bytes, chunks });
            }
        }
        // The right level, as a rule.
        let level = if level < 8 { below + 1 } else { level };
        let page = if chunks.is_empty() {
            ListPage::Node { level, children }
        } else {
            ListPage::Leaf(chunks)
        };
        let level = page.level();
        self.push(BlockKind::List, page.encode(), totals, level);
    }

    fn name(&mut self) -> Vec<u8> {
        const NAMES: [&[u8]; 12] = [
            b"a",
            b"b",
            b"c",
            b"d",
            b"out",
            b"large",
            b"staged",
            b".digignore",
            b"kept",
            b"zz",
            b"empty",
            b"dir",
        ];
        let which = self.input.byte();
        if which < 0xe0 {
            return NAMES[usize::from(which) % NAMES.len()].to_vec();
        }
        let len = usize::from(which & 0x1f);
        self.input.take(len).to_vec()
    }

    fn tree(&mut self) {
        let (count, level) = (usize::from(self.input.byte() % 6), self.input.byte());
        if level >= 0xe0 {
            let mut children = Vec::new();
            for _ in 0..count {
                let first = self.name();
                children.extend(
                    self.pick(BlockKind::Tree).map(|made| TreeChild { first, id: made.id.into() }),
                );
            }
            let node = TreePage::Node { level: level & 3, children };
            return self.push(BlockKind::Tree, node.encode(), (0, 0), 0);
        }
        let (mut entries, mut totals): (Vec<TreeEntry>, _) = (Vec::new(), (0u64, 0u64));
        for _ in 0..count {
            let name = self.name();
            if let Some(kind) = self.entry() {
                entries.push(TreeEntry { name, kind });
            }
        }
        if level < 0xd0 {
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            entries.dedup_by(|a, b| a.name == b.name);
        }
        for (files, bytes) in entries.iter().map(TreeEntry::totals) {
            totals = (totals.0.wrapping_add(files), totals.1.wrapping_add(bytes));
        }
        self.push(BlockKind::Tree, TreePage::Leaf(entries).encode(), totals, 0);
    }

    fn entry(&mut self) -> Option<EntryKind> {
        let kind = self.input.byte();
        Some(match kind % 6 {
            0 => EntryKind::File { executable: false, size: self.lie(0), content: Content::Empty },
            1 | 2 => {
                let wanted = if kind % 6 == 1 { BlockKind::Data } else { BlockKind::List };
                let made = self.pick(wanted)?;
                let content = if wanted == BlockKind::Data {
                    Content::Chunk(made.id.into())
                } else {
                    Content::List(made.id.into())
                };
                EntryKind::File {
                    executable: kind & 8 != 0,
                    size: self.lie(made.totals.1),
                    content,
                }
            }
            3 => {
                const TARGETS: [&[u8]; 6] =
                    [b"../outside", b"../../outside/dir", b"a", b"/", b".", b"../target"];
                EntryKind::Symlink { target: TARGETS[usize::from(self.input.byte()) % 6].to_vec() }
            }
            _ => {
                let made = self.pick(BlockKind::Tree)?;
                let (files, bytes) = (self.lie(made.totals.0), self.lie(made.totals.1));
                EntryKind::Dir { tree: made.id.into(), files, bytes }
            }
        })
    }

    fn commit(&mut self) {
        let Some(tree) = self.pick(BlockKind::Tree) else { return };
        let mut parents = Vec::new();
        for _ in 0..self.input.byte() % 3 {
            parents.extend(self.pick(BlockKind::Commit).map(|made| CommitId::from(made.id)));
        }
        let (files, bytes) = (self.lie(tree.totals.0), self.lie(tree.totals.1));
        let mut committer = signature();
        committer.seconds = self.lie(5).cast_signed();
        let commit = Commit {
            tree: tree.id.into(),
            files,
            bytes,
            parents,
            author: signature(),
            committer,
            message: "a commit".into(),
        };
        self.push(BlockKind::Commit, commit.encode(), (0, 0), 0);
    }

    fn tag(&mut self) {
        let Some(made) = self.pick(BlockKind::Commit) else { return };
        let (target, message) = (made.id.into(), "a tag".into());
        let tag = Tag { name: "v2".into(), target, tagger: signature(), message };
        self.push(BlockKind::Tag, tag.encode(), (0, 0), 0);
    }
}

/// First what is done with it; then objects, of which the last commit is that of `main`, and the one
/// before that of `topic`.
pub(crate) fn graph(scratch: &mut Scratch, bytes: &[u8]) {
    let mut input = Input(bytes);
    let what = input.byte();
    let mut maker = Maker { input: &mut input, made: Vec::new(), weight: 0 };
    while !maker.input.is_empty() && maker.made.len() < 64 {
        maker.object();
    }
    let mut made = maker.made;
    let commits: Vec<CommitId> = made
        .iter()
        .rev()
        .filter(|made| made.kind == BlockKind::Commit)
        .map(|made| made.id.into())
        .collect();
    made.sort_by_key(|made| made.id);
    made.dedup_by_key(|made| made.id);
    let world = scratch.world();
    let repository = world.work().join(".digstore");
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(&repository));
    publish(&disk, &made);
    for (branch, commit) in ["main", "topic"].iter().zip(commits) {
        let record = RefRecord { seq: 9, old: None, new: commit.into(), nonce: [1; 16] };
        std::fs::write(repository.join("refs/heads").join(branch), record.encode()).unwrap();
    }
    if let Some(tag) = made.iter().find(|made| made.kind == BlockKind::Tag) {
        let annotation = Some(tag.id.into());
        let commit = made.iter().find(|made| made.kind == BlockKind::Commit);
        let new = digstore::storage::format::refs::RefValue {
            commit: commit.map_or(tag.id, |commit| commit.id).into(),
            annotation,
        };
        let record = RefRecord { seq: 9, old: None, new, nonce: [1; 16] };
        std::fs::write(repository.join("refs/tags/v2"), record.encode()).unwrap();
    }
    commands(world, what);
}

fn publish(disk: &Arc<dyn Disk>, made: &[Made]) {
    let buffers = BufferPool::new(64 << 20);
    for kind in [PackKind::Data, PackKind::Meta] {
        let is_in = |made: &&Made| (made.kind == BlockKind::Data) == (kind == PackKind::Data);
        let mut writer = PackWriter::new(Arc::clone(disk), kind, [7; 16]).unwrap();
        for made in made.iter().filter(is_in) {
            let mut payload = buffers.acquire(made.bytes.len());
            payload.extend_from_slice(&made.bytes);
            let chunks = vec![(made.id, made.bytes.len() as u32)];
            writer
                .append(&EncodedBlock { kind: made.kind, codec: Codec::Raw, chunks, payload })
                .unwrap();
        }
        if made.iter().any(|made| is_in(&made)) {
            writer.seal().unwrap();
        }
    }
}

pub(crate) fn graph_seeds() -> Vec<Vec<u8>> {
    // A chunk; a list of two of it; a tree of a file, a large file, a link and a directory; a commit.
    let chunk = [0, 0, 5, 1, 2, 3, 4, 5];
    let list = [2, 2, 0, 0, 0, 0, 0];
    let dir = [3, 1, 0, 0, 1, 0, 0];
    let tree = [3, 5, 0, 0, 1, 0, 0, 5, 2, 0, 0, 4, 3, 0, 3, 4, 0, 0, 0, 9, 0, 0];
    let commit = [5, 1, 0, 0, 0, 0];
    let objects = [&chunk[..], &list, &dir, &tree, &commit].concat();
    let second =
        [&objects[..], &[3, 2, 0, 2, 1, 0, 0, 3, 3, 1], &[5, 2, 1, 0, 0, 0, 0], &[6, 1]].concat();
    let mut seeds = Vec::new();
    for what in [0u8, 0x80] {
        seeds.extend([&objects, &second].map(|objects| [&[what][..], objects].concat()));
    }
    seeds.extend((0..14u8).map(|which| [&[0xc0 | which][..], &second].concat()));
    seeds
}
