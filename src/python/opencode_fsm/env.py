"""A target as an environment: set up, deployed, rolled out, evaluated, torn down, inside the walls.

::

    import env

    session = env.setup("./repo")
    rollout, evaluation = env.rollout_and_evaluation("my-model", session=session)
    print(rollout.rollout_path, evaluation.metrics)
    env.teardown(session=session)

Functions work on the session of the last ``setup`` unless they are given one. A session ends with its
process, however that ends, and with it all that runs inside.
"""

from __future__ import annotations

import logging
import os
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

from . import results, server
from .errors import (
    CancelledError,
    ContractError,
    EnvError,
    EnvNotSetupError,
    LlmError,
    PolicyError,
    ProviderError,
    SandboxError,
    ServerError,
    TargetError,
    UsageError,
)
from .results import (
    CmdResult,
    DeployCallResult,
    EvaluationCallResult,
    RolloutCallResult,
    StageResult,
    VerificationResult,
)

__all__ = [
    "CancelledError",
    "CmdResult",
    "ContractError",
    "DeployCallResult",
    "EnvError",
    "EnvHandle",
    "EnvNotSetupError",
    "EnvSession",
    "EvaluationCallResult",
    "LlmError",
    "PolicyError",
    "ProviderError",
    "RolloutCallResult",
    "SandboxError",
    "ServerError",
    "StageResult",
    "TargetError",
    "UsageError",
    "VerificationResult",
    "current_session",
    "deploy",
    "evaluation",
    "rollout",
    "rollout_and_evaluation",
    "setup",
    "teardown",
]

PathLike = Union[str, "os.PathLike[str]"]
Overrides = Optional[Mapping[str, Any]]

_log = logging.getLogger("opencode_fsm")


@dataclass(frozen=True)
class EnvHandle:
    """What a session was opened on."""

    repo: Union[Path, str]
    """The target: a directory, or what else was named. It is copied, and never written."""
    pipeline_path: Path
    """The contract; relative where the target is no directory."""
    pipeline: Dict[str, List[str]]
    """The contract's commands, by stage."""


