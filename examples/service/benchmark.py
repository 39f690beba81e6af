"""Measures the service: requests in a second."""

import time

from client import ask, write

began, count = time.monotonic(), 0
while time.monotonic() - began < 1:
    assert ask("40+2") == "42"
    count += 1
rate = count / (time.monotonic() - began)
write("benchmark.json", {"ok": True, "score": rate, "throughput": {"requests_per_second": rate}})
