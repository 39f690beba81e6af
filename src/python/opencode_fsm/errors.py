"""Why a session or a call comes to no verdict. What a stage does, right or wrong, is a result and no error."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Optional


class EnvError(RuntimeError):
    """The base of all. Its text begins with its code."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        blame: str = "user",
        exit_code: int = 2,
        artifacts_dir: Optional[Path] = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        """One of docs/env_api.md."""
        self.blame = blame
        """Who failed: agent, verifier, sandbox, provider, policy, budget or user."""
        self.exit_code = exit_code
        """The exit code that the command line has for it."""
        self.artifacts_dir = artifacts_dir
        """The call's artifacts, where there are some."""


class EnvNotSetupError(EnvError):
    """There is no session: ``setup`` opens one."""


class UsageError(EnvError, ValueError):
    """What was asked for cannot be."""


class LlmError(UsageError):
    """The model is none, or cannot be shown inside."""


class TargetError(EnvError):
    """The target cannot be fetched."""


class ContractError(EnvError):
    """The target has no contract, or one that cannot be read."""


class PolicyError(EnvError):
    """This host does not allow it, or its walls are too weak."""


class SandboxError(EnvError):
    """The sandbox or the host failed, as often as it was tried again. It is nobody's score."""


class ProviderError(EnvError):
    """The model's provider failed."""


class CancelledError(EnvError):
    """The call was given up."""


class ServerError(EnvError):
    """``opencode-fsm env serve`` is not there, or died."""


_BY_CODE = {
    "env_not_setup": EnvNotSetupError,
    "empty_llm": LlmError,
    "missing_llm": LlmError,
    "llm_path_not_found": LlmError,
    "llm_not_directory": LlmError,
    "llm_not_usable": LlmError,
    "invalid_env": UsageError,
    "invalid_request": UsageError,
    "usage": UsageError,
    "contract_missing": ContractError,
    "scaffold_contract_failed": ContractError,
    "contract_invalid": ContractError,
    "policy_invalid": PolicyError,
    "not_allowed": PolicyError,
    "walls_too_weak": PolicyError,
    "sandbox_failed": SandboxError,
    "host_failed": SandboxError,
    "target_unavailable": TargetError,
    "provider": ProviderError,
    "cancelled": CancelledError,
    "interrupted": CancelledError,
}


def of(error: Mapping[str, Any]) -> EnvError:
    """The exception of an answer's ``error``."""
    code = str(error.get("code", "internal"))
    artifacts = error.get("artifacts_dir")
    return _BY_CODE.get(code, EnvError)(
        str(error.get("message", code)),
        code=code,
        blame=str(error.get("blame", "user")),
        exit_code=int(error.get("exit", 2)),
        artifacts_dir=None if artifacts is None else Path(artifacts),
    )
