#!/usr/bin/env python3
"""Runs every rig in full, in parts, and writes their counts into docs/reliability.md.

    full.py [--seed N] [--jobs N] [--hours H] [NAME...]

What was done is kept in target/torture: a run that is stopped goes on where it was, as long as the
sources are the same. Each part has a seed of its own, which its test prints and which repeats it. A
part that fails is kept with all that it said, and is tried again only if its file is removed.
"""

import argparse
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "target" / "torture"
DOCUMENT = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- counts of just torture -->\n", "<!-- end of counts -->\n"


class Rig:
    """A test, how often it runs with what, and how its counts are told."""

    def __init__(self, name, test, function, parts, sizes, row, told):
        self.name, self.test, self.function = name, test, function
        self.parts, self.sizes, self.row, self.told = parts, sizes, row, told


RIGS = [
    Rig("power-cuts", "torture", "no_power_cut_loses_what_was_reported", 40,
        {"DIGSTORE_TORTURE_IMAGES": 25_000},
        "random sequences of 8 commands, power cut or killed at every call", "{runs} images"),
    Rig("recoveries", "torture", "recovery_survives_crashes_of_its_own", 10,
        {"DIGSTORE_TORTURE_RECOVERIES": 10_000},
        "the same, again inside the recovery", "{runs} images"),
    Rig("short-sequences", "torture", "all_short_sequences_survive_a_crash_at_every_call", 32,
        {"DIGSTORE_TORTURE_LENGTH": 3},
        "all sequences of three commands, at every call", "{sequences} sequences, {runs} images"),
    Rig("init", "torture", "a_killed_init_leaves_no_repository_or_a_whole_one", 1, {},
        "`init`, at every call", "{runs} images"),
    Rig("failed-calls", "torture", "any_call_may_fail_and_nothing_reported_is_lost", 1,
        {"DIGSTORE_TORTURE_FAULT_STEP": 1},
        "every call of every command failing once, or for ever from there on, with one of seven errors",
        "{runs} states"),
    Rig("rot", "torture", "rot_is_found_or_does_nothing", 20, {"DIGSTORE_TORTURE_ROT": 50_000},
        "one flipped bit, one cut, or one page of zeros in any file of a repository",
        "{runs} changes: {found} found, {harmless} without effect, {log-ends} ends of logs"),
    Rig("kills-at-calls", "rigs", "kills::a_kill_before_any_system_call", 11, {"DIGSTORE_KILLS": 1000},
        "the binary killed at a system call, chosen at random among all of all commands",
        "{runs} runs, {killed} killed"),
    Rig("kills-at-times", "rigs", "kills::a_kill_at_any_moment", 14, {"DIGSTORE_DELAYED_KILLS": 1000},
        "the binary killed at any moment", "{runs} runs, {killed} killed"),
    Rig("repairs", "rigs", "repairs::a_repair", 4, {"DIGSTORE_REPAIRS": 500},
        "`store repair --apply` killed at a system call", "{runs} runs, {killed} killed"),
    Rig("obliterates", "rigs", "cleanups::an_obliterate", 2, {"DIGSTORE_OBLITERATES": 500},
        "`obliterate` killed at a system call, and run again", "{runs} runs, {killed} killed, {finished} finished by the next"),
    Rig("full-disks", "rigs", "disks::a_full_disk", 5, {"DIGSTORE_FULL_DISKS": 100},
        "commands on file systems with room for any number of bytes or files",
        "{runs} runs, {full} with too little room"),
    Rig("failing-calls", "rigs", "disks::a_call_that_fails", 4, {"DIGSTORE_FAULTS": 1000},
        "a system call of the binary failing once or for ever", "{runs} runs, {failed} failed"),
    Rig("short-writes", "rigs", "disks::a_write_that_is_cut_short", 4, {"DIGSTORE_FAULTS": 1000},
        "a write of the binary cut short", "{runs} runs, {failed} failed"),
    Rig("links", "rigs", "swaps::a_directory_that_becomes_a_link", 4, {"DIGSTORE_SWAPS": 2500},
        "directories that become links while commands run", "{runs} runs, {swaps} changes"),
    Rig("truncations", "rigs", "swaps::a_file_cut_short", 4, {"DIGSTORE_TRUNCATIONS": 2500},
        "files cut short while they are added", "{runs} runs, {cuts} cuts"),
    Rig("processes", "rigs", "thrash::eight_processes", 6, {"DIGSTORE_THRASH_SECONDS": 600},
        "eight processes at once, stopped and killed, for an hour",
        "{runs} commands, {commits} commits, {kills} kills, {stops} stops"),
]


