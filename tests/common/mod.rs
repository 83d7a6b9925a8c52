//! What the tests through the binary share: a sandbox with a work tree, snapshots of directory
//! trees, and bytes that are the same in every run.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests make files by any means, and a failed one fails the test"
)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Once};

use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT};
use tempfile::TempDir;

pub(crate) mod tar;

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    /// The exit status; -1 after a signal.
    pub(crate) code: i32,
    /// Data.
    pub(crate) stdout: Vec<u8>,
    /// Messages.
    pub(crate) stderr: String,
}

impl Output {
    /// Waits for a command.
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The data as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// The data as one JSON document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails the test unless the command ended with `code`.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

/// A work tree, a home directory without settings, and the binary.
pub(crate) struct Sandbox {
    dir: TempDir,
    /// The work tree.
    pub(crate) work: PathBuf,
}

impl Sandbox {
    /// An empty directory without a repository.
    pub(crate) fn bare() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    /// The same, in a directory of its own.
    pub(crate) fn within(dir: TempDir) -> Self {
        let root = fs::canonicalize(dir.path()).unwrap();
        let work = root.join("work");
        fs::create_dir_all(root.join("home")).unwrap();
        fs::create_dir_all(&work).unwrap();
        Self { dir, work }
    }

    /// A work tree with an empty repository.
    pub(crate) fn new() -> Self {
        let sandbox = Self::bare();
        sandbox.ok(["init"]);
        sandbox
    }

    /// A path in the work tree.
    pub(crate) fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.work.join(Path::new(name.as_ref()))
    }

