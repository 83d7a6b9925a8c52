//! A directory for checks that need files, and the repository in it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::store::build;

/// See the module. The directory is the caller's to remove.
pub(crate) struct Scratch {
    dir: PathBuf,
    world: Option<World>,
}

impl Scratch {
    /// Uses an empty directory, in memory if possible.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, world: None }
    }

    /// A directory of its own for one check, which may hold what the last run left.
    pub(crate) fn fresh_dir(&self, name: &str) -> PathBuf {
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// The repository, as it was made.
    pub(crate) fn world(&mut self) -> &World {
        let dir = self.fresh_dir("world");
        let world = self.world.get_or_insert_with(|| World::new(dir));
        world.reset();
        world
    }
}

/// Something in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    Dir,
    File(Vec<u8>, u32),
    Link(PathBuf),
}

/// A directory with a work tree, its repository, and a neighbour that nobody may touch.
pub(crate) struct World {
    root: PathBuf,
    made: BTreeMap<PathBuf, Thing>,
}

impl World {
    fn new(root: PathBuf) -> Self {
        fs::create_dir_all(root.join("outside/dir")).unwrap();
        fs::write(root.join("outside/kept"), "kept").unwrap();
        fs::create_dir(root.join("work")).unwrap();
        build(&root.join("work"));
        let made = snapshot(&root);
        Self { root, made }
    }

    /// The work tree.
    pub(crate) fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// A directory outside of it that is not there and may be made.
    pub(crate) fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// The files of the repository, relative to it, with their bytes. Their order does not depend on
    /// random names.
    pub(crate) fn files(&self) -> Vec<(PathBuf, &[u8])> {
        let repository = self.work().join(".digstore");
        let mut files: Vec<(PathBuf, &[u8])> = Vec::new();
        for (path, thing) in &self.made {
            if let (Ok(below), Thing::File(bytes, _)) = (path.strip_prefix(&repository), thing) {
                files.push((below.to_owned(), bytes));
            }
        }
        let is_named_by_sum = |path: &Path| path.starts_with("packs") || path.starts_with("index");
        files.sort_by_key(|(path, bytes)| {
            let named = is_named_by_sum(path);
            let name = if named { path.components().next() } else { None };
            let name = name.map_or_else(|| path.clone(), |first| PathBuf::from(first.as_os_str()));
            (name, bytes.len())
        });
        files
    }

    /// Whether nothing outside of the work tree changed, but for the target.
    pub(crate) fn check_outside(&self) {
        let outside = |all: &BTreeMap<PathBuf, Thing>| {
            let (work, target) = (self.work(), self.target());
            let is_outside =
                |path: &&PathBuf| !path.starts_with(&work) && !path.starts_with(&target);
            all.iter()
                .filter(|(path, _)| is_outside(path))
                .map(|(path, thing)| (path.clone(), thing.clone()))
                .collect::<Vec<_>>()
        };
        let mut now = BTreeMap::new();
        look(&self.root, &mut now, &|path| path == self.work() || path == self.target());
        assert_eq!(outside(&now), outside(&self.made), "something outside changed");
    }

    /// Puts everything back.
    fn reset(&self) {
        let now = snapshot(&self.root);
        for (path, _) in
            now.iter().rev().filter(|(path, thing)| self.made.get(*path) != Some(thing))
        {
            // Below a directory that is to be something else nothing is left by now.
            let gone = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
            assert!(gone.is_ok() || self.made.contains_key(path), "{} stays", path.display());
        }
        for (path, thing) in self.made.iter().filter(|(path, thing)| now.get(*path) != Some(thing))
        {
            match thing {
                Thing::Dir => fs::create_dir(path).unwrap(),
                Thing::Link(to) => symlink(to, path).unwrap(),
                Thing::File(bytes, mode) => {
                    fs::write(path, bytes).unwrap();
                    fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
                }
            }
        }
    }
}

fn snapshot(root: &Path) -> BTreeMap<PathBuf, Thing> {
    let mut things = BTreeMap::new();
    look(root, &mut things, &|_| false);
    things
}

fn look(dir: &Path, things: &mut BTreeMap<PathBuf, Thing>, pass: &dyn Fn(&Path) -> bool) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let thing = if meta.is_symlink() {
            Thing::Link(fs::read_link(&path).unwrap())
        } else if meta.is_dir() {
            Thing::Dir
        } else {
            Thing::File(fs::read(&path).unwrap(), meta.mode() & 0o7777)
        };
        let is_dir = thing == Thing::Dir;
        things.insert(path.clone(), thing);
        if is_dir && !pass(&path) {
            look(&path, things, pass);
        }
    }
}
