"""Scores the samples of the rollout."""

import json

from client import read, write

with open(read("rollout.json")["paths"]["samples_jsonl"]) as file:
    rewards = [json.loads(line)["reward"] for line in file]
score = sum(rewards) / len(rewards)
write("metrics.json", {"ok": score == 1.0, "score": score, "eval": {"samples": len(rewards)}})
print("score", score)