    /// A path beside the work tree.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap().join(name)
    }

    /// Gives a program the sandbox's surroundings.
    pub(crate) fn surround(&self, command: &mut Command) {
        static HEED: Once = Once::new();
        HEED.call_once(heed_ignored);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.beside("home"))
            .env("XDG_CONFIG_HOME", self.beside("home/config"))
            .env("TZ", "UTC")
            .env("DIGSTORE_AUTHOR_NAME", "Ada Test")
            .env("DIGSTORE_AUTHOR_EMAIL", "ada@example.org")
            .stdin(Stdio::null())
            .current_dir(&self.work);
    }

    /// A command that is not started yet.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_digstore"));
        self.surround(&mut command);
        command.args(args);
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        Output::of(&mut self.command(args))
    }

    /// Runs a command in a directory of the work tree.
    pub(crate) fn run_in<A: AsRef<OsStr>>(
        &self,
        dir: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Output {
        Output::of(self.command(args).current_dir(self.path(dir)))
    }

    /// Runs a command with bytes as its standard input.
    pub(crate) fn feed<A: AsRef<OsStr>>(
        &self,
        input: &[u8],
        args: impl IntoIterator<Item = A>,
    ) -> Output {
        let file = self.beside("stdin");
        fs::write(&file, input).unwrap();
        Output::of(self.command(args).stdin(fs::File::open(file).unwrap()))
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub(crate) fn ok<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        self.run(args).expect_code(0)
    }

    /// Runs a command that must end with `code`, and returns what it said on stderr.
    #[track_caller]
    pub(crate) fn fails<A: AsRef<OsStr>>(
        &self,
        code: i32,
        args: impl IntoIterator<Item = A>,
    ) -> String {
        self.run(args).expect_code(code).stderr
    }

    /// Stages everything and commits it; returns the commit's id.
    #[track_caller]
    pub(crate) fn save(&self, message: &str) -> String {
        self.ok(["add", "-A"]);
        self.commit(message)
    }

    /// Commits what is staged; returns the commit's id.
    #[track_caller]
    pub(crate) fn commit(&self, message: &str) -> String {
        let output = self.ok(["commit", "-m", message]);
        let id = output.text().strip_prefix("committed ").map(str::trim_end);
        id.unwrap_or_else(|| panic!("no id: {output:?}")).to_owned()
    }

    /// Writes a file of the work tree, and the directories above it.
    pub(crate) fn write(&self, name: impl AsRef<OsStr>, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Appends to a file of the work tree.
    pub(crate) fn append(&self, name: impl AsRef<OsStr>, bytes: impl AsRef<[u8]>) {
        let mut file = fs::OpenOptions::new().append(true).open(self.path(name)).unwrap();
        file.write_all(bytes.as_ref()).unwrap();
    }

    /// Reads a file of the work tree.
    pub(crate) fn read(&self, name: impl AsRef<OsStr>) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Removes a file, a link or a directory with all it holds, if it is there.
    pub(crate) fn remove(&self, name: impl AsRef<OsStr>) {
        let path = self.path(name);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).unwrap(),
            Ok(_) => fs::remove_file(path).unwrap(),
            Err(_) => {}
        }
    }

    /// Makes a directory and those above it.
    pub(crate) fn mkdir(&self, name: impl AsRef<OsStr>) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    /// Makes a symbolic link.
    pub(crate) fn link(&self, name: impl AsRef<OsStr>, target: impl AsRef<OsStr>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(Path::new(target.as_ref()), path).unwrap();
    }

    /// Sets the permissions of a file.
    pub(crate) fn chmod(&self, name: impl AsRef<OsStr>, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The work tree, without the repository.
    pub(crate) fn snapshot(&self) -> Tree {
        snapshot(&self.work)
    }

    /// What a commit holds, restored into a fresh directory.
    #[track_caller]
    pub(crate) fn restored(&self, revision: &str) -> Tree {
        let target = tempfile::tempdir_in(self.dir.path()).unwrap();
        let out = target.path().join("copy");
        self.ok([
            OsStr::new("restore"),
            "-s".as_ref(),
            revision.as_ref(),
            "--target".as_ref(),
            out.as_os_str(),
        ]);
        snapshot(&out)
    }

    /// `status --porcelain`, line by line.
    #[track_caller]
    pub(crate) fn status(&self) -> Vec<String> {
        self.ok(["status", "--porcelain"]).text().lines().map(str::to_owned).collect()
    }

    /// The packs of one kind: 1 data, 2 metadata.
    pub(crate) fn packs(&self, kind: u8) -> Vec<PathBuf> {
        let mut packs = files_below(&self.path(".digstore/packs"));
        packs.retain(|path| fs::read(path).unwrap()[10] == kind);
        packs
    }

    /// The packs that the list of condemned ones names.
    pub(crate) fn condemned(&self) -> Vec<PathBuf> {
        let list = fs::read(self.path(".digstore/condemned")).unwrap();
        let list = list.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let mut packs = files_below(&self.path(".digstore/packs"));
        packs.retain(|pack| list.contains(&*pack.file_stem().unwrap().to_string_lossy()));
        packs
    }
}

/// Where work trees of tests may lie: in memory, if the machine has such a place.
pub(crate) fn scratch() -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    if shared.is_dir() { shared } else { std::env::temp_dir() }
}

/// `main` and `two`, which differ in so many files; `main` is checked out. And what the two hold.
pub(crate) fn far_apart(files: u64) -> (Sandbox, [Tree; 2]) {
    let sandbox = Sandbox::new();
    for number in 0..files {
        sandbox.write(format!("d{}/f{number}", number % 17), text(number, 300));
    }
    sandbox.save("one");
    let one = sandbox.snapshot();
    sandbox.ok(["switch", "-c", "two"]);
    for number in 0..files {
        match number % 3 {
            0 => sandbox.write(format!("d{}/f{number}", number % 17), text(number + 9999, 400)),
            1 => sandbox.remove(format!("d{}/f{number}", number % 17)),
            _ => sandbox.write(format!("e{}/g{number}", number % 13), text(number, 100)),
        }
    }
    sandbox.save("two");
    let two = sandbox.snapshot();
    sandbox.ok(["switch", "main"]);
    (sandbox, [one, two])
}

