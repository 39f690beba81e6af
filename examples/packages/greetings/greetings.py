"""A greeting, in numerals of another package."""

from romans import roman


def greeting(name, times):
    return f"Hello {name}, {roman(times)} times"