@dataclass(eq=False)
class EnvSession:
    """An open environment; ``setup`` makes one. It is a context manager, which closes it."""

    env: EnvHandle
    run_id: str
    unattended: str = "strict"
    opencode_model: str = ""
    opencode_repair_model: str = ""
    opencode_url: str = ""
    opencode_timeout_seconds: int = 300
    require_metrics: bool = True
    command_hints: List[str] = field(default_factory=list)
    hint_anchors: List[str] = field(default_factory=list)
    audit: str = "on"
    runtime_env_path: Optional[Path] = None
    llm_kind: str = ""
    llm_model: Optional[str] = None
    trained_model_dir: Optional[Path] = None
    artifacts_dir: Optional[Path] = None
    """The run's directory."""
    _server: Optional[server.Server] = field(default=None, repr=False)
    _name: str = field(default="", repr=False)

    def deploy(
        self,
        llm: PathLike,
        *,
        mode: str = "smoke",
        env_overrides: Overrides = None,
        artifacts_dir: Optional[PathLike] = None,
        repair_iters: int = 3,
    ) -> DeployCallResult:
        """Deploys in a fresh sandbox. What it starts lives on until the next deployment, a call that fails,
        or the teardown."""
        answer = self._call("deploy", llm, mode, env_overrides, artifacts_dir, repair_iters)
        found = results.deployed(answer)
        self._deployed(found.artifacts_dir, found.ok)
        return found

    def rollout(
        self,
        llm: Optional[PathLike] = None,
        *,
        mode: str = "smoke",
        env_overrides: Overrides = None,
        artifacts_dir: Optional[PathLike] = None,
        repair_iters: int = 3,
        require_samples: bool = False,
    ) -> RolloutCallResult:
        """Deploys in a fresh sandbox, then rolls out."""
        answer = self._call("rollout", llm, mode, env_overrides, artifacts_dir, repair_iters, require_samples)
        found = results.rolled_out(answer)
        self._deployed(found.artifacts_dir, found.ok)
        return found

    def evaluation(
        self,
        *,
        mode: str = "smoke",
        env_overrides: Overrides = None,
        artifacts_dir: Optional[PathLike] = None,
        repair_iters: int = 3,
    ) -> EvaluationCallResult:
        """Evaluates what is deployed; where nothing is, deploys and rolls out before."""
        answer = self._call("evaluation", None, mode, env_overrides, artifacts_dir, repair_iters)
        found = results.evaluated(answer)
        if not found.ok:
            self.runtime_env_path = None
        return found

    def rollout_and_evaluation(
        self,
        llm: Optional[PathLike] = None,
        *,
        mode: str = "smoke",
        env_overrides: Overrides = None,
        artifacts_dir: Optional[PathLike] = None,
        repair_iters: int = 3,
        require_samples: bool = False,
    ) -> Tuple[RolloutCallResult, EvaluationCallResult]:
        """Deploys in a fresh sandbox, rolls out and evaluates, as one verification."""
        answer = self._call(
            "rollout_and_evaluation", llm, mode, env_overrides, artifacts_dir, repair_iters, require_samples
        )
        both = results.rolled_out(answer["rollout"]), results.evaluated(answer["evaluation"])
        self._deployed(both[0].artifacts_dir, both[0].ok and both[1].ok)
        return both

    def teardown(self, *, env_overrides: Overrides = None, artifacts_dir: Optional[PathLike] = None) -> bool:
        """Takes down what is deployed; the session can deploy again."""
        params = {"env": _overrides(env_overrides), "artifacts_dir": server.absolute(artifacts_dir)}
        answer = self._ask("teardown", params)
        self.runtime_env_path = None
        return bool(answer["ok"])

    def close(self) -> None:
        """Ends the session, and its server with it."""
        served, self._server = self._server, None
        if served is not None:
            served.close()

    def __enter__(self) -> "EnvSession":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, method: str, params: Mapping[str, Any]) -> Dict[str, Any]:
        if self._server is None:
            raise EnvNotSetupError("env_not_setup: the session is closed", code="env_not_setup")
        return self._server.ask(method, {"session": self._name, **params})

    def _call(
        self,
        method: str,
        llm: Optional[PathLike],
        mode: str,
        env_overrides: Overrides,
        artifacts_dir: Optional[PathLike],
        repair_iters: int,
        require_samples: bool = False,
    ) -> Dict[str, Any]:
        word = None if llm is None else _llm(llm)
        params: Dict[str, Any] = {
            "llm": word,
            "mode": mode,
            "env": _overrides(env_overrides),
            "artifacts_dir": server.absolute(artifacts_dir),
            "repair_iters": repair_iters,
            "require_samples": require_samples,
        }
        answer = self._ask(method, params)
        if isinstance(word, dict):
            directory = word.get("path")
            self.llm_kind = "remote" if directory is None else "local_hf"
            self.llm_model = word.get("id")
            self.trained_model_dir = None if directory is None else Path(directory)
        return answer

    def _deployed(self, artifacts: Path, ok: bool) -> None:
        path = artifacts / "runtime_env.json"
        self.runtime_env_path = path if ok and path.is_file() else None


_current: Optional[EnvSession] = None


def setup(
    target: PathLike,
    *,
    clones_dir: Optional[PathLike] = None,
    pipeline_rel: str = "pipeline.yml",
    require_metrics: bool = True,
    audit: str = "on",
    opencode_model: str = "",
    opencode_repair_model: Optional[str] = None,
    opencode_url: str = "",
    unattended: str = "strict",
    opencode_timeout_seconds: int = 300,
    opencode_repair_timeout_seconds: Optional[int] = None,
    opencode_bash: str = "restricted",
    scaffold_opencode_bash: str = "full",
    strict_opencode: bool = True,
    artifacts_dir: Optional[PathLike] = None,
    scaffold_contract: Optional[str] = None,
    scaffold_require_metrics: Optional[bool] = None,
) -> EnvSession:
    """Opens a target: copies it and reads its contract, or has one written. Nothing of it runs yet.

    ``scaffold_contract`` is ``off``, ``opencode`` or ``generic``; without it the agent writes a
    contract where there is none and ``opencode_model`` names its model.

    The session is the one that functions without ``session`` work on from then on.
    """
    global _current
    if clones_dir is not None:
        _log.warning("clones_dir has no effect: what is fetched lies in the program's own cache, and is used again")
    served = server.Server(server.arguments())
    agent = {
        "opencode_model": opencode_model,
        "opencode_repair_model": opencode_repair_model,
        "opencode_url": opencode_url,
        "opencode_timeout_seconds": opencode_timeout_seconds,
        "opencode_repair_timeout_seconds": opencode_repair_timeout_seconds,
        "opencode_bash": opencode_bash,
        "scaffold_opencode_bash": scaffold_opencode_bash,
        "strict_opencode": strict_opencode,
        "scaffold_contract": scaffold_contract,
        "scaffold_require_metrics": scaffold_require_metrics,
    }
    params = {
        "target": os.fspath(target),
        "pipeline_rel": pipeline_rel,
        "require_metrics": require_metrics,
        "audit": audit,
        "unattended": unattended,
        "artifacts_dir": server.absolute(artifacts_dir),
        "agent": agent,
    }
    try:
        answer = served.ask("setup", params)
    except BaseException:
        served.close()
        raise
    named = answer["repo"]
    directory = Path(named) if named.startswith("/") else None
    session = EnvSession(
        env=EnvHandle(
            repo=named if directory is None else directory,
            pipeline_path=(directory or Path()) / answer["pipeline_path"],
            pipeline={name: list(commands) for name, commands in answer["pipeline"].items()},
        ),
        run_id=answer["run_id"],
        unattended=unattended,
        opencode_model=opencode_model,
        opencode_repair_model=opencode_model if opencode_repair_model is None else opencode_repair_model,
        opencode_url=opencode_url,
        opencode_timeout_seconds=opencode_timeout_seconds,
        require_metrics=require_metrics,
        audit=audit,
        artifacts_dir=Path(answer["artifacts_dir"]),
        _server=served,
        _name=answer["session"],
    )
    # At the session's end, and at the interpreter's.
    weakref.finalize(session, served.close)
    _current = session
    return session


