# Functions about the words of a text. Source this file.

# split_words TEXT: the words of TEXT, one a line.
split_words() {
    printf '%s\n' "$1" | tr ' ' '\n'
}

# count_words TEXT: how many words TEXT holds.
count_words() {
    split_words "$1" | grep -c '' || true
}

# longest_word TEXT: the longest word of TEXT, the first of equals.
longest_word() {
    split_words "$1" | {
        best=
        while IFS= read -r word; do
            if [ "${#word}" -gt "${#best}" ]; then
                best=$word
            fi
        done
        printf '%s\n' "$best"
    }
}
