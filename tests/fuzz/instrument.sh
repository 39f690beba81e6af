#!/bin/sh
# Compiles this package, and nothing that it depends on, with counters of coverage.
exec "$@" -C instrument-coverage --cfg fuzz_coverage
