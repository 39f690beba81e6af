"""Doubles numbers, if only it did."""


def double(x):
    return x + 2


def asked():
    """The service was asked for something."""
