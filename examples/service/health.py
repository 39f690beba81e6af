"""Waits until the service answers."""

import time

from client import get, read

deadline = time.monotonic() + 20
while True:
    try:
        print(get(read("runtime_env.json")["service"]["health_url"]))
        break
    except (OSError, ValueError):
        if time.monotonic() > deadline:
            raise
        time.sleep(0.05)
