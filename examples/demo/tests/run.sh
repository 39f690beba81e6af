#!/bin/sh
# The unit tests: prints one line a test, fails when any of them failed.
set -u
cd "$(dirname "$0")/.." || exit 2
. src/words.sh

failed=0

# check NAME EXPECTED FOUND
check() {
    if [ "$2" = "$3" ]; then
        echo "ok      $1"
    else
        echo "FAILED  $1: expected '$2', found '$3'"
        failed=$((failed + 1))
    fi
}

check 'counts words'                  3      "$(count_words 'one two three')"
check 'counts a single word'          1      "$(count_words 'one')"
check 'counts no word in an empty text' 0    "$(count_words '')"
check 'takes several spaces as one'   2      "$(count_words 'one   two')"
check 'ignores spaces at both ends'   2      "$(count_words '  one two ')"
check 'finds the longest word'        three  "$(longest_word 'one three two')"
check 'prefers the first of equals'   one    "$(longest_word 'one two')"

if [ "$failed" -gt 0 ]; then
    echo "$failed tests failed"
    exit 1
fi
echo 'all tests passed'
