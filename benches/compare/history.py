#!/usr/bin/env python3
"""Makes a git repository with a long history, the same for the same arguments.

    history.py DIR [--commits N] [--crates DIR]

Successive released versions of packages (the archives below ~/.cargo/registry/cache, or what --crates
names) are committed piece by piece onto several branches, with merges, tags of both kinds, renames,
executable bits, symbolic links, binary files and odd names in between. What git says of the result is
printed. Needs git only; no network.
"""

import argparse
import io
import pathlib
import random
import re
import subprocess
import sys
import tarfile

SECONDS = 1_500_000_000


class Stream:
    """Writes for git fast-import; keeps of each branch what it holds."""

    def __init__(self, out):
        self.out, self.mark, self.time = out, 0, SECONDS

    def write(self, text):
        self.out.write(text if isinstance(text, bytes) else text.encode())

    def data(self, data):
        self.write(f"data {len(data)}\n")
        self.write(data)
        self.write("\n")

    def blob(self, data):
        self.mark += 1
        self.write(f"blob\nmark :{self.mark}\n")
        self.data(data)
        return self.mark

    def commit(self, branch, message, changes, merge=None, start=None):
        """`changes`: path (bytes) to (mode, mark), or to None where it goes."""
        prepared = []
        for path, change in changes.items():
            if change is not None and isinstance(change[1], bytes):
                change = (change[0], self.blob(change[1]))
            prepared.append((path, change))
        self.mark += 1
        self.time += 977
        zone = ["+0000", "+0200", "-0530"][self.mark % 3]
        who = ["Ada Test <ada@example.org>", "Bénédicte <b@example.org>"][self.mark % 2]
        self.write(f"commit refs/heads/{branch}\nmark :{self.mark}\n")
        self.write(f"author {who} {self.time - 60} {zone}\ncommitter {who} {self.time} +0100\n")
        self.data(message.encode())
        if start:
            self.write(f"from :{start}\n")
        if merge:
            self.write(f"merge :{merge}\n")
        for path, change in sorted(prepared, key=lambda item: item[1] is not None):
            if change is None:
                self.write(b"D " + quoted(path) + b"\n")
            else:
                self.write(f"M {change[0]} :{change[1]} ".encode() + quoted(path) + b"\n")
        self.write("\n")
        return self.mark

    def tag(self, name, commit, message=None):
        if message is None:
            self.write(f"reset refs/tags/{name}\nfrom :{commit}\n\n")
        else:
            self.write(f"tag {name}\nfrom :{commit}\ntagger Tag Er <t@example.org> {self.time} +0300\n")
            self.data(message.encode())


def quoted(path):
    return b'"' + b"".join(b"\\%03o" % byte if byte in b'"\\\n' or byte > 126 else bytes([byte]) for byte in path) + b'"'


def releases(root):
    """Archives by package, each package's in order of version."""
    found = {}
    for path in root.rglob("*.crate"):
        match = re.fullmatch(r"(.+?)-(\d+\.\d+\.\d+.*)\.crate", path.name)
        if match:
            version = [int(part) for part in re.findall(r"\d+", match[2])]
            found.setdefault(match[1], []).append((version, path))
    return [(name, [path for _, path in sorted(found[name])]) for name in sorted(found)]


def members(archive):
    """Path and (mode, bytes) of each file of a release, without its top directory."""
    with tarfile.open(archive) as tar:
        for member in tar:
            path = member.name.partition("/")[2].encode()
            if member.isfile() and path and b".git/" not in path:
                mode = "100755" if member.mode & 0o100 else "100644"
                yield path, (mode, tar.extractfile(member).read())


def odd(dice, number):
    """Now and then something that tests a version control system."""
    kind = number % 40
    name = b"odd/%d" % (number % 400)
    if kind == 3:
        return {name + " é\t".encode() + b'"q"': ("100644", b"odd name %d\n" % number)}
    if kind == 9:
        return {name + b"-link": ("120000", b"../odd/%d" % number)}
    if kind == 17:
        return {name + b".bin": ("100644", dice.randbytes(20_000))}
    if kind == 23:
        return {b"odd/run.sh": (["100644", "100755"][number // 40 % 2], b"#!/bin/sh\n")}
    if kind == 29:
        return {b"odd/turn": ("100644", b"file\n"), b"odd/turn/in": None} if number // 40 % 2 else {
            b"odd/turn": None, b"odd/turn/in": ("100644", b"in a directory\n")}
    return {}


def build(stream, packages, wanted):
    dice = random.Random(4)
    done, heads, side = 0, {}, 0
    while done < wanted:
        for name, archives in packages:
            previous = {}
            for archive in archives:
                files = dict(members(archive))
                top = f"{name}/".encode()
                changes = {top + path: None for path in previous if path not in files}
                changes |= {top + path: file for path, file in files.items() if previous.get(path) != file}
                previous = files
                items = sorted(changes.items())
                step = dice.randint(1, 6)
                for start in range(0, len(items), step):
                    piece = dict(items[start:start + step]) | odd(dice, done)
                    heads["main"] = stream.commit("main", f"{archive.stem}: part {start}\n", piece)
                    done += 1
                    if done % 50 == 0:
                        side += 1
                        branch = f"side/{side % 7}"
                        path = b"side/%d.txt" % side
                        tip = stream.commit(branch, f"side {side}", {path: ("100644", b"%d\n" % side)}, start=heads["main"])
                        tip = stream.commit(branch, "more", {path: ("100644", b"more %d\n" % side)})
                        heads["main"] = stream.commit("main", f"Merge {branch}", {path: ("100644", b"more %d\n" % side)}, merge=tip)
                        done += 3
                    if done % 400 < step:
                        stream.tag(f"light/{done}", heads["main"])
                    if done >= wanted:
                        break
                stream.tag(f"{name}-{done}", heads["main"], f"release {archive.stem}\n")
                if done >= wanted:
                    return
                for path in list(previous)[:1]:
                    moved = top + b"moved/" + path
                    heads["main"] = stream.commit("main", "Move a file", {top + path: None, moved: previous[path]})
                    previous.pop(path)
                    done += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--commits", type=int, default=3000)
    parser.add_argument("--crates", type=pathlib.Path, default=pathlib.Path.home() / ".cargo/registry/cache")
    arguments = parser.parse_args()
    packages = releases(arguments.crates)
    if not packages:
        sys.exit(f"no archives below '{arguments.crates}'")
    subprocess.run(["git", "init", "-q", "--bare", "--initial-branch=main", arguments.directory], check=True)
    git = ["git", "-C", str(arguments.directory)]
    process = subprocess.Popen([*git, "fast-import", "--quiet"], stdin=subprocess.PIPE)
    with io.BufferedWriter(process.stdin, 1 << 20) as out:
        build(Stream(out), packages, arguments.commits)
    if process.wait() != 0:
        sys.exit("git fast-import failed")
    subprocess.run([*git, "gc", "-q"], check=True)
    for question in (["rev-list", "--all", "--count"], ["count-objects", "-vH"]):
        print(subprocess.run([*git, *question], check=True, capture_output=True, text=True).stdout.strip())


if __name__ == "__main__":
    main()
