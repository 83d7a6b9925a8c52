#!/usr/bin/env python3
"""Runs Digstore beside the tools people use today, on the same data, and prints a markdown table.

    compare.py [--tools a,b] [--reps N] [--scratch DIR] [--edit] [--digstore PATH] DATA...

DATA is a directory or a file; it is copied to the scratch directory first and never changed.
For each tool: the first save, a save with nothing changed, with --edit a save after an edit
(a file: 100 bytes inserted near its start; a tree: likewise in 1 % of its files) and the growth
it causes, and the restore of the last state, which is compared byte for byte.

Seconds run from the start of the process to the exit of it and all its children; `sync` runs
before each clock starts. Peak memory is that of the largest single process. Stored is what lies in
the repository, by file length. The tools take turns inside a repetition, in another order each
time; the table shows medians. Only ratios of one run mean anything.
"""

import argparse
import dataclasses
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
PASSWORD = "compare"


class Failed(Exception):
    """A tool that exited with an error, or restored other bytes."""


@dataclasses.dataclass
class Run:
    """One timed command."""

    seconds: float
    peak_mib: float


@dataclasses.dataclass
class Place:
    """Where one tool works in one repetition."""

    work: Path  # the data, shared by all tools
    home: Path  # this tool's own directory

    @property
    def repo(self) -> Path:
        return self.home / "repo"


class Tool:
    """A way to save a directory and get it back. Commands are lines for bash."""

    name = ""
    programs: tuple[str, ...] = ()
    repeats = True  # whether saving again means anything
    keeps_empty_dirs = True

    def env(self, place: Place) -> dict[str, str]:
        return {}

    def init(self, place: Place) -> str:
        return f"mkdir {q(str(place.repo))}"

    def save(self, place: Place, number: int) -> str:
        raise NotImplementedError

    def restore(self, place: Place, number: int, dest: Path) -> str:
        raise NotImplementedError

    def version(self) -> str:
        return first_line([self.programs[0], "--version"])


class Cp(Tool):
    name = "cp -a"
    programs = ("cp",)
    repeats = False

    def save(self, place, number):
        return f"cp -a --reflink=never {q(str(place.work))} {q(str(place.repo / str(number)))}"

    def restore(self, place, number, dest):
        return f"cp -a --reflink=never {q(str(place.repo / str(number)))}/. {q(str(dest))}"


class TarZstd(Tool):
    name = "tar | zstd -1 -T2"
    programs = ("tar", "zstd")
    repeats = False

    def save(self, place, number):
        archive = place.repo / f"{number}.tar.zst"
        return f"tar -C {q(str(place.work))} -cf - . | zstd -1 -T2 -q -o {q(str(archive))}"

    def restore(self, place, number, dest):
        archive = place.repo / f"{number}.tar.zst"
        return f"zstd -dcq {q(str(archive))} | tar -C {q(str(dest))} -xf -"


class Digstore(Tool):
    name = "digstore"

    def __init__(self, program: str):
        self.programs = (program,)

    def command(self, place, rest):
        return f"{q(self.programs[0])} -q --repo {q(str(place.repo))} -C {q(str(place.work))} {rest}"

    def env(self, place):
        return {"XDG_CONFIG_HOME": str(place.home)}

    def init(self, place):
        return self.command(place, "init")

    def save(self, place, number):
        commit = self.command(place, "commit --allow-empty -m x --author 'Compare <compare@localhost>'")
        return self.command(place, "add -A") + " && " + commit

    def restore(self, place, number, dest):
        return self.command(place, f"restore --source HEAD --target {q(str(dest))} .")


