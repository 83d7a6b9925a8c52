//! A whole repository of which files were changed, and what commands make of it.

use std::ffi::OsStr;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use digstore::config::{ByteSize, Config};
use digstore::date::parse_date;
use digstore::id::{CommitId, IdPrefix};
use digstore::path::{RepoPath, check_path};
use digstore::progress::NullMonitor;
use digstore::repo::add::AddOptions;
use digstore::repo::commit::CommitOptions;
use digstore::repo::diff::{DiffSpec, Endpoint};
use digstore::repo::exchange::TarImportOptions;
use digstore::repo::gc::GcOptions;
use digstore::repo::merge::{FastForward, MergeOptions};
use digstore::repo::operation::UndoOptions;
use digstore::repo::path_filter::PathFilter;
use digstore::repo::pathspec::Pathspec;
use digstore::repo::read::ByteRange;
use digstore::repo::reset::ResetMode;
use digstore::repo::restore::RestoreOptions;
use digstore::repo::stash::{ApplyOptions, StashOptions};
use digstore::repo::switch::{SwitchOptions, SwitchTo};
use digstore::repo::{Place, Repository, Result};
use digstore::storage::format::object::Content;

use super::scratch::World;
use super::small::signature;
use super::{Scratch, logs, mend_at, mended, packs};

/// Most bytes of a file that are read: a chunk list may claim any number.
const MOST: u64 = 1 << 20;

pub(crate) fn open(work: &Path) -> Result<Repository> {
    let mut config = Config::default();
    config.performance.max_worker_threads = 1;
    config.performance.max_memory_usage = ByteSize::mib(64);
    Repository::open(Place::at(work), config, Arc::new(NullMonitor::default()))
}

// ---- the repository to begin with --------------------------------------------------------------

fn noise(len: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252u64;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| step()).collect()
}

fn commit(repository: &Repository) -> Result<CommitId> {
    let options = CommitOptions {
        message: "a commit".into(),
        author: signature(),
        committer: signature(),
        allow_empty: true,
        amend: None,
        all: false,
    };
    Ok(repository.commit(options)?.id)
}

/// Two branches, a tag, a stash, files of each kind, something staged and something not.
pub(crate) fn build(work: &Path) {
    let write = |name: &str, bytes: &[u8]| std::fs::write(work.join(name), bytes).unwrap();
    std::fs::create_dir_all(work.join("d/empty")).unwrap();
    write("a", b"one\ntwo\nthree\n");
    write("d/large", &noise(100_000));
    write("d/b", &noise(40));
    write("zero", b"");
    write(".digignore", b"*.o\n");
    symlink("../../outside", work.join("d/out")).unwrap();
    Repository::init(&Place::at(work)).unwrap();
    let repository = open(work).unwrap();
    let add = || repository.add(&AddOptions::default()).unwrap();
    add();
    let first = commit(&repository).unwrap();
    repository.create_branch("topic", first, false).unwrap();
    write("a", b"one\nour two\nthree\n");
    write("d/c", b"new");
    add();
    let second = commit(&repository).unwrap();
    repository.create_tag("v1", second, Some((signature(), "a tag".into())), false).unwrap();
    write("a", b"put aside\n");
    stash(&repository).unwrap();
    switch(&repository, "topic").unwrap();
    write("a", b"one\ntheir two\nthree\n");
    add();
    commit(&repository).unwrap();
    switch(&repository, "main").unwrap();
    write("staged", b"staged");
    add();
    write("d/b", b"changed");
}

fn stash(repository: &Repository) -> Result<()> {
    let options = StashOptions {
        message: None,
        paths: Pathspec::all(),
        untracked: true,
        keep_index: false,
        committer: signature(),
    };
    repository.stash(&options).map(drop)
}

fn switch(repository: &Repository, branch: &str) -> Result<()> {
    let to = SwitchTo::Branch(branch.into());
    repository.switch(&SwitchOptions { to, discard: true, dry_run: false }).map(drop)
}

// ---- what commands do --------------------------------------------------------------------------

/// Reads all that can be read. What `verify` finds sound can be.
pub(crate) fn look(repository: &Repository) {
    let report = repository.verify(true);
    let is_sound = report.is_ok_and(|report| report.is_sound());
    let read = read_stored(repository);
    if let (true, Err(error)) = (is_sound, &read) {
        panic!("found sound, and not read: {}", digstore::storage::pack_store::describe(error));
    }
    drop(repository.repair(false));
    drop(repository.status());
    drop(repository.stashes());
    drop(repository.merge_state());
    drop(repository.sparse_file());
    drop(repository.size());
    drop(repository.read_run_history());
    if let Ok(log) = repository.operations() {
        for record in log.backwards().take(50).flatten() {
            drop(log.before(&record));
        }
        drop(repository.look_back(1));
    }
}

