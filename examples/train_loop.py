"""The smallest training loop: samples of a target go in, a policy comes out.

    python examples/train_loop.py ./repo --llm ./policy --out ./policy --steps 3

The policy is a directory; named as the model, too, it is what the target's rollout reads
(``AIDER_TRAINED_MODEL_DIR``). A real trainer writes weights there. What it learns from are the samples: prompt,
completion, reward.
"""

import argparse
import json
import pathlib

import env


def samples_of(rollout):
    path = json.loads(rollout.rollout_path.read_text())["paths"]["samples_jsonl"]
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def update(policy, samples):
    """In place of a gradient: keeps the best answer to each prompt. Returns the mean reward."""
    path = policy / "answers.json"
    best = json.loads(path.read_text()) if path.exists() else {}
    for sample in samples:
        known = best.get(sample["prompt"])
        if known is None or sample["reward"] > known["reward"]:
            best[sample["prompt"]] = {"completion": sample["completion"], "reward": sample["reward"]}
    path.write_text(json.dumps(best, indent=2))
    return sum(sample["reward"] for sample in samples) / len(samples)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--llm", default="model", help="who answers; a directory is shown inside")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with env.setup(args.target) as session:
        for step in range(1, args.steps + 1):
            rollout = session.rollout(args.llm, mode="smoke", require_samples=True)
            if not rollout.ok:
                # A verdict about the target. What is nobody's fault is an exception, and no reward.
                raise SystemExit(f"step {step}: {rollout.verify.reason or rollout.samples_errors}")
            print(f"step {step}: mean reward {update(args.out, samples_of(rollout)):.3f}")
        evaluation = session.evaluation()
        print("metrics", json.dumps(evaluation.metrics))
        session.teardown()


if __name__ == "__main__":
    main()
