#!/usr/bin/env python3
"""Times the daily commands of Digstore beside git, on one history, and prints a markdown table.

    daily.py [--reps N] [--checkouts N] [--scratch DIR] [--digstore PATH] HISTORY

HISTORY is a bare git repository (history.py makes one). It is cloned by git and imported by
Digstore; then N random commits of it are checked out by both, and the work trees compared: names,
kinds, executable bits, bytes. Then the commands take turns, git and Digstore in another order each
repetition; the table shows medians of wall seconds, of the ratio of each pair, and the peak memory.
What a command prints is thrown away, but must not be empty where it answers. All is warm in cache.
Peaks below some 25 MiB are not told apart: that is what this script itself takes.
"""

import argparse
import filecmp
import os
import platform
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

q = shlex.quote
ENVIRONMENT = os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "LC_ALL": "C"}


def timed(command, work):
    """Wall seconds and peak MiB of a command, which must succeed."""
    start = time.perf_counter()
    with open(os.devnull, "wb") as null:
        process = subprocess.Popen(command, cwd=work, env=ENVIRONMENT, stdout=null, stderr=subprocess.PIPE)
        complaint = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command} failed: {complaint.decode(errors='replace')}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def says_something(command, work):
    """Whether a command prints anything; what it prints is not kept."""
    with subprocess.Popen(command, cwd=work, env=ENVIRONMENT, stdout=subprocess.PIPE) as process:
        found = bool(process.stdout.read(1))
        while process.stdout.read(1 << 16):
            pass
    return found and process.returncode == 0


def output(command, work):
    return subprocess.run(command, cwd=work, env=ENVIRONMENT, check=True, capture_output=True).stdout


def names(root):
    """What a work tree holds: path to kind, executable bit, target of a link; no content."""
    found = {}
    for folder, folders, files in os.walk(root):
        if folder == str(root):
            folders[:] = [name for name in folders if name not in (".git", ".digstore")]
        for name in files + [name for name in folders if os.path.islink(os.path.join(folder, name))]:
            path = os.path.join(folder, name)
            is_link = os.path.islink(path)
            found[os.path.relpath(path, root)] = os.readlink(path) if is_link else os.stat(path).st_mode & 0o100
    return found


def difference(left, right):
    """A path in which two work trees differ, and how many files were compared."""
    ours, theirs = names(left), names(right)
    for path in ours.keys() | theirs.keys():
        if ours.get(path) != theirs.get(path):
            return path, 0
        if isinstance(ours[path], int) and not filecmp.cmp(left / path, right / path, shallow=False):
            return path, 0
    filecmp.clear_cache()
    return None, len(ours)


class Pair:
    """One history in both systems."""

    def __init__(self, history, scratch, digstore):
        self.digstore, self.git_tree, self.dig_tree = str(digstore), scratch / "git", scratch / "digstore"
        self.first = timed(["git", "clone", "-q", f"--template={self.plain(scratch)}", str(history),
                            str(self.git_tree)], scratch)
        output([self.digstore, "init", str(self.dig_tree)], scratch)
        copy = q(str(scratch / "copy.git"))
        self.copied = timed(["sh", "-c", f"git init -q --bare {copy} && git -C {q(str(history))} fast-export --all |"
                             f" git -C {copy} fast-import --quiet"], scratch)
        self.imported = timed([self.digstore, "import", "git", str(history)], self.dig_tree)
        for name in output(["git", "for-each-ref", "--format=%(refname:lstrip=3)", "refs/remotes/origin"],
                           self.git_tree).decode().split():
            if name not in ("HEAD", "main"):
                output(["git", "branch", "-q", name, f"origin/{name}"], self.git_tree)

    def plain(self, scratch):
        """Tells git, over what the history says, to leave line ends and keywords as they are."""
        template = scratch / "template" / "info"
        template.mkdir(parents=True)
        (template / "attributes").write_text("* -text -eol -ident -filter -working-tree-encoding\n")
        return scratch / "template"

    def git(self, *words):
        return ["git", *words]

    def dig(self, *words):
        return [self.digstore, *words]

    def switch(self, revision):
        output(self.git("checkout", "-q", "--detach", revision), self.git_tree)
        output(self.dig("-q", "switch", "--detach", revision), self.dig_tree)

    def compare(self, count, dice):
        """Checks `count` random commits out in both and compares the work trees."""
        length = int(output(self.git("rev-list", "--first-parent", "--count", "main"), self.git_tree))
        tags = output(self.git("tag"), self.git_tree).decode().split()
        files = 0
        for number in range(count):
            revision = dice.choice(tags) if number % 4 == 3 else f"main~{dice.randrange(length)}"
            if number % 4 == 2:
                revision = f"side/{dice.randrange(7)}~{dice.randrange(min(length, 1000) // 4)}"
            self.switch(revision)
            path, compared = difference(self.git_tree, self.dig_tree)
            if path:
                sys.exit(f"{revision} differs in {path}")
            files += compared
            for command, tree in ((self.git("status", "--porcelain"), self.git_tree),
                                  (self.dig("status", "--porcelain"), self.dig_tree)):
                if said := output(command, tree):
                    sys.exit(f"{revision}: {command} says {said.decode(errors='replace')[:400]}")
        print(f"{count} random commits checked out by both: {files} files compared, all equal\n")

    def edit(self, dice):
        """The same edit of ten files in both."""
        paths = sorted(output(self.git("ls-files"), self.git_tree).decode().splitlines())
        plain = [path for path in paths if path.endswith(".rs")]
        for path in dice.sample(plain, 10):
            for tree in (self.git_tree, self.dig_tree):
                with open(tree / path, "a") as file:
                    file.write("one more line\n")

    def reset(self):
        output(self.git("checkout", "-q", "-f", "main"), self.git_tree)
        output(self.dig("-q", "switch", "main"), self.dig_tree)

    def rows(self):
        """Name, and the command of each, in the order in which they may be run."""
        same = lambda name, *words: (name, self.git(*words), self.dig(*words))
        far = "main~4000"
        yield same("status, nothing changed", "status")
        yield same("log, all commits", "log")
        yield same("log -n 20", "log", "-n", "20")
        yield same("log --graph", "log", "--graph", "--all")
        yield same("log --stat -n 500", "log", "--stat", "-n", "500")
        yield same("log of one path", "log", "--", "odd/run.sh")
        yield same("log of a range", "log", f"{far}..main")
        yield same("diff --stat, 4,000 commits apart", "diff", "--stat", far, "main")
        yield same("diff, 4,000 commits apart", "diff", far, "main")
        yield same("diff --name-status, neighbours", "diff", "--name-status", "main~1", "main")
        yield same("merge-base of distant commits", "merge-base", "side/1", "main")

    def edited_rows(self):
        same = lambda name, *words: (name, self.git(*words), self.dig(*words))
        yield same("status, ten files changed", "status")
        yield same("diff, ten files changed", "diff")