fn read_stored(repository: &Repository) -> Result<()> {
    let mut tips = Vec::new();
    for (_, record) in repository.refs().list("")? {
        tips.push(record.new.commit);
    }
    repository.branches()?;
    repository.tags()?;
    for commit in repository.history(tips.clone())?.take(30) {
        commit?;
    }
    for tip in tips.iter().take(8) {
        read_tree(repository, Some(*tip))?;
        let tree = |commit: &CommitId| -> Result<Endpoint> {
            Ok(Endpoint::Tree(Some(repository.objects()?.commit(commit)?.tree)))
        };
        let spec = DiffSpec {
            old: tree(&tips[0])?,
            new: tree(tip)?,
            paths: &PathFilter::default(),
            renames: None,
        };
        repository.differ()?.for_each_change(&spec, |_| Ok(()))?;
    }
    read_tree(repository, None)
}

fn read_tree(repository: &Repository, source: Option<CommitId>) -> Result<()> {
    let mut files = Vec::new();
    let options = RestoreOptions { source, ..RestoreOptions::default() };
    repository.for_each_entry(&options, |entry| {
        assert!(check_path(entry.path.as_bytes()).is_ok());
        files.push(entry);
        Ok(())
    })?;
    let reader = repository.content_reader()?;
    for entry in files.iter().take(100) {
        if let digstore::storage::binary_staging::StagedKind::File { content, .. } = entry.kind {
            let (mut read, size) = (0, entry.size);
            let range = ByteRange { start: 0, end: size.min(MOST) };
            if content != Content::Empty {
                reader.in_order(&content, size, range, |part| {
                    read += part.len();
                    Ok(())
                })?;
                assert_eq!(read, range.end, "short, and no error");
            }
        }
    }
    Ok(())
}

/// Does one of the things that change a repository. They may fail.
pub(crate) fn change(repository: &Repository, which: u8) -> Result<()> {
    let undo = UndoOptions { force: true, dry_run: false };
    match which % 14 {
        0 => repository.add(&AddOptions::default()).map(drop),
        1 => commit(repository).map(drop),
        2 => switch(repository, "topic"),
        3 => repository.undo(undo).map(drop),
        4 => repository.redo(undo).map(drop),
        5 => merge(repository),
        6 => stash(repository),
        7 => repository.apply_stash(0, ApplyOptions { index: true, pop: true }).map(drop),
        8 => repository.reset(None, ResetMode::Hard, false).map(drop),
        9 => repository.repair(true).map(drop),
        12 => repository.gc(GcOptions { now: true, ..GcOptions::default() }).map(drop),
        13 => repository.gc(GcOptions::default()).map(drop),
        10 => repository.restore(&RestoreOptions::default()).map(drop),
        _ => repository.restore_operation(2, undo).map(drop),
    }
}

fn merge(repository: &Repository) -> Result<()> {
    let options = MergeOptions {
        other: repository.branch_commit("topic")?,
        name: "topic".into(),
        fast_forward: FastForward::Auto,
        squash: false,
        no_commit: false,
        message: None,
        allow_unrelated: true,
        committer: signature(),
    };
    repository.merge(&options).map(drop)
}

/// Writes what a branch holds into a directory that is not there.
pub(crate) fn restore_elsewhere(repository: &Repository, target: PathBuf) -> Result<()> {
    let source = Some(repository.branch_commit("main")?);
    let options = RestoreOptions { source, target: Some(target), ..RestoreOptions::default() };
    repository.restore(&options).map(drop)
}

/// All of it: reads, and where the byte says so, changes.
pub(crate) fn commands(world: &World, what: u8) {
    let Ok(repository) = open(&world.work()) else { return };
    look(&repository);
    if what & 0x80 != 0 {
        drop(restore_elsewhere(&repository, world.target()));
    }
    if what & 0x40 != 0 {
        drop(change(&repository, what & 0x3f));
        // A command opens anew.
        if let Ok(repository) = open(&world.work()) {
            look(&repository);
        }
    }
    world.check_outside();
}

// ---- the mutator -------------------------------------------------------------------------------

