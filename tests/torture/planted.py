#!/usr/bin/env python3
"""Plants a bug at a time into a copy of the sources and shows that the tests catch it.

    planted.py [--scratch DIR] [--target DIR] [NAME...]
    planted.py --places

Each bug is a text to be replaced, and the tests that must fail then. A text that is not found, a copy
that does not build, and a bug that all tests pass with, are failures of this script. Sizes of the
rigs are those of a normal test run, with the seeds that they choose. With --places it only looks
whether each text is found in the sources as they are, so that none is lost when they change.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

RIGS = ["--test", "torture"]
UNITS = ["--lib", "storage::"]
GARBAGE = ["--test", "gc"]
HOSTILE = ["--test", "hostile"]
DAMAGE = ["--test", "bad_input"]
MERGES = ["--test", "merge"]
ARCHIVES = ["--test", "archives"]
COMMITS = ["--lib", "repo::commit"]

BUGS = [
    ("file-not-synced", "src/storage/disk/files.rs", RIGS,
     'self.file.sync().context("sync", &self.path)?;\n        let target', "let target"),
    ("file-synced-behind-rename", "src/storage/disk/files.rs", RIGS,
     'self.file.sync().context("sync", &self.path)?;\n        let target = self.disk.full(path)?;\n        self.rename(&target, replace)?;',
     'let target = self.disk.full(path)?;\n        self.rename(&target, replace)?;\n        self.file.sync().context("sync", &self.path)?;'),
    ("directory-not-synced", "src/storage/disk/files.rs", RIGS,
     "self.disk.sync_dir(target.parent().unwrap_or(&self.disk.root))", "Ok(())"),
    ("new-directory-not-synced", "src/storage/disk.rs", RIGS,
     'self.sync_dir(parent.unwrap_or(Path::new(".")))?;', "let _ = parent;"),
    ("directory-of-a-dead-process-trusted", "src/storage/disk.rs", RIGS,
     "if self.is_known_durable(dir) || is_there && !dir.starts_with(&self.root) {", "if is_there {"),
    ("append-not-synced", "src/storage/disk/files.rs", RIGS,
     'self.disk.certainly(self.file.sync()).context("sync", &self.path)\n    }\n}\n\nimpl AppendFile', 'Ok(())\n    }\n}\n\nimpl AppendFile'),
    ("removal-not-synced", "src/storage/disk.rs", RIGS,
     "Some(dir) if self.is_dir(dir) => self.sync_dir(dir),", "Some(dir) if self.is_dir(dir) => Ok(()),"),
    ("abandoned-lock-ignored", "src/repo/mod.rs", RIGS, "if guard.was_abandoned() {", "if false {"),
    ("mark-removed-in-doubt", "src/storage/disk.rs", RIGS,
     "if !self.in_doubt.load(Ordering::Relaxed) && !std::thread::panicking() {", "if true {"),
    ("settle-does-not-sync", "src/storage/disk.rs", RIGS,
     'self.fs.sync_all(&self.root).context("sync", &self.root)?;', ""),
    ("refs-before-the-record", "src/repo/operation/mod.rs", RIGS,
     "let seq = self.append(after.clone(), refs.clone())?;\n        self.forget_announcement()?;\n        store.apply(&refs)?;",
     "store.apply(&refs)?;\n        let seq = self.append(after.clone(), refs.clone())?;\n        self.forget_announcement()?;"),
    ("late-refs-forgotten", "src/repo/operation/catch_up.rs", RIGS, "let applied = store.apply(&late);", "let applied = store.apply(&[]);"),
    ("torn-log-not-cut", "src/storage/oplog.rs", RIGS, "if self.is_torn {\n            file.truncate", "if false {\n            file.truncate"),
    ("torn-staging-log-not-cut", "src/storage/binary_staging/mod.rs", UNITS, "if self.log.is_torn {", "if false {"),
    ("index-trusted-over-packs", "src/storage/pack_store/condemned.rs", UNITS,
     "self.live.contains(&location.pack) && wanted(&location.pack)", "wanted(&location.pack)"),
    ("content-not-checked", "src/storage/pack_store/reader.rs", HOSTILE,
     "if kind.id_of(bytes) != *id {", "if false {"),
    ("kept-files-are-garbage", "src/repo/gc/roots.rs", GARBAGE,
     "self.trees([record.kept, record.written].into_iter().flatten())", "self.trees(record.written)"),
    ("staged-files-are-garbage", "src/repo/gc/roots.rs", GARBAGE,
     "if let KindView::File { content, .. } = view.kind {", "if let (KindView::File { content, .. }, true) = (view.kind, false) {"),
    ("readers-not-waited-for", "src/repo/gc/sweep.rs", GARBAGE,
     "let is_alone = lock.is_some_and(SharedLock::make_exclusive);", "let is_alone = lock.is_none_or(|lock| lock.make_exclusive() || true);"),
    ("condemned-counts-as-stored", "src/storage/pack_store/mod.rs", GARBAGE,
     "let (_, at) = state.slot(id, false)?;", "let (_, at) = state.slot(id, true)?;"),
    ("index-believed-by-gc", "src/repo/gc/mark.rs", GARBAGE,
     "pack.check_footer()?;\n                        return Err(PackStore::index_lies(&id).into());", "pack.check_footer()?;"),
    ("merges-that-waited-are-garbage", "src/repo/gc/roots.rs", GARBAGE,
     "Some(merging) if self.merges.insert(merging) => self.merge(merging),", "Some(_) => Ok(()),"),
    ("copies-not-sealed", "src/repo/gc/repack.rs", RIGS, "repacker.out.seal()?;", "repacker.out.pack = None;"),
    ("half-a-commit-merged", "src/repo/merge/run.rs", GARBAGE,
     "let other = options.other;\n        self.check_whole(other)?;", "let other = options.other;"),
    ("settled-though-it-failed", "src/storage/disk.rs", UNITS,
     "self.in_doubt.store(written.is_err(), Ordering::Relaxed);", "self.in_doubt.store(false, Ordering::Relaxed);"),
    ("link-in-the-repository-followed", "src/storage/disk.rs", HOSTILE,
     "Ok(false) => {\n                known().insert", "Ok(_) => {\n                known().insert"),
    ("index-believed-of-a-cut-pack", "src/storage/pack_store/mod.rs", DAMAGE,
     "Some((pack, false)) if !self.look_at_end(pack) => return false,", "Some((_, false)) => return true,"),
    ("metadata-sealed-beside-data", "src/storage/engine/writer.rs", COMMITS,
     "} else if is_data {\n            full.send(pack)", "} else if is_data || true {\n            full.send(pack)"),
    ("left-out-counts-as-resolved", "src/repo/merge/state.rs", MERGES,
     "is_meant && !is_left_out(&conflict.path)", "(is_meant || is_left_out(&conflict.path))"),
    ("racy-by-one-time-only", "src/storage/engine.rs", UNITS,
     "[stat.mtime_ns, stat.ctime_ns].iter()", "[stat.mtime_ns].iter()"),
    ("cut-archive-taken", "src/repo/exchange/archive.rs", ARCHIVES,
     "if self.meter.is_at_end.get() {", "if false {"),
]


def check_places(root):
    places = {name: (root / file).read_text().count(old) for name, file, _, old, _ in BUGS}
    if wrong := [f"{name}: {found} places" for name, found in places.items() if found != 1]:
        sys.exit("\n".join(wrong))


def run(tree, target, tests):
    environment = os.environ | {"CARGO_TARGET_DIR": str(target), "RUSTFLAGS": "--cap-lints warn"}
    build = ["cargo", "test", "--locked", "--no-run", *tests[:2 if tests[0] == "--test" else 1]]
    built = subprocess.run(build, cwd=tree, env=environment, capture_output=True, text=True)
    if built.returncode:
        sys.exit(f"the copy does not build:\n{built.stderr[-3000:]}")
    tested = subprocess.run(["cargo", "test", "--locked", *tests], cwd=tree, env=environment, capture_output=True, text=True)
    return tested.stdout[-5000:] + tested.stderr[-5000:] if tested.returncode else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--target", type=Path, help="where to build, if dependencies are built there already")
    parser.add_argument("--places", action="store_true", help="plant nothing, only look for the places")
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parents[2]
    check_places(root)
    if arguments.places:
        return
    scratch = Path(tempfile.mkdtemp(prefix="planted-", dir=arguments.scratch))
    missed, target = [], arguments.target or scratch / "target"
    try:
        tree = scratch / "tree"
        tree.mkdir()
        for name in ("Cargo.toml", "Cargo.lock", "clippy.toml", "README.md", "digstore.toml.example"):
            shutil.copy(root / name, tree / name)
        for name in ("src", "tests", "benches", "docs"):
            shutil.copytree(root / name, tree / name, copy_function=shutil.copy)
        if said := run(tree, target, RIGS):
            sys.exit(f"the rigs fail without a planted bug:\n{said}")
        for name, file, tests, old, new in BUGS:
            if arguments.names and name not in arguments.names:
                continue
            text = (tree / file).read_text()
            (tree / file).write_text(text.replace(old, new))
            is_caught = run(tree, target, tests) is not None
            (tree / file).write_text(text)
            print(f"{name}: {'caught' if is_caught else 'NOT CAUGHT'}", flush=True)
            missed += [] if is_caught else [name]
    finally:
        shutil.rmtree(scratch)
    if missed:
        sys.exit(f"{len(missed)} not caught")


if __name__ == "__main__":
    main()