def sources():
    """A name of the sources: results are of one only."""
    told = subprocess.run(["git", "rev-parse", "HEAD:src"], cwd=ROOT, capture_output=True, text=True, check=True)
    if subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "src"], cwd=ROOT, check=False).returncode:
        sys.exit("the sources have changes that are not committed: counts would be of nothing that has a name")
    return told.stdout.strip()[:12]


def build():
    """The test programs, by their names."""
    command = ["cargo", "test", "--release", "--locked", "--no-run", "--test", "torture", "--test", "rigs"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if built.returncode:
        sys.exit(built.stderr)
    found = re.findall(r"Executable tests/(\w+)/main\.rs \((\S+)\)", built.stderr)
    return {name: ROOT / path for name, path in found}


def one_part(rig, part, seed, program, kept):
    environment = os.environ | {key: str(value) for key, value in rig.sizes.items()} | {
        "DIGSTORE_TORTURE_SEED": str(seed), "DIGSTORE_RIG_SEED": str(seed),
        "DIGSTORE_TORTURE_PART": str(part), "DIGSTORE_TORTURE_PARTS": str(rig.parts), "RUST_BACKTRACE": "0",
    }
    begun = time.time()
    ran = subprocess.run([program, rig.function, "--nocapture", "--test-threads", "1"],
                         cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace", check=False)
    told = re.search(r"rig: [^:]+: (.*)", ran.stdout)
    counts = dict(re.findall(r"([\w-]+)=(\d+)", told.group(1))) if told else {}
    is_fine = ran.returncode == 0 and told is not None
    if not is_fine:
        (kept / f"{rig.name}-{part}.log").write_text(ran.stdout + ran.stderr)
    result = {"seed": seed, "fine": is_fine, "counts": counts, "seconds": round(time.time() - begun)}
    (kept / f"{rig.name}-{part}.json").write_text(json.dumps(result))
    print(f"{rig.name} {part + 1}/{rig.parts}: {'fine' if is_fine else 'FAILED'}, {result['seconds']} s", flush=True)
    return is_fine


def results(rig, kept):
    files = [kept / f"{rig.name}-{part}.json" for part in range(rig.parts)]
    return [json.loads(file.read_text()) for file in files if file.exists()]


class Sums(dict):
    """What no part has counted is 0."""

    def __missing__(self, key):
        return "0"


def row(rig, kept):
    done = results(rig, kept)
    if not done:
        return f"| {rig.row} | not run | |"
    names = {name for part in done for name in part["counts"] if name != "seed"}
    sums = Sums({name: f"{sum(int(part['counts'].get(name, 0)) for part in done):,}" for name in names})
    share = "" if len(done) == rig.parts else f" ({len(done)} of {rig.parts} parts)"
    wrong = sum(not part["fine"] for part in done)
    return f"| {rig.row} | {rig.told.format_map(sums)}{share} | {wrong} |"


def write_document(kept, name, first):
    text = DOCUMENT.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    rows = [row(rig, kept) for rig in RIGS]
    table = ["| rig | counts | found wrong |", "|---|---|---|", *rows]
    made = f"Counts of the sources `{name}` (`git rev-parse HEAD:src`); the seeds begin with {first}."
    DOCUMENT.write_text(text[:begin] + "\n".join(table) + f"\n\n{made}\n" + text[end:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only these rigs")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--hours", type=float, default=1000, help="begin no part after so long")
    arguments = parser.parse_args()
    name, programs = sources(), build()
    kept = KEPT / name
    kept.mkdir(parents=True, exist_ok=True)
    seed_file = kept / "seed"
    if not seed_file.exists():
        seed_file.write_text(str(arguments.seed))
    first, until = int(seed_file.read_text()), time.time() + arguments.hours * 3600
    wanted = [rig for rig in RIGS if not arguments.names or rig.name in arguments.names]
    numbers = {rig.name: 1000 * index for index, rig in enumerate(RIGS)}
    todo = [(rig, part) for rig in wanted for part in range(rig.parts)
            if not (kept / f"{rig.name}-{part}.json").exists()]

    def run(task):
        rig, part = task
        if time.time() > until:
            return True
        return one_part(rig, part, first + numbers[rig.name] + part, programs[rig.test], kept)

    try:
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            fine = all(list(pool.map(run, todo)))
    finally:
        write_document(kept, name, first)
    if not fine:
        sys.exit(f"some failed: see {kept}")


if __name__ == "__main__":
    main()