/// The bytes of an input, from the front; zeros behind its end.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    pub(crate) fn number(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Files that a repository may have, and this one has not.
const OTHERS: [&str; 7] = [
    "condemned",
    "moving",
    "sparse",
    "verify-turn",
    "config.toml",
    "import/git-00000001",
    "refs/heads/new",
];

/// First what is done with it; then changes: a file, how it is changed, and with what.
pub(crate) fn store(scratch: &mut Scratch, bytes: &[u8]) {
    let mut input = Input(bytes);
    let what = input.byte();
    let world = scratch.world();
    let files = world.files();
    let mut changed: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        let number = usize::from(input.byte()) % (files.len() + OTHERS.len());
        let (path, old) = match files.get(number) {
            Some((path, bytes)) => (path.clone(), bytes.to_vec()),
            None => (PathBuf::from(OTHERS[number - files.len()]), Vec::new()),
        };
        let known = changed.iter().position(|(other, _)| *other == path);
        let old = known.map_or(old, |at| changed.remove(at).1);
        let how = input.byte();
        let others: Vec<&[u8]> = files.iter().map(|(_, bytes)| *bytes).collect();
        let new = mutate(old, how, &mut input, &others);
        changed.push((path, new));
    }
    let repository = world.work().join(".digstore");
    for (path, bytes) in changed {
        publish(&repository, &path, bytes);
    }
    commands(world, what);
}

/// Bit 7 of `how`: sums and ids are made to fit, which [`publish`] does where the first byte says so.
fn mutate(mut bytes: Vec<u8>, how: u8, input: &mut Input<'_>, others: &[&[u8]]) -> Vec<u8> {
    let at = input.number() * bytes.len().max(1) / (1 << 16);
    match how % 8 {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << (how >> 3 & 7),
        1 => {
            let len = usize::from(input.byte()) % 17;
            let with = input.take(len);
            let end = bytes.len().min(at + with.len());
            bytes.splice(at..end, with.iter().copied());
        }
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..(at + input.number()).min(bytes.len()).max(at))),
        4 => {
            let copy = bytes[at..(at + input.number()).min(bytes.len()).max(at)].to_vec();
            bytes.splice(at..at, copy);
        }
        5 => {
            let len = input.number();
            bytes = input.take(len).to_vec();
        }
        6 => bytes = others[usize::from(input.byte()) % others.len()].to_vec(),
        _ => {
            // A number that is one off, or as large as can be.
            let len = bytes.len();
            let field = &mut bytes[at..(at + 8).min(len).max(at)];
            if how & 8 == 0 {
                field.fill(0xff);
            } else if let Some(first) = field.first_mut() {
                *first = first.wrapping_add(1);
            }
        }
    }
    if how & 0x80 != 0 { bytes } else { [&[0xfe][..], &bytes].concat() }
}

/// Writes a changed file, with all its sums made to fit unless it begins with 0xfe, which goes.
fn publish(repository: &Path, path: &Path, bytes: Vec<u8>) {
    let place = repository.join(path);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    if let Some(raw) = bytes.strip_prefix(&[0xfe]) {
        return std::fs::write(place, raw).unwrap();
    }
    let name = path.to_string_lossy();
    let mut bytes = bytes;
    if name.ends_with(".pack") {
        // A pack is called as its footer says.
        let Some(id) = packs::mend_pack(&mut bytes) else { return };
        std::fs::remove_file(place).unwrap();
        let place = repository.join(digstore::storage::pack_store::pack_path(&id));
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        return std::fs::write(place, bytes).unwrap();
    }
    let bytes = match &*name {
        "operations" => logs::mended_oplog(&bytes),
        "staging/log" => logs::mended_staging_log(&bytes),
        "staging/base" => {
            mend_at(&mut bytes, 0, 80);
            mended(&bytes)
        }
        name if name.starts_with("index/") => {
            mend_at(&mut bytes, 0, 40);
            mended(&bytes)
        }
        "config.toml" | "exclude" => bytes,
        _ => mended(&bytes),
    };
    std::fs::write(place, bytes).unwrap();
}

pub(crate) fn store_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    // Each file, changed in each way, with sums that fit and without.
    for file in 0..40u8 {
        for how in [file % 8, (file % 8) | 0x80, (file / 8 % 8) | 0x80] {
            let what = [0, 0x80, 0x40 | (file % 14)][usize::from(file) % 3];
            seeds.push(vec![what, file, how, 0x40, file.wrapping_mul(7), 2, 1, 2, 3]);
        }
    }
    seeds.extend((0..14).map(|which| vec![0x40 | which]));
    seeds
}

