#!/usr/bin/env python3
"""Whether the plan that Digstore makes is as fast as the best fixed setting.

    adaptive.py [--reps N] [--scratch DIR] [--digstore PATH] NAME=DATA...

DATA is a directory or a file and is only read. For each, a first `add -A` is timed as Digstore
plans it and with each fixed setting of SETTINGS, in turns, in another order each time; the table
shows medians and the ratio of the best fixed setting to the plan: below 0.9 the plan is too slow.
"""

import argparse
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

PLAN = "as planned"
SETTINGS = {
    PLAN: [],
    "1 worker": ["max_worker_threads=1"],
    "2 workers": ["max_worker_threads=2"],
    "4 workers": ["max_worker_threads=4"],
    "8 workers": ["max_worker_threads=8"],
    "batches of 20": ["batch_size=20"],
    "batches of 5000": ["batch_size=5000"],
    "all spread": ["streaming_threshold=1MB"],
    "none spread": ["streaming_threshold=1000GB"],
    "reads of 1 MiB": ["buffer_size=1MB"],
}


def save(program: str, work: Path, scratch: Path, settings: list[str]) -> float:
    """Seconds of a first `add -A`."""
    repo = scratch / "repo"
    shutil.rmtree(repo, ignore_errors=True)
    base = [program, "-q", "--repo", str(repo), "-C", str(work), "--config", "performance.auto_tune=false"]
    for setting in settings:
        base += ["--config", f"performance.{setting}"]
    subprocess.run([*base, "init"], check=True)
    subprocess.run(["sync"], check=True)
    start = time.perf_counter()
    subprocess.run([*base, "add", "-A"], check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--digstore", default="target/release/digstore")
    args = parser.parse_args()
    program = str(Path(args.digstore).resolve())
    print(f"| workload | {' | '.join(SETTINGS)} | best fixed ÷ plan |")
    print("|---" * (len(SETTINGS) + 2) + "|")
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        for number, data in enumerate(args.data):
            name, _, path = data.rpartition("=")
            path = Path(path).resolve()
            work = path
            if path.is_file():
                work = Path(scratch) / f"work{number}"
                work.mkdir()
                (work / path.name).hardlink_to(path) if same_disk(path, work) else shutil.copy(path, work)
            times: dict[str, list[float]] = {setting: [] for setting in SETTINGS}
            save(program, work, Path(scratch), [])  # the data into the page cache
            for repetition in range(args.reps):
                order = list(SETTINGS)
                random.Random(repetition).shuffle(order)
                for setting in order:
                    times[setting].append(save(program, work, Path(scratch), SETTINGS[setting]))
            medians = {setting: statistics.median(values) for setting, values in times.items()}
            best = min(value for setting, value in medians.items() if setting != PLAN)
            cells = " | ".join(f"{value:.2f}" for value in medians.values())
            print(f"| {name or path.name} | {cells} | {best / medians[PLAN]:.2f} |", flush=True)


def same_disk(path: Path, other: Path) -> bool:
    return path.stat().st_dev == other.stat().st_dev


if __name__ == "__main__":
    main()
