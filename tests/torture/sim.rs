//! A file system in memory that forgets.
//!
//! A write, a new length, a new or removed name is *pending* until its file or its directory is
//! synced. A [`State`] is all that a machine holds at one moment; [`State::crash`] is what a power
//! cut may leave of it: of what is pending in each file and in each directory an arbitrary part,
//! writes torn at any byte, each name on its own. [`State::kill`] is what the death of the process
//! leaves: everything, still pending.
//!
//! After each call that changes something a state can be recorded, and any call can be made to fail.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use digstore::storage::disk::{FileSystem, RawFile, RawLock, SharedLock};
use digstore::storage::mapped::Mapped;

use crate::below;
use crate::common::Dice;

/// "Not a directory", as Linux numbers it.
const ENOTDIR: i32 = 20;
/// What a disk writes as a whole.
const SECTOR: usize = 512;

#[derive(Debug, Clone)]
enum DataOp {
    Write { offset: usize, bytes: Arc<[u8]> },
    SetLen(usize),
}

#[derive(Debug, Clone, Default)]
struct Inode {
    durable: Arc<Vec<u8>>,
    pending: Vec<DataOp>,
    now: Arc<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File(usize),
    Dir,
}

#[derive(Debug, Clone, Default)]
struct Dir {
    durable: BTreeMap<String, Node>,
    /// A name, and what it means from then on.
    pending: Vec<(String, Option<Node>)>,
    now: BTreeMap<String, Node>,
}

/// All that the machine holds at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    inodes: Vec<Inode>,
    dirs: BTreeMap<PathBuf, Dir>,
}

/// How much of what is pending a power cut leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing.
    All,
    /// Everything but one operation.
    One,
    /// Each operation with even odds; writes are torn too.
    Any,
    /// Names are kept, bytes lost: what a file system without ordered data does.
    Bytes,
    /// Bytes are kept, names lost.
    Names,
}

impl State {
    /// A machine with one empty directory.
    pub(crate) fn new(root: &Path) -> Self {
        let mut state = Self::default();
        state.dirs.insert(root.to_owned(), Dir::default());
        state
    }

    /// How many operations are pending.
    pub(crate) fn pending(&self) -> usize {
        let bytes: usize = self.inodes.iter().map(|inode| inode.pending.len()).sum();
        bytes + self.dirs.values().map(|dir| dir.pending.len()).sum::<usize>()
    }

    /// What a power cut leaves.
    pub(crate) fn crash(&self, loss: Loss, dice: &mut Dice) -> Self {
        let lost_one = below(dice, self.pending());
        let mut at = 0;
        let mut keeps = |is_name: bool, dice: &mut Dice| {
            at += 1;
            match loss {
                Loss::All => false,
                Loss::One => at - 1 != lost_one,
                Loss::Any => below(dice, 2) == 0,
                Loss::Bytes => is_name,
                Loss::Names => !is_name,
            }
        };
        let mut crashed = self.clone();
        for inode in &mut crashed.inodes {
            let mut bytes = Arc::clone(&inode.durable);
            for op in std::mem::take(&mut inode.pending) {
                let is_torn = loss == Loss::Any && below(dice, 4) == 0;
                if keeps(false, dice) {
                    apply(Arc::make_mut(&mut bytes), &op, is_torn.then_some(dice));
                }
            }
            (inode.durable, inode.now) = (Arc::clone(&bytes), bytes);
        }
        for dir in crashed.dirs.values_mut() {
            for (name, node) in std::mem::take(&mut dir.pending) {
                if keeps(true, dice) {
                    set(&mut dir.durable, name, node);
                }
            }
            dir.now = dir.durable.clone();
        }
        crashed.drop_lost_dirs();
        crashed
    }

    /// All files that are there, with their lengths.
    pub(crate) fn files(&self) -> Vec<(PathBuf, usize)> {
        let mut files = Vec::new();
        for (dir, held) in &self.dirs {
            for (name, node) in &held.now {
                if let Node::File(inode) = node {
                    files.push((dir.join(name), self.inodes[*inode].now.len()));
                }
            }
        }
        files
    }

