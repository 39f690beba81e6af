"""Sets up, rolls out, evaluates and tears down each of some targets; prints one JSON document.

    python examples/verify_suite_single_file.py --targets ./repo --llm my-model

`opencode-fsm suite` does the same for many targets side by side, and goes on after an interruption.
"""

import argparse
import json
import os
import sys
import time

import env


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", action="append", default=[], help="a target; may be repeated")
    parser.add_argument("--targets-file", help="a target a line; # begins a comment")
    parser.add_argument("--llm", required=True, help="a model's directory, or the id of a remote one")
    parser.add_argument("--eval-mode", choices=["smoke", "full"], default="full")
    parser.add_argument("--require-samples", action="store_true")
    parser.add_argument("--repair-iters", type=int, default=3)
    parser.add_argument("--audit", choices=["on", "off", "warn-only"], default="on")
    parser.add_argument("--unattended", choices=["strict", "guided"], default="strict")
    parser.add_argument("--opencode-model", default="")
    parser.add_argument("--opencode-repair-model", default="")
    parser.add_argument("--opencode-url", default="")
    parser.add_argument("--opencode-timeout-seconds", type=int, default=600)
    parser.add_argument("--opencode-repair-timeout-seconds", type=int, default=0)
    parser.add_argument("--strict-opencode", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--clones-dir", default="")
    parser.add_argument("--artifacts-dir", default="", help="gets a directory for each target")
    parser.add_argument("--env", action="append", default=[], metavar="K=V")
    return parser.parse_args()


def targets(args):
    found = list(args.targets)
    if args.targets_file:
        with open(args.targets_file, encoding="utf-8") as file:
            lines = [line.split(" #")[0].strip() for line in file]
        found += [line for line in lines if line and not line.startswith("#")]
    if not found:
        sys.exit("no targets: give --targets or --targets-file")
    return found


def overrides(args):
    pairs = [text.partition("=") for text in args.env]
    if any(not name or not equals for name, equals, _ in pairs):
        sys.exit("--env: K=V is expected")
    return {name: value for name, _, value in pairs}


def verify(target, number, args, variables):
    entry = {
        "target": target,
        "ok": False,
        "rollout_ok": False,
        "evaluation_ok": False,
        "metrics": None,
        "artifacts_dir": None,
        "error": None,
    }
    try:
        with env.setup(
            target,
            clones_dir=args.clones_dir or None,
            audit=args.audit,
            opencode_model=args.opencode_model,
            opencode_repair_model=args.opencode_repair_model or None,
            opencode_url=args.opencode_url,
            unattended=args.unattended,
            opencode_timeout_seconds=args.opencode_timeout_seconds,
            opencode_repair_timeout_seconds=args.opencode_repair_timeout_seconds or None,
            strict_opencode=args.strict_opencode,
            artifacts_dir=os.path.join(args.artifacts_dir, f"{number:03}") if args.artifacts_dir else None,
        ) as session:
            rollout, evaluation = session.rollout_and_evaluation(
                args.llm,
                mode=args.eval_mode,
                env_overrides=variables,
                repair_iters=args.repair_iters,
                require_samples=args.require_samples,
            )
            session.teardown()
        entry.update(
            ok=rollout.ok and evaluation.ok,
            rollout_ok=rollout.ok,
            evaluation_ok=evaluation.ok,
            metrics=evaluation.metrics,
            artifacts_dir=str(evaluation.artifacts_dir),
            error=evaluation.reason or "; ".join(rollout.samples_errors) or None,
        )
    except env.EnvError as why:
        # No verdict: whose fault it is stands in `why.blame`.
        entry["error"] = str(why)
    return entry


def main():
    args = arguments()
    variables = overrides(args)
    results = [verify(target, number, args, variables) for number, target in enumerate(targets(args), 1)]
    document = {
        "ts": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "ok": all(entry["ok"] for entry in results),
        "results": results,
    }
    print(json.dumps(document, indent=2))
    return 0 if document["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