/// One entry of a tree.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// A file: its bytes, and whether it is executable.
    File(Vec<u8>, bool),
    /// A link: its target.
    Link(OsString),
    /// A directory that holds nothing.
    EmptyDir,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(bytes, executable) => {
                write!(f, "file of {} bytes, executable: {executable}", bytes.len())
            }
            Self::Link(target) => write!(f, "link to {}", target.display()),
            Self::EmptyDir => f.write_str("empty directory"),
        }
    }
}

/// All entries below a directory, by their path.
pub(crate) type Tree = BTreeMap<OsString, Node>;

/// Reads everything below a directory but a repository at its top.
pub(crate) fn snapshot(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        let mut is_empty = true;
        for entry in fs::read_dir(root.join(&dir)).unwrap() {
            let name = entry.unwrap().file_name();
            if dir.as_os_str().is_empty() && name == ".digstore" {
                continue;
            }
            is_empty = false;
            let path = dir.join(name);
            let full = root.join(&path);
            let metadata = fs::symlink_metadata(&full).unwrap();
            if metadata.is_dir() {
                todo.push(path);
            } else if metadata.is_symlink() {
                let target = fs::read_link(full).unwrap().into_os_string();
                tree.insert(path.into(), Node::Link(target));
            } else if metadata.is_file() {
                let executable = metadata.permissions().mode() & 0o100 != 0;
                tree.insert(path.into(), Node::File(fs::read(full).unwrap(), executable));
            }
        }
        if is_empty && !dir.as_os_str().is_empty() {
            tree.insert(dir.into(), Node::EmptyDir);
        }
    }
    tree
}

/// Without the temporary files of a killed command, which a later one sweeps.
pub(crate) fn without_leftovers(mut tree: Tree) -> Tree {
    tree.retain(|path, _| !path.to_string_lossy().contains(".digstore-tmp-"));
    tree
}

/// Fails the test with the first path in which two trees differ.
#[track_caller]
pub(crate) fn assert_same(expected: &Tree, found: &Tree) {
    for (path, node) in expected {
        assert_eq!(Some(node), found.get(path), "{}", path.display());
    }
    let extra: Vec<_> = found.keys().filter(|path| !expected.contains_key(*path)).collect();
    assert!(extra.is_empty(), "not expected: {extra:?}");
}

/// All files below a directory, sorted.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = snapshot(dir)
        .into_iter()
        .filter(|(_, node)| matches!(node, Node::File(..)))
        .map(|(path, _)| dir.join(path))
        .collect();
    files.sort();
    files
}

/// Flips one bit of a file in its place.
pub(crate) fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 1;
    overwrite(path, &bytes);
}

/// Signals that this process ignores, as one in the background of a script does, are not ignored by what
/// it starts: a handler does not outlive the start of a program.
fn heed_ignored() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    for signal in
        [SIGHUP, SIGINT, SIGQUIT].into_iter().filter(|signal| mask >> (signal - 1) & 1 == 1)
    {
        signal_hook::flag::register(signal, Arc::default()).unwrap();
    }
}

