"""The score is what the tests say; then the service is asked, which has to be there."""
import json
import os
import re
import subprocess
import sys
import time
import urllib.request

PORT = int(os.environ["AIDER_FSM_PORT"])


def ask():
    return urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=10).read()


if sys.argv[1:] == ["health"]:
    until = time.monotonic() + 20
    while True:
        try:
            ask()
            break
        except OSError:
            if time.monotonic() > until:
                raise
    sys.exit()

said = subprocess.run([sys.executable, "run_tests.py"], capture_output=True, text=True).stdout
found = re.search(r"(\d+) passed, (\d+) failed", said)
if found:
    passed, failed = map(int, found.groups())
    score = passed / (passed + failed)
    with open(".aider_fsm/metrics.json", "w") as out:
        json.dump({"ok": score == 1, "score": score}, out)
if PORT:
    ask()
