#!/usr/bin/env python3
"""What durability costs: a first `add -A` and `commit`, with syncing and without.

    durability.py [--reps N] [--scratch DIR] [--digstore PATH] DATA...

DATA is a directory and is only read. Without syncing, a filter of the kernel answers `fsync` and its like
with success before they begin (Linux on x86-64 or aarch64): the binary is the same, so is every other call.
Both are done in turns, in another order each time, behind a `sync`; the table shows medians and their ratio.
What the system writes later, on its own, counts for neither.
"""

import argparse
import ctypes
import os
import platform
import random
import shutil
import statistics
import struct
import subprocess
import tempfile
import time
from pathlib import Path

# sync, fsync, fdatasync, sync_file_range, syncfs, msync
CALLS = {"x86_64": (162, 74, 75, 277, 306, 26), "aarch64": (81, 82, 83, 84, 267, 227)}
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
SUCCEED, ALLOW = 0x00050000, 0x7FFF0000


def leave_out_syncs() -> None:
    """For this process and those that it starts."""
    calls = CALLS[platform.machine()]
    steps = [(LOAD, 0, 0, 0)]
    steps += [(EQUAL, len(calls) - at, 0, call) for at, call in enumerate(calls)]
    steps += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, SUCCEED)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program)):
        if libc.prctl(*arguments, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")


def save(program: str, data: Path, scratch: Path, syncs: bool) -> tuple[float, float]:
    """Seconds of `add -A` and of `commit`."""
    repo = scratch / "repo"
    shutil.rmtree(repo, ignore_errors=True)
    base = [program, "-q", "--repo", str(repo), "-C", str(data)]
    environment = os.environ | {"DIGSTORE_AUTHOR_NAME": "a", "DIGSTORE_AUTHOR_EMAIL": "a@b"}
    subprocess.run([*base, "init"], check=True)
    times = []
    for command in (["add", "-A"], ["commit", "-m", "all"]):
        subprocess.run(["sync"], check=True)
        start = time.perf_counter()
        subprocess.run([*base, *command], check=True, env=environment, stdout=subprocess.DEVNULL,
                       preexec_fn=None if syncs else leave_out_syncs)
        times.append(time.perf_counter() - start)
    return times[0], times[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--reps", type=int, default=7)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--digstore", default="target/release/digstore")
    args = parser.parse_args()
    program = str(Path(args.digstore).resolve())
    print("| data | `add` s | without syncs s | `commit` s | without syncs s | both, ratio |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        for data in args.data:
            times: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
            save(program, Path(data), Path(scratch), True)
            for _ in range(args.reps):
                for syncs in random.sample([True, False], 2):
                    times[syncs].append(save(program, Path(data), Path(scratch), syncs))
            median = {(syncs, at): statistics.median(pair[at] for pair in pairs)
                      for syncs, pairs in times.items() for at in (0, 1)}
            ratio = statistics.median(map(sum, times[True])) / statistics.median(map(sum, times[False]))
            cells = [f"{median[syncs, at]:.3f}" for at in (0, 1) for syncs in (True, False)]
            print(f"| {data} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