def measure(pair, rows, reps):
    for name, theirs, ours in rows:
        for command, tree in ((theirs, pair.git_tree), (ours, pair.dig_tree)):
            if "nothing changed" not in name and not says_something(command, tree):
                sys.exit(f"{command} failed, or printed nothing")
        runs = []
        for rep in range(reps):
            order = [(theirs, pair.git_tree), (ours, pair.dig_tree)]
            if rep % 2:
                runs.append(tuple(reversed([timed(*each) for each in reversed(order)])))
            else:
                runs.append(tuple(timed(*each) for each in order))
        row(name, runs)


def measure_switch(pair, reps, far):
    """There and back, each way a repetition."""
    runs = []
    for rep in range(reps):
        to = "main" if rep % 2 else far
        runs.append((timed(pair.git("checkout", "-q", "--detach", to), pair.git_tree),
                     timed(pair.dig("-q", "switch", "--detach", to), pair.dig_tree)))
    row(f"switch between main and {far}", runs)


def row(name, runs):
    middle = lambda values: statistics.median(values)
    git, ours = (middle([run[side][0] for run in runs]) for side in (0, 1))
    ratio = middle([run[1][0] / run[0][0] for run in runs])
    memory = [max(run[side][1] for run in runs) for side in (0, 1)]
    print(f"| {name} | {git:.3f} | {ours:.3f} | {ratio:.2f} | {memory[0]:.0f} | {memory[1]:.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("history", type=Path)
    parser.add_argument("--reps", type=int, default=9)
    parser.add_argument("--checkouts", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--digstore", type=Path, default=Path("target/release/digstore"))
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="daily-", dir=arguments.scratch))
    try:
        pair, dice = Pair(arguments.history.resolve(), scratch, arguments.digstore.resolve()), random.Random(arguments.seed)
        commits = int(output(["git", "rev-list", "--all", "--count"], pair.git_tree))
        print(f"{platform.machine()}, {os.cpu_count()} cores; {output(['git', '--version'], scratch).decode().strip()}; "
              f"{commits} commits; seed {arguments.seed}; medians of {arguments.reps}\n")
        pair.compare(arguments.checkouts, dice)
        pair.reset()
        print(f"{len(names(pair.dig_tree))} files at main\n")
        print("| command | git s | Digstore s | ratio | git MiB | Digstore MiB |\n|---|---|---|---|---|---|")
        row("clone \\| import git", [(pair.first, pair.imported)])
        row("fast-export and fast-import \\| import git", [(pair.copied, pair.imported)])
        measure(pair, pair.rows(), arguments.reps)
        measure_switch(pair, 2 * (arguments.reps // 2 + 1), "main~4000")
        pair.reset()
        pair.edit(dice)
        measure(pair, pair.edited_rows(), arguments.reps)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