    /// The same with other bytes in a file: what a disk may make of it in time.
    pub(crate) fn with(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut changed = self.clone();
        let held = split(path).and_then(|(dir, name)| self.dirs.get(dir)?.now.get(&name));
        if let Some(Node::File(inode)) = held {
            let inode = &mut changed.inodes[*inode];
            change(Arc::make_mut(&mut inode.now));
            inode.pending.clear();
            inode.durable = Arc::clone(&inode.now);
        }
        changed
    }

    /// What lay in a directory whose own name was lost is lost with it.
    fn drop_lost_dirs(&mut self) {
        let there = |dirs: &BTreeMap<PathBuf, Dir>, path: &Path| {
            let Some((parent, name)) = split(path) else { return true };
            let Some(parent) = dirs.get(parent) else { return true };
            parent.now.get(&name) == Some(&Node::Dir)
        };
        loop {
            let lost = self.dirs.keys().find(|path| !there(&self.dirs, path)).cloned();
            let Some(lost) = lost else { break };
            self.dirs.retain(|path, _| !path.starts_with(&lost));
        }
        let missing: Vec<PathBuf> = self
            .dirs
            .iter()
            .flat_map(|(path, dir)| {
                let dirs = dir.now.iter().filter(|(_, node)| **node == Node::Dir);
                dirs.map(move |(name, _)| path.join(name))
            })
            .filter(|path| !self.dirs.contains_key(path))
            .collect();
        // A name that survived of a directory that was made anew: empty.
        missing.into_iter().for_each(|path| {
            self.dirs.insert(path, Dir::default());
        });
    }
}

fn split(path: &Path) -> Option<(&Path, String)> {
    Some((path.parent()?, path.file_name()?.to_string_lossy().into_owned()))
}

fn set(entries: &mut BTreeMap<String, Node>, name: String, node: Option<Node>) {
    match node {
        Some(node) => entries.insert(name, node),
        None => entries.remove(&name),
    };
}

/// Does an operation; torn, only a part of it: its beginning, or any of the sectors of the disk that
/// it touches. Where only later ones come to the disk, those before are zeros.
fn apply(bytes: &mut Vec<u8>, op: &DataOp, torn: Option<&mut Dice>) {
    match op {
        DataOp::Write { offset, bytes: new } => {
            let mut put = |range: std::ops::Range<usize>| {
                if bytes.len() < offset + range.end {
                    bytes.resize(offset + range.end, 0);
                }
                bytes[offset + range.start..offset + range.end].copy_from_slice(&new[range]);
            };
            match torn.map(|dice| (below(dice, 2) == 0, dice)) {
                None => put(0..new.len()),
                Some((true, dice)) => put(0..below(dice, new.len())),
                Some((false, dice)) => {
                    let mut at = 0;
                    while at < new.len() {
                        let end = new.len().min(at + SECTOR - (offset + at) % SECTOR);
                        if below(dice, 2) == 0 {
                            put(at..end);
                        }
                        at = end;
                    }
                }
            }
        }
        DataOp::SetLen(len) => bytes.resize(*len, 0),
    }
}

/// Which call fails, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// The number of the call, from 0.
    pub(crate) at: u64,
    /// The answer of the kernel.
    pub(crate) errno: i32,
    /// All calls behind it that change something fail too.
    pub(crate) for_ever: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: State,
    /// Calls that change something.
    calls: u64,
    fault: Option<Fault>,
    locks: HashSet<PathBuf>,
    /// How many share a lock, and whether one of them has it alone.
    shares: HashMap<PathBuf, (usize, bool)>,
    /// The states behind each call that changed something, with what was said by then.
    recorded: Option<Vec<(State, usize)>>,
    /// What the harness was told, by count.
    said: usize,
}

/// The file system of a [`State`].
#[derive(Debug, Clone, Default)]
pub(crate) struct SimFs(Arc<Mutex<Shared>>);

#[derive(Debug)]
struct SimFile {
    fs: SimFs,
    inode: usize,
}