def current_session() -> Optional[EnvSession]:
    """The session of the last ``setup``."""
    return _current


def _session(given: Optional[EnvSession]) -> EnvSession:
    found = given if given is not None else _current
    if found is None:
        raise EnvNotSetupError("env_not_setup: call setup() first", code="env_not_setup")
    return found


def deploy(
    llm: PathLike,
    *,
    session: Optional[EnvSession] = None,
    mode: str = "smoke",
    env_overrides: Overrides = None,
    artifacts_dir: Optional[PathLike] = None,
    repair_iters: int = 3,
) -> DeployCallResult:
    """See :meth:`EnvSession.deploy`."""
    return _session(session).deploy(
        llm, mode=mode, env_overrides=env_overrides, artifacts_dir=artifacts_dir, repair_iters=repair_iters
    )


def rollout(
    llm: Optional[PathLike] = None,
    *,
    session: Optional[EnvSession] = None,
    mode: str = "smoke",
    env_overrides: Overrides = None,
    artifacts_dir: Optional[PathLike] = None,
    repair_iters: int = 3,
    require_samples: bool = False,
) -> RolloutCallResult:
    """See :meth:`EnvSession.rollout`."""
    return _session(session).rollout(
        llm,
        mode=mode,
        env_overrides=env_overrides,
        artifacts_dir=artifacts_dir,
        repair_iters=repair_iters,
        require_samples=require_samples,
    )


def evaluation(
    *,
    session: Optional[EnvSession] = None,
    mode: str = "smoke",
    env_overrides: Overrides = None,
    artifacts_dir: Optional[PathLike] = None,
    repair_iters: int = 3,
) -> EvaluationCallResult:
    """See :meth:`EnvSession.evaluation`."""
    return _session(session).evaluation(
        mode=mode, env_overrides=env_overrides, artifacts_dir=artifacts_dir, repair_iters=repair_iters
    )


def rollout_and_evaluation(
    llm: Optional[PathLike] = None,
    *,
    session: Optional[EnvSession] = None,
    mode: str = "smoke",
    env_overrides: Overrides = None,
    artifacts_dir: Optional[PathLike] = None,
    repair_iters: int = 3,
    require_samples: bool = False,
) -> Tuple[RolloutCallResult, EvaluationCallResult]:
    """See :meth:`EnvSession.rollout_and_evaluation`."""
    return _session(session).rollout_and_evaluation(
        llm,
        mode=mode,
        env_overrides=env_overrides,
        artifacts_dir=artifacts_dir,
        repair_iters=repair_iters,
        require_samples=require_samples,
    )


def teardown(
    *,
    session: Optional[EnvSession] = None,
    env_overrides: Overrides = None,
    artifacts_dir: Optional[PathLike] = None,
) -> bool:
    """See :meth:`EnvSession.teardown`."""
    return _session(session).teardown(env_overrides=env_overrides, artifacts_dir=artifacts_dir)


def _llm(llm: PathLike) -> Union[str, Dict[str, str]]:
    """A path is a directory; a text is one where it looks like one or names one, else an id."""
    if not isinstance(llm, str):
        return {"path": os.path.abspath(os.path.expanduser(os.fspath(llm)))}
    text = llm.strip()
    if text.startswith(("/", "./", "../", "~")) or (text and os.path.isdir(text)):
        return {"path": os.path.abspath(os.path.expanduser(text))}
    return {"id": text}


def _overrides(given: Overrides) -> Dict[str, str]:
    return {str(name): str(value) for name, value in (given or {}).items()}
