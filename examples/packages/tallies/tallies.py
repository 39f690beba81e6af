"""How often each word comes."""

from collections import Counter


def tally(words):
    return dict(sorted(Counter(words).items()))
