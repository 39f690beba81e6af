#!/bin/sh
# Brings five source distributions without contracts, pinned, from PyPI into a directory, for tests/scaffold.rs.
#   tests/scaffold/sdists.sh DIR
# What is there already is not brought again. pip asks each for its metadata, which may run
# what it brings: they are known ones, and pinned. Their tests need nothing but Python.
set -eu
dir=$1
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
: >"$dir/missing"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for pin in idna==3.7 decorator==5.1.1 polib==1.2.0 mistune==3.0.2 pycparser==2.22; do
    name=${pin%%==*}
    [ ! -s "$dir/$name.tar.gz" ] || continue
    rm -rf "$work/got"
    if python3 -m pip download -q --no-deps --no-binary "$name" -d "$work/got" "$pin" >"$work/why" 2>&1; then
        mv "$work/got"/*.tar.gz "$dir/$name.tar.gz"
    else
        echo "$pin: $(tail -n 1 "$work/why")" | tee -a "$dir/missing" >&2
    fi
done