// ---- archives and revisions --------------------------------------------------------------------

/// An archive; what it is imported below depends on its length.
pub(crate) fn tar(scratch: &mut Scratch, bytes: &[u8]) {
    let world = scratch.world();
    let repository = open(&world.work()).unwrap();
    let prefix = if bytes.len().is_multiple_of(2) {
        RepoPath::root()
    } else {
        RepoPath::new("p/q").unwrap()
    };
    let options = TarImportOptions {
        source: Box::new(Cursor::new(bytes.to_vec())),
        name: "archive".into(),
        prefix,
        message: "import".into(),
        author: signature(),
    };
    if repository.import_tar(options).is_ok() {
        let repository = open(&world.work()).unwrap();
        let report = repository.verify(true).unwrap();
        assert!(report.is_sound(), "{:?}", report.problems);
        read_stored(&repository).unwrap();
    }
    world.check_outside();
}

/// One entry of an archive.
fn tar_entry(name: &[u8], kind: u8, link: &[u8], data: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    block[100..108].copy_from_slice(b"0000755\0");
    block[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
    block[136..148].copy_from_slice(b"00000000007\0");
    block[148..156].fill(b' ');
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend_from_slice(data);
    block.resize(block.len().div_ceil(512) * 512, 0);
    block
}

pub(crate) fn tar_seeds() -> Vec<Vec<u8>> {
    let end = vec![0; 1024];
    let plain = [
        tar_entry(b"./", b'5', b"", b""),
        tar_entry(b"dir/", b'5', b"", b""),
        tar_entry(b"dir/file", b'0', b"", b"content"),
        tar_entry(b"link", b'2', b"dir/file", b""),
        tar_entry(b"hard", b'1', b"dir/file", b""),
        tar_entry(b"dev", b'3', b"", b""),
        end.clone(),
    ]
    .concat();
    let evil = [
        tar_entry(b"l", b'2', b"../outside", b""),
        tar_entry(b"l/kept", b'0', b"", b"evil"),
        tar_entry(b"../outside/kept", b'0', b"", b"evil"),
        end.clone(),
    ]
    .concat();
    let long = [
        tar_entry(b"././@LongLink", b'L', b"", &[&[b'n'; 150][..], b"/x\0"].concat()),
        tar_entry(b"short", b'0', b"", b"1"),
        tar_entry(b"pax", b'x', b"", b"20 path=other/name\n\n"),
        tar_entry(b"other", b'0', b"", b"2"),
        end,
    ]
    .concat();
    let gzip = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::bulk::compress(&plain, 3).unwrap();
    vec![plain, evil, long, gzip, zstd]
}

/// A revision, a path with one, a date, and the beginning of an id.
pub(crate) fn revision(scratch: &mut Scratch, bytes: &[u8]) {
    let world = scratch.world();
    let repository = open(&world.work()).unwrap();
    let split = repository.split_revision_path(OsStr::from_bytes(bytes), |_| false);
    let parts = split.path.len() + split.revision.as_ref().map_or(0, String::len);
    assert!(parts <= bytes.len() && parts + 1 >= bytes.len(), "a part was lost");
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(commit) = repository.resolve(text) {
        // A ref is named by what it leads to.
        let id = format!("{commit}");
        assert_eq!(repository.resolve(&id).unwrap(), commit);
        repository.objects().unwrap().commit(&commit).unwrap();
    }
    if let Some(prefix) = IdPrefix::parse(text) {
        assert!(prefix.matches(prefix.low()) && text.len() >= IdPrefix::MIN_DIGITS);
    }
    drop(parse_date(text));
    if let Ok(size) = text.parse::<ByteSize>() {
        assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size), "shown as another size");
    }
}

pub(crate) fn revision_seeds() -> Vec<Vec<u8>> {
    [
        "HEAD~1^2",
        "main",
        "topic~0^0",
        "v1",
        "tags/v1^1",
        "heads/main",
        "@",
        "@{1}",
        "main@{1}",
        "@{-1}",
        "HEAD@{2020-01-01}",
        "main@{yesterday}",
        "stash@{0}",
        "stash@{0}^2",
        "HEAD:d/large",
        "d/large@HEAD~1",
        "a@{1}",
        "0123",
        "deadbeef",
        "2024-02-30T25:61",
        "1700000000 +0100",
        "3 days ago",
        "1.5 GiB",
        "12",
        "64MB",
        "MERGE_HEAD",
        "Fri, 1 Mar 2024 10:00:00 +0200",
        "main@{99999999999999999999}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
