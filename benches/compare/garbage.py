#!/usr/bin/env python3
"""Freeing what is of no use, beside restic and borg.

    garbage.py [--reps N] [--scratch DIR] [--digstore PATH] DATA

DATA is a directory of directories and is only read. Each program saves all of it, then every second directory
of it, and forgets the first version; then it frees what only that version held, which is timed. Medians, peak
memory, and the size of the repository before and after. What is left is restored and compared.
"""

import argparse
import filecmp
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENV = os.environ | {
    "RESTIC_PASSWORD": "x", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    "BORG_DELETE_I_KNOW_WHAT_I_AM_DOING": "YES",
    "DIGSTORE_AUTHOR_NAME": "a", "DIGSTORE_AUTHOR_EMAIL": "a@b",
}


def run(*command, cwd=None):
    """Seconds and peak MiB of a command."""
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], cwd=cwd, env=ENV,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} ended with {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def digstore(program, work, half, repo, out):
    base = [program, "-q", "--repo", repo, "-C"]
    run(*base, work, "init")
    for data in (work, half):
        run(*base, data, "add", "-A")
        run(*base, data, "commit", *([] if data == work else ["--amend"]), "-m", "x")
    yield
    yield run(*base, half, "gc", "--now", "--config", "gc.keep_days=0", "--config", "gc.keep_operations=0")
    run(*base, half, "restore", "--target", out, "-s", "HEAD")


def restic(program, work, half, repo, out):
    run("restic", "init", "-r", repo)
    for data in (work, half):
        run("restic", "-r", repo, "backup", ".", cwd=data)
    run("restic", "-r", repo, "forget", "--keep-last", "1", "--group-by", "host")
    yield
    yield run("restic", "-r", repo, "prune", "--max-unused", "30%")
    run("restic", "-r", repo, "restore", "latest", "--target", out)


def borg(program, work, half, repo, out):
    run("borg", "init", "-e", "none", repo)
    for name, data in (("all", work), ("half", half)):
        run("borg", "create", "-C", "zstd,3", f"{repo}::{name}", ".", cwd=data)
    run("borg", "delete", f"{repo}::all")
    yield
    yield run("borg", "compact", "--threshold", "30", repo)
    out.mkdir()
    run("borg", "extract", f"{repo}::half", cwd=out)


def size(repo):
    return sum(file.lstat().st_size for file in repo.rglob("*") if file.is_file()) / 2**20


def same(left, right):
    compared = filecmp.dircmp(left, right, ignore=[])
    if compared.left_only or compared.right_only or compared.funny_files:
        return False
    _, other, errors = filecmp.cmpfiles(left, right, compared.common_files, shallow=False)
    return not other and not errors and all(same(left / name, right / name) for name in compared.common_dirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--digstore", default="target/release/digstore")
    args = parser.parse_args()
    program = str(Path(args.digstore).resolve())
    print("| program | s | peak MiB | repository before MiB | after MiB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        half = Path(scratch) / "half"
        half.mkdir()
        for name in sorted(os.listdir(args.data))[::2]:
            shutil.copytree(args.data / name, half / name, symlinks=True)
        told = {tool: [] for tool in (digstore, restic, borg) if tool is digstore or shutil.which(tool.__name__)}
        for _ in range(args.reps):
            for tool, results in told.items():
                repo, out = Path(scratch) / "repo", Path(scratch) / "out"
                steps = tool(program, args.data.resolve(), half, repo, out)
                next(steps)
                subprocess.run(["sync"], check=True)
                before = size(repo)
                seconds, peak = next(steps)
                after = size(repo)
                next(steps, None)
                if not same(half, out):
                    sys.exit(f"{tool.__name__}: what is left is not what was saved")
                results.append((seconds, peak, before, after))
                shutil.rmtree(repo)
                shutil.rmtree(out)
        for tool, results in told.items():
            cells = [f"{statistics.median(values):.2f}" for values in zip(*results)]
            print(f"| {tool.__name__} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
