#!/bin/sh
# Runs count_words on every case: prints `expected|found|text` a line, texts
# with their tabs written as \t, the way eval/cases.txt has them.
set -eu
cd "$(dirname "$0")/.."
. src/words.sh

while IFS='|' read -r expected text; do
    found=$(count_words "$(printf '%b' "$text")")
    printf '%s|%s|%s\n' "$expected" "$found" "$text"
done <eval/cases.txt