impl SimFs {
    pub(crate) fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(Shared { state, ..Shared::default() })))
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything as it is now.
    pub(crate) fn state(&self) -> State {
        self.shared().state.clone()
    }

    /// From now on each change leaves a record.
    pub(crate) fn record(&self) {
        self.shared().recorded = Some(Vec::new());
    }

    /// The states since [`Self::record`], each with how many times [`Self::say`] was called before.
    pub(crate) fn recorded(&self) -> Vec<(State, usize)> {
        self.shared().recorded.take().unwrap_or_default()
    }

    /// Something was reported as done.
    pub(crate) fn say(&self) {
        self.shared().said += 1;
    }

    pub(crate) fn calls(&self) -> u64 {
        self.shared().calls
    }

    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.shared().fault = fault;
    }

    /// A call that changes something: it may fail, and is recorded.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut shared = self.shared();
        let call = shared.calls;
        shared.calls += 1;
        if let Some(fault) = shared.fault
            && (call == fault.at || fault.for_ever && call > fault.at)
        {
            return Err(io::Error::from_raw_os_error(fault.errno));
        }
        let answer = change(&mut shared.state)?;
        let (state, said) = (shared.state.clone(), shared.said);
        if let Some(recorded) = &mut shared.recorded {
            recorded.push((state, said));
        }
        Ok(answer)
    }

    fn file(&self, inode: usize) -> Box<dyn RawFile> {
        Box::new(SimFile { fs: self.clone(), inode })
    }

    fn find(&self, path: &Path) -> io::Result<Node> {
        self.shared().state.find(path)
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl State {
    fn find(&self, path: &Path) -> io::Result<Node> {
        if self.dirs.contains_key(path) {
            return Ok(Node::Dir);
        }
        let (parent, name) = split(path).ok_or_else(not_found)?;
        let dir = self.dirs.get(parent).ok_or_else(not_found)?;
        dir.now.get(&name).copied().ok_or_else(not_found)
    }

    fn entry(&mut self, path: &Path, node: Option<Node>) -> io::Result<()> {
        let (parent, name) = split(path).ok_or_else(not_found)?;
        let dir = self.dirs.get_mut(parent).ok_or_else(not_found)?;
        dir.pending.push((name.clone(), node));
        set(&mut dir.now, name, node);
        Ok(())
    }

    fn sync(&mut self, inode: usize) {
        let inode = &mut self.inodes[inode];
        for op in inode.pending.drain(..) {
            apply(Arc::make_mut(&mut inode.durable), &op, None);
        }
    }

    fn data(&mut self, inode: usize, op: DataOp) {
        let inode = &mut self.inodes[inode];
        apply(Arc::make_mut(&mut inode.now), &op, None);
        inode.pending.push(op);
    }
}

impl RawFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.fs.shared().state.inodes[self.inode].now.len() as u64)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let shared = self.fs.shared();
        let bytes = &shared.state.inodes[self.inode].now;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let piece = bytes.get(from..).and_then(|rest| rest.get(..buf.len()));
        buf.copy_from_slice(piece.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn map(&self, _offset: u64, _len: usize) -> Option<io::Result<Mapped>> {
        None
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let inode = self.inode;
        self.fs.change(|state| {
            let offset = state.inodes[inode].now.len();
            state.data(inode, DataOp::Write { offset, bytes: bytes.into() });
            Ok(())
        })
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let inode = self.inode;
        self.fs.change(|state| {
            state.data(inode, DataOp::SetLen(len as usize));
            Ok(())
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        let inode = self.inode;
        let answer = self.fs.change(|state| {
            state.sync(inode);
            Ok(())
        });
        if answer.is_err() {
            // The kernel takes the pages for clean: they never come to the disk.
            self.fs.shared().state.inodes[inode].pending.clear();
        }
        answer
    }
}

impl FileSystem for SimFs {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn RawFile>> {
        let inode = self.change(|state| {
            if state.find(path).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.inodes.push(Inode::default());
            let inode = state.inodes.len() - 1;
            state.entry(path, Some(Node::File(inode)))?;
            Ok(inode)
        })?;
        Ok(self.file(inode))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn RawFile>> {
        match self.find(path)? {
            Node::File(inode) => Ok(self.file(inode)),
            Node::Dir => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn RawFile>> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        self.change(|state| {
            let node = state.find(from)?;
            if !replace && state.find(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.entry(to, Some(node))?;
            state.entry(from, None)
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            state.find(path)?;
            state.entry(path, None)
        })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            if state.find(path).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.entry(path, Some(Node::Dir))?;
            state.dirs.insert(path.to_owned(), Dir::default());
            Ok(())
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            let dir = state.dirs.get(path).ok_or_else(not_found)?;
            if !dir.now.is_empty() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            state.dirs.remove(path);
            state.entry(path, None)
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let shared = self.shared();
        match (shared.state.dirs.get(path), shared.state.find(path)) {
            (Some(dir), _) => Ok(dir.now.keys().cloned().collect()),
            (None, Ok(Node::File(_))) => Err(io::Error::from_raw_os_error(ENOTDIR)),
            (None, _) => Err(not_found()),
        }
    }

    fn kind(&self, path: &Path) -> io::Result<(bool, u64)> {
        let shared = self.shared();
        Ok(match shared.state.find(path)? {
            Node::Dir => (true, 0),
            Node::File(inode) => (false, shared.state.inodes[inode].now.len() as u64),
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            let dir = state.dirs.get_mut(path).ok_or_else(not_found)?;
            dir.pending.clear();
            dir.durable = dir.now.clone();
            Ok(())
        })
    }

    fn sync_all(&self, _path: &Path) -> io::Result<()> {
        self.change(|state| {
            (0..state.inodes.len()).for_each(|inode| state.sync(inode));
            for dir in state.dirs.values_mut() {
                dir.pending.clear();
                dir.durable = dir.now.clone();
            }
            Ok(())
        })
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn RawLock>>> {
        if self.find(path).is_err() {
            self.create_new(path)?;
        }
        let Node::File(inode) = self.find(path)? else { return Err(not_found()) };
        let is_free = self.shared().locks.insert(path.to_owned());
        let lock = || SimLock { fs: self.clone(), path: path.to_owned(), inode };
        Ok(is_free.then(|| Box::new(lock()) as Box<dyn RawLock>))
    }

    fn try_share(&self, path: &Path) -> io::Result<Option<Box<dyn SharedLock>>> {
        self.find(path)?;
        let mut shared = self.shared();
        let (count, is_exclusive) = shared.shares.entry(path.to_owned()).or_default();
        if *is_exclusive {
            return Ok(None);
        }
        *count += 1;
        Ok(Some(Box::new(SimShare { fs: self.clone(), path: path.to_owned() })))
    }
}

#[derive(Debug)]
struct SimShare {
    fs: SimFs,
    path: PathBuf,
}

impl SharedLock for SimShare {
    fn make_exclusive(&self) -> bool {
        let mut shared = self.fs.shared();
        let Some((count, is_exclusive)) = shared.shares.get_mut(&self.path) else { return false };
        *is_exclusive = *count == 1;
        *is_exclusive
    }

    fn make_shared(&self) {
        if let Some((_, is_exclusive)) = self.fs.shared().shares.get_mut(&self.path) {
            *is_exclusive = false;
        }
    }
}

impl Drop for SimShare {
    fn drop(&mut self) {
        if let Some((count, is_exclusive)) = self.fs.shared().shares.get_mut(&self.path) {
            (*count, *is_exclusive) = (*count - 1, false);
        }
    }
}

#[derive(Debug)]
struct SimLock {
    fs: SimFs,
    path: PathBuf,
    inode: usize,
}

impl RawLock for SimLock {
    fn is_marked(&self) -> io::Result<bool> {
        Ok(self.fs.shared().state.inodes[self.inode].now.first() == Some(&b'+'))
    }

    fn mark(&self, marked: bool) -> io::Result<()> {
        self.fs.change(|state| {
            let bytes: Arc<[u8]> = if marked { [b'+'].into() } else { [b'-'].into() };
            state.data(self.inode, DataOp::Write { offset: 0, bytes });
            Ok(())
        })
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.fs.shared().locks.remove(&self.path);
    }
}