/// Replaces the bytes of a file, whatever its permissions.
pub(crate) fn overwrite(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

/// Calls `change` again and again in another thread while `work` runs, however that ends; returns
/// how often.
#[track_caller]
pub(crate) fn while_changing(change: impl Fn(u64) + Sync, work: impl FnOnce()) -> u64 {
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (ended, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _end = End(&ended);
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                change(count.fetch_add(1, Ordering::Relaxed));
            }
        });
        work();
    });
    count.into_inner()
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    /// Equal seeds give equal numbers.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (`SplitMix64`).
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Bytes that cannot be compressed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&dice.roll().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Lines of words.
pub(crate) fn text(seed: u64, len: usize) -> Vec<u8> {
    const WORDS: [&str; 8] =
        ["version ", "of ", "every ", "byte ", "kept ", "once\n", "and ", "found "];
    let mut dice = Dice::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(WORDS[(dice.roll() % 8) as usize].as_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A name of any bytes.
pub(crate) fn name(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_os_string()
}

/// The bytes of a name.
pub(crate) fn bytes_of(name: OsString) -> Vec<u8> {
    name.into_vec()
}

/// Every test file uses a part of this module; these use all of it.
mod itself {
    use super::*;

    #[test]
    fn a_snapshot_sees_bytes_modes_targets_and_empty_directories() {
        let sandbox = Sandbox::bare();
        sandbox.write("d/x", "one");
        sandbox.append("d/x", " two");
        sandbox.chmod("d/x", 0o755);
        sandbox.link("l", "d/x");
        sandbox.mkdir("e");
        sandbox.write("gone", "");
        sandbox.remove("gone");
        sandbox.write(name(b"\xff"), noise(1, 9));
        let expected = Tree::from([
            ("d/x".into(), Node::File(b"one two".to_vec(), true)),
            ("l".into(), Node::Link("d/x".into())),
            ("e".into(), Node::EmptyDir),
            (name(b"\xff"), Node::File(noise(1, 9), false)),
        ]);
        assert_same(&expected, &sandbox.snapshot());
        assert_eq!(
            without_leftovers(Tree::from([(".digstore-tmp-1".into(), Node::EmptyDir)])).len(),
            0
        );
        flip(&sandbox.path("d/x"), 0);
        assert_eq!(sandbox.read("d/x"), b"nne two");
        assert_eq!(bytes_of(name(b"a\xff")), b"a\xff");
        assert_eq!(text(1, 99).len(), 99);
    }

    #[test]
    fn branches_that_are_far_apart_hold_what_is_said() {
        let (sandbox, [one, two]) = far_apart(6);
        assert_same(&one, &sandbox.snapshot());
        assert_same(&two, &sandbox.restored("two"));
        assert_ne!(one, two);
    }

    #[test]
    fn what_changes_stops_when_the_work_ends() {
        let (sender, receiver) = std::sync::mpsc::sync_channel(0);
        let change = |number| {
            let _ = sender.try_send(number);
        };
        let count = while_changing(change, || assert!(receiver.recv().is_ok()));
        assert!(count > 0);
    }

    #[test]
    fn archives_hold_what_is_put_into_them() {
        for format in [tar::V7, tar::USTAR, tar::GNU] {
            let sandbox = Sandbox::new();
            let list: [tar::Entry<'_>; 2] = [(b'0', b"a", b"", b"one"), (b'2', b"l", b"a", b"")];
            let mut archive = tar::ended(tar::entries(format, &list));
            tar::set_size(&mut archive, b"00000000002\0");
            sandbox.feed(&archive, ["import", "tar", "-"]).expect_code(0);
            let expected = [
                ("a".into(), Node::File(b"on".to_vec(), true)),
                ("l".into(), Node::Link("a".into())),
            ];
            assert_same(&Tree::from(expected), &sandbox.snapshot());
        }
    }

    #[test]
    fn a_sandbox_saves_and_restores() {
        let sandbox = Sandbox::new();
        sandbox.write("d/a", noise(1, 100));
        assert_eq!(sandbox.status(), ["?? d/"]);
        let id = sandbox.save("one");
        assert_same(&sandbox.snapshot(), &sandbox.restored(&id));
        assert_eq!(sandbox.run_in("d", ["ls", "a"]).text(), "d/a\n");
        assert_eq!(sandbox.ok(["log", "--json"]).json()["commits"][0]["id"], id.as_str());
        sandbox.feed(b"two", ["commit", "--allow-empty", "-F", "-"]).expect_code(0);
        assert!(sandbox.fails(20, ["get", "nothing"]).starts_with("error: "));
        assert_eq!((sandbox.packs(1).len(), files_below(&sandbox.path("d")).len()), (1, 1));
        sandbox.write(".digstore/condemned", "");
        assert!(sandbox.condemned().is_empty() && scratch().is_dir());
    }
}
