"""Asks the service and keeps what it says: samples for the evaluation."""

import json
import os
import time

from client import ARTIFACTS, ask, write

samples = []
for n in range(20):
    question, expected = "%d+%d" % (n, n * n), str(n + n * n)
    completion = ask(question)
    samples.append({"prompt": question, "completion": completion, "reward": float(completion == expected)})

path = os.path.join(ARTIFACTS, "rollout_samples_%d.jsonl" % time.time())
with open(path, "w") as file:
    file.writelines(json.dumps(sample) + "\n" for sample in samples)
correct = sum(sample["reward"] == 1.0 for sample in samples)
write("rollout.json", {
    "ok": True,
    "mode": "smoke",
    "counts": {"samples": len(samples), "correct": correct, "errors": 0},
    "paths": {"samples_jsonl": path},
})
