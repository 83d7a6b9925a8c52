#!/bin/sh
# Saves a directory with Digstore, restores it elsewhere and compares every byte.
#
#     sh docs/demo.sh [DIR]      DIR defaults to this checkout
#
# DIR is only read: repository and restored copy lie in a scratch directory that is removed at the
# end. DIGSTORE names a binary to use instead of building one.
set -eu

checkout=$(cd "$(dirname "$0")/.." && pwd)
dir=$(cd "${1:-$checkout}" && pwd -P)
scratch=$(mktemp -d)
scratch=$(cd "$scratch" && pwd -P)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

fail() {
    printf 'FAILED: %s\n' "$1" >&2
    exit 1
}

case "$scratch/" in
"${dir%/}"/*) fail "the scratch directory $scratch lies inside $dir; set TMPDIR to a place outside" ;;
esac

if [ -z "${DIGSTORE:-}" ]; then
    (cd "$checkout" && cargo build --release --locked --quiet)
    target=${CARGO_TARGET_DIR:-target}
    DIGSTORE=$(cd "$checkout" && cd "$target/release" && pwd)/digstore
fi

# Runs digstore on DIR with the scratch repository.
quietly() {
    "$DIGSTORE" --repo "$scratch/demo.digstore" -C "$dir" "$@"
}

# Shows the command, then runs it.
digstore() {
    printf '$ digstore'
    printf ' %s' "$@"
    printf '\n'
    quietly "$@"
    printf '\n'
}

export DIGSTORE_AUTHOR_NAME="${DIGSTORE_AUTHOR_NAME:-Demo}"
export DIGSTORE_AUTHOR_EMAIL="${DIGSTORE_AUTHOR_EMAIL:-demo@localhost}"

digstore init
# 3: some files cannot be stored (FIFOs, unreadable ones); they were named, the rest is stored.
digstore add -A || [ $? -eq 3 ]
digstore commit -m first
digstore log
digstore store size --efficiency

# One file by name: the first that is regular and not empty.
quietly ls -z >"$scratch/paths"
one=$(tr '\0' '\n' <"$scratch/paths" | while IFS= read -r path; do
    if [ -f "$dir/$path" ] && [ ! -L "$dir/$path" ] && [ -s "$dir/$path" ]; then
        printf '%s\n' "$path"
        break
    fi
done)
if [ -n "$one" ]; then
    digstore get -o "$scratch/one" -- "$one"
    cmp -- "$dir/$one" "$scratch/one" || fail "'$one' came back with other bytes"
fi

digstore restore --source HEAD --target "$scratch/restored" .

# The listing and the restored tree name the same number of files and links.
listed=$(tr -dc '\0' <"$scratch/paths" | wc -c | tr -d ' ')
restored=$(find "$scratch/restored" ! -type d -exec printf '%.0s.' {} + | wc -c | tr -d ' ')
[ "$listed" = "$restored" ] || fail "$listed files were listed, $restored were restored"

# Every byte, link target and type. What exists in DIR alone is what Digstore leaves out by rule:
# `.git`, `.digstore`, ignored files. Anything else that diff prints is a difference.
(cd "$dir" && LC_ALL=C diff -rq --no-dereference . "$scratch/restored" >"$scratch/diff" 2>&1) || true
if LC_ALL=C grep -v -e '^Only in \./' -e '^Only in \.: ' "$scratch/diff" >"$scratch/bad"; then
    head -n 20 "$scratch/bad" >&2
    fail "the restored tree differs from $dir"
fi

bytes=$(find "$scratch/restored" -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%.0f", sum }')
printf 'OK: %s files, %s bytes, every byte equal\n' "$restored" "$bytes"
