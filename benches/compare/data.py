#!/usr/bin/env python3
"""Makes data of known kinds, the same for the same seed.

    data.py mixed FILE SIZE [--seed N]    compressible to about half, 30 % of it repeated
    data.py random FILE SIZE [--seed N]   does not compress
    data.py sparse FILE SIZE DATA         SIZE bytes with DATA bytes in islands, holes between
    data.py files DIR COUNT BYTES         COUNT files of BYTES bytes, 100 to a directory
    data.py flat DIR COUNT BYTES          COUNT files of BYTES bytes in one directory
    data.py edit FILE [--seed N]          100 bytes put in near the start, 64 places of 4 KiB overwritten

Sizes take K, M and G: powers of 1024.
"""

import argparse
import random
import shutil
from pathlib import Path

MIB = 1 << 20
# 16 of 256 values: four bits in a byte are information.
NARROW = bytes(b"etaoin shrdlu\n.,"[n % 16] for n in range(256))


def size(text: str) -> int:
    unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1].upper())
    return int(float(text[:-1]) * unit) if unit else int(text)


def mixed(path: Path, length: int, seed: int) -> None:
    """Blocks of some MiB; three in ten come again from anywhere before, at another offset."""
    rng = random.Random(seed)
    with path.open("w+b") as out:
        done = 0
        while done < length:
            count = min(rng.randrange(MIB, 8 * MIB), length - done)
            if done > 64 * MIB and rng.random() < 0.3:
                back = rng.randrange(0, done - count)
                out.flush()
                with path.open("rb") as before:
                    before.seek(back)
                    block = before.read(count)
            else:
                block = rng.randbytes(count)
                if rng.random() < 0.9:
                    block = block.translate(NARROW)
            out.write(block)
            done += len(block)


def noise(path: Path, length: int, seed: int) -> None:
    rng = random.Random(seed)
    with path.open("wb") as out:
        for at in range(0, length, 4 * MIB):
            out.write(rng.randbytes(min(4 * MIB, length - at)))


def sparse(path: Path, length: int, data: int, seed: int) -> None:
    """Islands of 16 MiB, evenly spread, none of them on a block boundary."""
    rng = random.Random(seed)
    islands = max(1, data // (16 * MIB))
    with path.open("wb") as out:
        for number in range(islands):
            out.seek(number * (length // islands) + 12_345)
            out.write(rng.randbytes(min(16 * MIB, data)).translate(NARROW))
        out.truncate(length)


def files(directory: Path, count: int, length: int, seed: int, per_dir: int) -> None:
    rng = random.Random(seed)
    for number in range(count):
        if number % per_dir == 0:
            place = directory / f"{number // per_dir:05}" if per_dir < count else directory
            place.mkdir(parents=True, exist_ok=True)
        with open(f"{place}/{number:07}.dat", "wb", buffering=0) as out:
            out.write(rng.randbytes(length).translate(NARROW))


def edit(path: Path, seed: int) -> None:
    rng = random.Random(seed)
    length = path.stat().st_size
    other = path.with_name(path.name + ".edit")
    with path.open("rb") as old, other.open("w+b") as new:
        new.write(old.read(1000))
        new.write(rng.randbytes(100))
        shutil.copyfileobj(old, new, MIB)
        for _ in range(64):
            new.seek(rng.randrange(max(1, length - 4096)))
            new.write(rng.randbytes(min(4096, length)))
    other.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kind", choices=["mixed", "random", "sparse", "files", "flat", "edit"])
    parser.add_argument("path", type=Path)
    parser.add_argument("numbers", type=size, nargs="*")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    path, seed = args.path, args.seed
    match args.kind, args.numbers:
        case "mixed", [length]:
            mixed(path, length, seed)
        case "random", [length]:
            noise(path, length, seed)
        case "sparse", [length, data]:
            sparse(path, length, data, seed)
        case "files", [count, length]:
            files(path, count, length, seed, 100)
        case "flat", [count, length]:
            files(path, count, length, seed, count)
        case "edit", []:
            edit(path, seed)
        case _:
            parser.error("these numbers do not fit; see --help")


if __name__ == "__main__":
    main()
