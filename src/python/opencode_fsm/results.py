"""What a call comes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional


class CmdResult:
    """One command. Its texts are read from the call's artifacts when they are asked for."""

    __slots__ = ("_shown", "_files", "rc", "timed_out")

    def __init__(self, shown: str, files: Path, rc: int, timed_out: bool) -> None:
        self._shown = shown
        self._files = files
        self.rc = rc
        """The exit code; 124 for a cap on time, 126 for what a policy refused, 128 + n for signal n."""
        self.timed_out = timed_out
        """A cap on time ended it."""

    def _read(self, name: str) -> Optional[str]:
        try:
            path = self._files.with_name(self._files.name + name)
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    @property
    def cmd(self) -> str:
        """The command."""
        text = self._read("_cmd.txt")
        return self._shown if text is None else text[:-1] if text.endswith("\n") else text

    @property
    def stdout(self) -> str:
        """What it printed: the first 2 MB."""
        return self._read("_stdout.txt") or ""

    @property
    def stderr(self) -> str:
        """As ``stdout``."""
        return self._read("_stderr.txt") or ""

    def __repr__(self) -> str:
        return f"CmdResult(cmd={self._shown!r}, rc={self.rc}, timed_out={self.timed_out})"


@dataclass(frozen=True)
class StageResult:
    """One stage."""

    ok: bool
    results: List[CmdResult]
    """Its commands, repetitions included; the last 200."""
    failed_index: Optional[int] = None
    """The command that failed, from 0."""


@dataclass(frozen=True)
class VerificationResult:
    """All stages of a call."""

    ok: bool
    failed_stage: Optional[str] = None
    bootstrap: Optional[StageResult] = None
    auth: Optional[StageResult] = None
    tests: Optional[StageResult] = None
    deploy_setup: Optional[StageResult] = None
    deploy_health: Optional[StageResult] = None
    rollout: Optional[StageResult] = None
    evaluation: Optional[StageResult] = None
    benchmark: Optional[StageResult] = None
    metrics_path: Optional[Path] = None
    metrics: Optional[Dict[str, Any]] = None
    metrics_errors: Optional[List[str]] = None
    reason: Optional[str] = None
    """Why it failed, in one line."""
    blame: Optional[str] = None
    """Who failed: verifier, provider, policy, budget or user."""
    cap: Optional[str] = None
    """The cap that ended it."""
    model: Optional[Dict[str, int]] = None
    """What it used of its model: calls, failed, input_tokens, output_tokens."""


@dataclass(frozen=True)
class DeployCallResult:
    """A deployment."""

    ok: bool
    artifacts_dir: Path
    runtime_env_path: Optional[Path]
    runtime_env: Optional[Dict[str, Any]]
    verify: VerificationResult


@dataclass(frozen=True)
class RolloutCallResult:
    """A rollout."""

    ok: bool
    artifacts_dir: Path
    rollout_path: Optional[Path]
    """``rollout.json``; ``paths.samples_jsonl`` in it names a file of this host."""
    verify: VerificationResult
    samples_errors: List[str]
    """What is wrong with the samples."""


@dataclass(frozen=True)
class EvaluationCallResult:
    """An evaluation."""

    ok: bool
    artifacts_dir: Path
    metrics_path: Optional[Path]
    metrics: Optional[Dict[str, Any]]
    verify: VerificationResult
    reason: Optional[str]
    """Why it is not ok, in one line."""


def _path(value: Optional[str]) -> Optional[Path]:
    return None if value is None else Path(value)


def _stage(value: Optional[Mapping[str, Any]], directory: Path) -> Optional[StageResult]:
    if value is None:
        return None
    results = [
        CmdResult(line["cmd"], directory / line["files"], line["rc"], line["timed_out"]) for line in value["results"]
    ]
    return StageResult(ok=value["ok"], results=results, failed_index=value["failed_index"])


def _verification(value: Mapping[str, Any], directory: Path) -> VerificationResult:
    stages = ("bootstrap", "auth", "tests", "deploy_setup", "deploy_health", "rollout", "evaluation", "benchmark")
    return VerificationResult(
        ok=value["ok"],
        failed_stage=value["failed_stage"],
        metrics_path=_path(value["metrics_path"]),
        metrics=value["metrics"],
        metrics_errors=list(value["metrics_errors"]) or None,
        reason=value["reason"],
        blame=value["blame"],
        cap=value["cap"],
        model=value["model"],
        **{name: _stage(value[name], directory) for name in stages},
    )


def deployed(value: Mapping[str, Any]) -> DeployCallResult:
    """Of an answer to ``deploy``."""
    directory = Path(value["artifacts_dir"])
    return DeployCallResult(
        ok=value["ok"],
        artifacts_dir=directory,
        runtime_env_path=_path(value["runtime_env_path"]),
        runtime_env=value["runtime_env"],
        verify=_verification(value["verify"], directory),
    )


def rolled_out(value: Mapping[str, Any]) -> RolloutCallResult:
    """Of an answer to ``rollout``."""
    directory = Path(value["artifacts_dir"])
    return RolloutCallResult(
        ok=value["ok"],
        artifacts_dir=directory,
        rollout_path=_path(value["rollout_path"]),
        verify=_verification(value["verify"], directory),
        samples_errors=list(value["samples_errors"]),
    )


def evaluated(value: Mapping[str, Any]) -> EvaluationCallResult:
    """Of an answer to ``evaluation``."""
    directory = Path(value["artifacts_dir"])
    return EvaluationCallResult(
        ok=value["ok"],
        artifacts_dir=directory,
        metrics_path=_path(value["metrics_path"]),
        metrics=value["metrics"],
        verify=_verification(value["verify"], directory),
        reason=value["reason"],
    )