class Git(Tool):
    name = "git"
    programs = ("git",)
    keeps_empty_dirs = False

    def env(self, place):
        who = {f"GIT_{role}_{part}": "compare" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
        return {**who, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}

    def command(self, place, rest, work=None):
        settings = "-c gc.auto=0 -c core.autocrlf=false -c core.safecrlf=false"
        return f"git {settings} --git-dir={q(str(place.repo))} --work-tree={q(str(work or place.work))} {rest}"

    def init(self, place):
        return f"git init -q --bare {q(str(place.repo))}"

    def save(self, place, number):
        add = self.command(place, "add -A -f .")
        return f"cd {q(str(place.work))} && {add} && {self.command(place, 'commit -q --allow-empty -m x')}"

    def restore(self, place, number, dest):
        index = place.home / "restore.index"
        checkout = self.command(place, "checkout -q -f HEAD -- .", dest)
        return f"cd {q(str(dest))} && GIT_INDEX_FILE={q(str(index))} {checkout}"


class Restic(Tool):
    name = "restic"
    programs = ("restic",)

    def env(self, place):
        return {
            "RESTIC_REPOSITORY": str(place.repo),
            "RESTIC_PASSWORD": PASSWORD,
            "RESTIC_CACHE_DIR": str(place.home / "cache"),
        }

    def init(self, place):
        return "restic -q init"

    def save(self, place, number):
        return f"cd {q(str(place.work))} && restic -q backup ."

    def restore(self, place, number, dest):
        return f"restic -q restore latest --target {q(str(dest))}"

    def version(self):
        return first_line(["restic", "version"])


class Borg(Tool):
    name = "borg"
    programs = ("borg",)

    def env(self, place):
        return {
            "BORG_BASE_DIR": str(place.home / "borg"),
            "BORG_REPO": str(place.repo),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }

    def init(self, place):
        return "borg init --encryption=none"

    def save(self, place, number):
        return f"cd {q(str(place.work))} && borg create ::{number} ."

    def restore(self, place, number, dest):
        return f"cd {q(str(dest))} && borg extract ::{number}"


class Rustic(Tool):
    name = "rustic"
    programs = ("rustic",)

    def env(self, place):
        return {
            "RUSTIC_REPOSITORY": str(place.repo),
            "RUSTIC_PASSWORD": PASSWORD,
            "RUSTIC_CACHE_DIR": str(place.home / "cache"),
            "RUSTIC_LOG_LEVEL": "error",
            "RUSTIC_NO_PROGRESS": "true",
        }

    def init(self, place):
        return "rustic init"

    def save(self, place, number):
        return f"cd {q(str(place.work))} && rustic backup ."

    def restore(self, place, number, dest):
        return f"rustic restore latest {q(str(dest))}"


class Bupstash(Tool):
    name = "bupstash"
    programs = ("bupstash", "tar")

    def env(self, place):
        return {"BUPSTASH_REPOSITORY": str(place.repo), "BUPSTASH_KEY": str(place.home / "key")}

    def init(self, place):
        return f"bupstash init && bupstash new-key -o {q(str(place.home / 'key'))}"

    def save(self, place, number):
        log, ident = place.home / "send.log", place.home / f"{number}.id"
        return f"bupstash put -q --send-log {q(str(log))} {q(str(place.work))} > {q(str(ident))}"

    def restore(self, place, number, dest):
        ident = place.home / f"{number}.id"
        return f'bupstash get -q id="$(cat {q(str(ident))})" | tar -C {q(str(dest))} -xf -'


def first_line(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "version unknown"
    return (done.stdout or done.stderr).strip().splitlines()[0]


def timed(line: str, env: dict[str, str], log: Path) -> Run:
    """Runs a line of bash and waits for it and its children."""
    os.sync()
    with log.open("ab") as out:
        start = time.perf_counter()
        child = subprocess.Popen(
            ["bash", "-o", "pipefail", "-ec", line],
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        tail = log.read_text(errors="replace").strip().splitlines()[-8:]
        raise Failed(f"`{line}` exited with {child.returncode}\n    " + "\n    ".join(tail))
    return Run(seconds, usage.ru_maxrss / 1024)


def stored_bytes(directory: Path) -> int:
    """Lengths of all files below a directory."""
    total = 0
    for parent, _, names in os.walk(directory):
        total += sum(os.lstat(os.path.join(parent, name)).st_size for name in names)
    return total


def files_of(directory: Path) -> list[Path]:
    """The regular files below a directory, in order of their paths."""
    found = []
    for parent, dirs, names in os.walk(directory):
        dirs.sort()
        paths = (Path(parent, name) for name in sorted(names))
        found += [path for path in paths if path.is_file() and not path.is_symlink()]
    return found


def prepare(data: Path, work: Path) -> None:
    """Copies the data into `work`, without what version control keeps of its own."""
    work.mkdir(parents=True)
    source = [f"{data}/."] if data.is_dir() else [str(data)]
    subprocess.run(["cp", "-a", "--reflink=auto", *source, str(work)], check=True)
    own = {".git", ".digstore"}
    for parent, dirs, names in os.walk(work):
        for name in own & set(dirs):
            shutil.rmtree(os.path.join(parent, name))
        dirs[:] = [name for name in dirs if name not in own]
        for name in own & set(names):
            os.remove(os.path.join(parent, name))
    settle()


def settle() -> None:
    """Lets the clock tick on, so that no tool distrusts the files' timestamps as too young."""
    time.sleep(1.1)


def edit(work: Path, seed: int) -> int:
    """Inserts 100 bytes near the start of every hundredth file; returns how many were changed."""
    rng = random.Random(seed)
    chosen = files_of(work)[::100]
    for path in chosen:
        stat = path.stat()
        at = min(1000, stat.st_size // 2)
        rest = path.with_name(path.name + ".edit")
        with path.open("rb") as old, rest.open("wb") as new:
            new.write(old.read(at))
            new.write(rng.randbytes(100))
            shutil.copyfileobj(old, new, 1 << 20)
        rest.chmod(stat.st_mode & 0o7777)
        rest.rename(path)
    settle()
    return len(chosen)


def verify(tool: Tool, work: Path, dest: Path) -> None:
    """Compares what was restored with the data."""
    argv = ["diff", "-rq", "--no-dereference", str(work), str(dest)]
    done = subprocess.run(argv, capture_output=True, env={**os.environ, "LC_ALL": "C"})
    lines = done.stdout.decode(errors="replace").splitlines()
    if not tool.keeps_empty_dirs:
        lines = [line for line in lines if not is_empty_dir(line)]
    if lines or done.returncode > 1:
        shown = "\n    ".join(lines[:5]) or done.stderr.decode(errors="replace")
        raise Failed(f"{tool.name} restored other bytes:\n    {shown}")


def is_empty_dir(line: str) -> bool:
    """Whether a line of diff names a directory that is on one side and holds no file."""
    if not line.startswith("Only in "):
        return False
    path = Path(line.removeprefix("Only in ").replace(": ", "/", 1))
    return path.is_dir() and not any(names for _, _, names in os.walk(path))


class Results:
    """What was measured for one tool, over all repetitions."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}
        self.error = ""

    def add(self, key: str, value: float) -> None:
        self.values.setdefault(key, []).append(value)

    def median(self, key: str) -> float | None:
        values = self.values.get(key)
        return statistics.median(values) if values else None

    def timed(self, key: str, run: Run) -> None:
        self.add(key, run.seconds)
        self.add("peak", run.peak_mib)


def first_half(tool: Tool, place: Place, results: Results) -> None:
    """Makes the repository, saves, and saves again."""
    place.home.mkdir(parents=True)
    env, log = tool.env(place), place.home / "log"
    timed(tool.init(place), env, log)
    results.timed("save", timed(tool.save(place, 1), env, log))
    results.add("stored", stored_bytes(place.repo))
    if tool.repeats:
        results.timed("again", timed(tool.save(place, 2), env, log))


def second_half(tool: Tool, place: Place, edited: bool, results: Results) -> None:
    """Saves the edited data, restores it, and compares."""
    env, log = tool.env(place), place.home / "log"
    number = 2 if tool.repeats else 1
    if edited:
        before, number = stored_bytes(place.repo), number + 1
        results.timed("edit", timed(tool.save(place, number), env, log))
        results.add("growth", stored_bytes(place.repo) - before)
    dest = place.home / "restored"
    dest.mkdir()
    run = timed(tool.restore(place, number, dest), env, log)
    results.add("restore", run.seconds)
    results.add("restore_peak", run.peak_mib)
    verify(tool, place.work, dest)


def attempt(tool: Tool, results: Results, act) -> None:
    """Runs one half; a tool that fails is reported and left out of the rest."""
    if results.error:
        return
    try:
        act()
    except Failed as failure:
        results.error = str(failure)
        print(f"! {tool.name}: {failure}", file=sys.stderr)


def measure(tools: list[Tool], data: Path, options, scratch: Path) -> dict[str, Results]:
    """All repetitions on one data set."""
    results = {tool.name: Results() for tool in tools}
    for rep in range(options.reps):
        base = scratch / f"rep{rep}"
        work = base / "work"
        prepare(data, work)
        turns = tools[rep % len(tools) :] + tools[: rep % len(tools)]
        places = {tool.name: Place(work, base / f"tool{n}") for n, tool in enumerate(tools)}
        for tool in turns:
            place, result = places[tool.name], results[tool.name]
            print(f"  rep {rep + 1}: {tool.name}", file=sys.stderr)
            attempt(tool, result, lambda: first_half(tool, place, result))
        if options.edit:
            edit(work, rep)
        for tool in turns:
            place, result = places[tool.name], results[tool.name]
            attempt(tool, result, lambda: second_half(tool, place, options.edit, result))
            shutil.rmtree(place.home, ignore_errors=True)
        shutil.rmtree(base)
    return results


def cell(value: float | None, scale: float = 1.0, digits: int = 2) -> str:
    return "–" if value is None else f"{value / scale:,.{digits}f}"


def ratio(value: float | None, base: float | None) -> str:
    return "–" if value is None or not base else f"{value / base:.2f}"


def print_table(data: Path, results: dict[str, Results], edited: bool, counts: tuple[int, int]) -> None:
    empty = Results()
    tar, cp = results.get(TarZstd.name, empty), results.get(Cp.name, empty)
    print(f"\n**{data.name}**: {counts[0]:,} files, {counts[1] / 1e6:,.1f} MB\n")
    head = ["tool", "save s", "again s"]
    head += ["edit s", "growth MB"] if edited else []
    head += ["restore s", "stored MB", "peak MiB save", "peak MiB restore"]
    head += ["save ÷ tar", "stored ÷ tar", "restore ÷ tar", "restore ÷ cp", "bytes equal"]
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for name, result in results.items():
        get = result.median
        row = [name.replace("|", "\\|"), cell(get("save")), cell(get("again"))]
        row += [cell(get("edit")), cell(get("growth"), 1e6, 3)] if edited else []
        peak = max(result.values.get("peak", [0])) or None
        row += [cell(get("restore")), cell(get("stored"), 1e6, 1), cell(peak, 1, 0), cell(get("restore_peak"), 1, 0)]
        row += [ratio(get(key), tar.median(key)) for key in ("save", "stored", "restore")]
        row += [ratio(get("restore"), cp.median("restore")), "failed" if result.error else "yes"]
        print("| " + " | ".join(row) + " |")


def cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def choose(options) -> list[Tool]:
    """The tools asked for that are installed; says which are not."""
    known = {
        "cp": Cp(),
        "tar": TarZstd(),
        "digstore": Digstore(os.path.abspath(options.digstore)),
        "git": Git(),
        "restic": Restic(),
        "borg": Borg(),
        "rustic": Rustic(),
        "bupstash": Bupstash(),
    }
    names = options.tools.split(",") if options.tools else list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"unknown tools {', '.join(unknown)}; known: {', '.join(known)}")
    chosen = []
    for name in names:
        missing = [program for program in known[name].programs if not shutil.which(program)]
        if missing:
            print(f"skipped {name}: {', '.join(missing)} is not installed")
        else:
            chosen.append(known[name])
            print(f"- {known[name].name}: {known[name].version()}")
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", type=Path, help="a directory or a file")
    parser.add_argument("--tools", help="cp,tar,digstore,git,restic,borg,rustic,bupstash")
    parser.add_argument("--reps", type=int, default=1, help="repetitions (default 1)")
    parser.add_argument("--scratch", type=Path, help="where to work (default: a temporary directory)")
    parser.add_argument("--edit", action="store_true", help="also save after an edit")
    parser.add_argument("--digstore", default="target/release/digstore", help="the binary")
    options = parser.parse_args()
    for data in options.data:
        if not data.exists():
            sys.exit(f"there is no {data}")
    cpus = len(os.sched_getaffinity(0))
    print(f"{cpus} CPUs ({cpu_model()}), Linux {platform.release()}, {options.reps} repetitions\n")
    tools = choose(options)
    floor = timed("true", {}, Path(os.devnull)).peak_mib
    print(f"\nA process below {floor:.0f} MiB shows as {floor:.0f} MiB: the size of this script when it forks.")
    failed = False
    for data in map(Path.resolve, options.data):
        with tempfile.TemporaryDirectory(prefix="compare-", dir=options.scratch) as scratch:
            files = files_of(data) if data.is_dir() else [data]
            counts = (len(files), sum(path.stat().st_size for path in files))
            results = measure(tools, data, options, Path(scratch))
        print_table(data, results, options.edit, counts)
        failed |= any(result.error for result in results.values())
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
