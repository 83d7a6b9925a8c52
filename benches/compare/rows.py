#!/usr/bin/env python3
"""Digstore on data of known kinds, with the memory it takes; beside `cp` where that is the peer.

    rows.py [--scratch DIR] [--digstore PATH] [--reps N] [--size 2G] ROW...

Rows: duplicate, random, edit, sparse, huge, flat-memory, small, medium, million. The data are made by
data.py in the scratch directory and removed again; `huge` needs 35 GiB there, `million` 10 GiB, the
others less than 10. Times are of whole commands, after a `sync`; peaks are of the largest process.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import data as make  # noqa: E402

GIB = 1 << 30
MIB = 1 << 20


class Bench:
    """A scratch directory, the program, and how often."""

    def __init__(self, scratch: Path, program: str, reps: int, size: int):
        self.scratch, self.program, self.reps, self.size = scratch, program, reps, size
        self.work = scratch / "work"
        self.repo = scratch / "repo"

    def fresh(self) -> Path:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        return self.work

    def init(self) -> None:
        shutil.rmtree(self.repo, ignore_errors=True)
        self.run("init")

    def run(self, *args: str) -> tuple[float, float]:
        """Seconds and peak MiB of one command."""
        command = [self.program, "-q", "--repo", str(self.repo), "-C", str(self.work), *args]
        return timed(command)

    def median(self, once) -> tuple[float, float]:
        """Of `reps` runs: the median of the seconds, the largest peak."""
        runs = [once() for _ in range(self.reps)]
        return statistics.median(run[0] for run in runs), max(run[1] for run in runs)

    def first_save(self) -> tuple[float, float]:
        self.init()
        return self.run("add", "-A")

    def stored(self) -> int:
        return sum(path.lstat().st_size for path in self.repo.rglob("*") if path.is_file())

    def cp(self, source: Path) -> float:
        target = self.scratch / "copy"
        times = []
        for _ in range(self.reps):
            target.unlink(missing_ok=True)
            times.append(timed(["cp", "--reflink=never", str(source), str(target)])[0])
        target.unlink()
        return statistics.median(times)


def timed(command: list[str]) -> tuple[float, float]:
    os.sync()
    start = time.perf_counter()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command} exited with {child.returncode}")
    return seconds, usage.ru_maxrss / 1024


def show(row: str, *cells: str) -> None:
    print(f"| {row} | {' | '.join(cells)} |", flush=True)


def rate(size: int, seconds: float) -> str:
    return f"{size / seconds / 1e9:.2f} GB/s"


def settle() -> None:
    time.sleep(1.1)


def duplicate(bench: Bench) -> None:
    """All data are stored already: under another name, and under the same one with other times."""
    file = bench.fresh() / "a.bin"
    make.mixed(file, bench.size, 1)
    settle()
    bench.init()
    bench.run("add", "-A")
    os.rename(file, bench.work / "b.bin")

    def renamed():
        shutil.copytree(bench.repo, bench.scratch / "kept")
        result = bench.run("add", "-A")
        shutil.rmtree(bench.repo)
        (bench.scratch / "kept").rename(bench.repo)
        return result

    seconds, peak = bench.median(renamed)
    show("all known, another name", f"{seconds:.2f} s", rate(bench.size, seconds), f"{peak:.0f} MiB")
    bench.run("add", "-A")

    def touched():
        os.utime(bench.work / "b.bin", (1e9 + time.time() % 1e6, 1e9 + time.time() % 1e6))
        return bench.run("add", "-A")

    seconds, peak = bench.median(touched)
    show("all known, same name", f"{seconds:.2f} s", rate(bench.size, seconds), f"{peak:.0f} MiB")


def noise(bench: Bench) -> None:
    file = bench.fresh() / "random.bin"
    make.noise(file, bench.size, 1)
    settle()
    seconds, peak = bench.median(bench.first_save)
    copied = bench.cp(file)
    ratio = bench.stored() / bench.size
    show("random", f"{seconds:.2f} s", f"{seconds / copied:.2f} × cp ({copied:.2f} s)", f"stored {ratio:.4f} ×", f"{peak:.0f} MiB")


def edit(bench: Bench) -> None:
    """64 scattered edits and an insertion."""
    file = bench.fresh() / "data.bin"
    make.mixed(file, bench.size, 1)
    settle()
    bench.init()
    bench.run("add", "-A")
    times, growths, peaks = [], [], []
    for repetition in range(bench.reps):
        make.edit(file, repetition)
        settle()
        before = bench.stored()
        seconds, peak = bench.run("add", "-A")
        times.append(seconds)
        peaks.append(peak)
        growths.append(bench.stored() - before)
    seconds = statistics.median(times)
    growth = statistics.median(growths) / 1e6
    show("64 edits and an insertion", f"{seconds:.2f} s", rate(bench.size, seconds), f"growth {growth:.2f} MB", f"{max(peaks):.0f} MiB")


def sparse(bench: Bench) -> None:
    """50 GB with 2 GB of data in islands."""
    file = bench.fresh() / "sparse.img"
    make.sparse(file, 50 * GIB, 2 * GIB, 1)
    settle()
    seconds, peak = bench.median(bench.first_save)
    show("50 GiB sparse, 2 GiB of data: add", f"{seconds:.2f} s", f"{peak:.0f} MiB")
    seconds, peak = bench.run("get", "sparse.img", "-o", str(bench.scratch / "back"))
    same = subprocess.run(["cmp", str(file), str(bench.scratch / "back")]).returncode == 0
    blocks = (bench.scratch / "back").stat().st_blocks * 512 / GIB
    show("the same: get", f"{seconds:.2f} s", f"{peak:.0f} MiB", f"{blocks:.1f} GiB on disk", "equal" if same else "DIFFERS")
    (bench.scratch / "back").unlink()


def huge(bench: Bench) -> None:
    """20 GB, compressible, 30 % repeated."""
    file = bench.fresh() / "huge.bin"
    make.mixed(file, 20 * GIB, 1)
    settle()
    seconds, peak = bench.first_save()
    show("20 GiB mixed: add", f"{seconds:.1f} s", rate(20 * GIB, seconds), f"{peak:.0f} MiB")
    seconds, peak = timed(["sh", "-c", f"exec {bench.program} -q --repo {bench.repo} -C {bench.work} get huge.bin | cmp - {file}"])
    show("the same: get | cmp, equal", f"{seconds:.1f} s", f"{peak:.0f} MiB")


def flat_memory(bench: Bench) -> None:
    """The peak of add and get does not depend on the size."""
    for size in (1, 2, 4, 8):
        file = bench.fresh() / "data.bin"
        make.mixed(file, size * GIB, 1)
        settle()
        _, peak = bench.first_save()
        _, back = bench.run("get", "data.bin", "-o", str(bench.scratch / "back"))
        (bench.scratch / "back").unlink()
        _, verified = bench.run("store", "verify", "--data")
        show(f"{size} GiB: add, get, verify", *(f"{mib:.0f} MiB" for mib in (peak, back, verified)))


def rates(bench: Bench, row: str, count: int, length: int) -> None:
    bench.fresh()
    make.files(bench.work, count, length, 1, 100)
    settle()
    seconds, peak = bench.median(bench.first_save)
    show(row, f"{seconds:.2f} s", f"{count / seconds:,.0f} files/s", rate(count * length, seconds), f"{peak:.0f} MiB")


def small(bench: Bench) -> None:
    rates(bench, "50,000 files of 8 KiB", 50_000, 8 << 10)


def medium(bench: Bench) -> None:
    rates(bench, "5,000 files of 256 KiB", 5_000, 256 << 10)


def million(bench: Bench) -> None:
    bench.fresh()
    make.files(bench.work, 1_000_000, 1 << 10, 1, 100)
    settle()
    seconds, peak = bench.first_save()
    show("1,000,000 files of 1 KiB: add", f"{seconds:.1f} s", f"{1e6 / seconds:,.0f} files/s", f"{peak:.0f} MiB")
    seconds, peak = bench.run("commit", "-m", "x", "--author", "Rows <rows@localhost>")
    show("commit", f"{seconds:.2f} s", f"{peak:.0f} MiB")
    for command in (["status"], ["add", "-A"]):
        seconds, peak = bench.median(lambda: bench.run(*command))
        show(f"nothing changed: {' '.join(command)}", f"{seconds:.2f} s", f"{peak:.0f} MiB")


ROWS = {
    "duplicate": duplicate,
    "random": noise,
    "edit": edit,
    "sparse": sparse,
    "huge": huge,
    "flat-memory": flat_memory,
    "small": small,
    "medium": medium,
    "million": million,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rows", nargs="+", choices=list(ROWS))
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--digstore", default="target/release/digstore")
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--size", type=make.size, default=2 * GIB)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        program = str(Path(args.digstore).resolve())
        bench = Bench(Path(scratch), program, args.reps, args.size)
        for row in args.rows:
            ROWS[row](bench)


if __name__ == "__main__":
    main()
