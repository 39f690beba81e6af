"""``opencode-fsm env serve`` as a child process: JSON lines over its two pipes."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from . import errors

PROTOCOL = 1
#: Longest answer, with room for its end.
MAX_LINE = (8 << 20) + 2
#: How long a server may take to take its session down.
FAREWELL_SECONDS = 75.0

_log = logging.getLogger("opencode_fsm")


def find_binary() -> str:
    """The program: ``OPENCODE_FSM_BIN``, else beside this package's scripts, else on ``PATH``."""
    named = os.environ.get("OPENCODE_FSM_BIN", "")
    if named:
        if os.access(named, os.X_OK):
            return named
        raise errors.ServerError(f"server_not_found: OPENCODE_FSM_BIN={named} cannot be run", code="server_not_found")
    schemes = [None, "posix_user"] if "posix_user" in sysconfig.get_scheme_names() else [None]
    places = [sysconfig.get_path("scripts", scheme) if scheme else sysconfig.get_path("scripts") for scheme in schemes]
    places.append(str(Path(sys.executable).parent))
    for place in places:
        path = os.path.join(place or "", "opencode-fsm")
        if place and os.access(path, os.X_OK):
            return path
    found = shutil.which("opencode-fsm")
    if found is None:
        raise errors.ServerError(
            "server_not_found: the program opencode-fsm is neither beside this Python's scripts nor on PATH; "
            "name it with OPENCODE_FSM_BIN",
            code="server_not_found",
        )
    return found


class Server:
    """One server; it holds one session."""

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        command = [find_binary(), "env", "serve", *arguments]
        try:
            # A session of its own: Ctrl-C is this program's to handle.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        except OSError as why:
            raise errors.ServerError(f"server_failed: {command[0]}: {why}", code="server_failed") from why
        self._owner = os.getpid()
        self._lock = threading.RLock()
        self._last = 0
        try:
            hello = self.ask("hello", {"protocol": PROTOCOL, "pid": self._owner})
        except BaseException:
            self.close()
            raise
        _log.debug("opencode-fsm %s serves", hello.get("version"))

    def ask(self, method: str, params: Mapping[str, Any]) -> Dict[str, Any]:
        """One request, to its answer. An interrupt gives the request up before it goes on."""
        if os.getpid() != self._owner:
            raise errors.ServerError(
                "server_of_parent: the session belongs to the process that set it up; set one up in this one",
                code="server_of_parent",
            )
        with self._lock:
            number = self._send(method, params)
            try:
                return self._answer(number)
            except KeyboardInterrupt:
                self._give_up(number)
                raise

    def _send(self, method: str, params: Mapping[str, Any]) -> int:
        self._last += 1
        line = json.dumps({"id": self._last, "method": method, "params": params}) + "\n"
        stdin = self._process.stdin
        try:
            if stdin is None or stdin.closed:
                raise BrokenPipeError
            stdin.write(line.encode("utf-8"))
            stdin.flush()
        except (BrokenPipeError, OSError):
            raise self._gone() from None
        return self._last

    def _answer(self, number: int) -> Dict[str, Any]:
        while True:
            reply = self._read()
            if "event" in reply:
                _tell(reply["event"])
            elif reply.get("id") in (number, None):
                if "error" in reply:
                    raise errors.of(reply["error"])
                result = reply.get("result")
                return result if isinstance(result, dict) else {}

    def _give_up(self, number: int) -> None:
        """Has a request ended, and reads both answers."""
        try:
            cancel = self._send("cancel", {"request": number})
            left = {number, cancel}
            while left:
                reply = self._read()
                if "event" not in reply:
                    left.discard(reply.get("id"))
        except errors.EnvError:
            pass

    def _read(self) -> Dict[str, Any]:
        stdout = self._process.stdout
        line = b"" if stdout is None or stdout.closed else stdout.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            raise self._gone()
        try:
            reply = json.loads(line)
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            raise errors.ServerError("server_failed: it said something that is no answer", code="server_failed")
        return reply

    def _gone(self) -> errors.ServerError:
        code = self._process.poll()
        how = "it closed its pipes" if code is None else f"it ended with {code}"
        return errors.ServerError(f"server_gone: {how}", code="server_gone", blame="sandbox", exit_code=7)

    def close(self) -> None:
        """Ends the server, which takes its session down before. Does nothing twice, or in a child."""
        if os.getpid() != self._owner or self._process.poll() is not None:
            return
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                pass
        try:
            self._process.wait(FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            # What it built dies with it.
            self._process.kill()
            self._process.wait()


def _tell(event: Mapping[str, Any]) -> None:
    kind = event.get("event")
    if kind == "warning":
        _log.warning("%s", event.get("text"))
    elif kind == "stage-ended":
        verdict = "passed" if event.get("ok") else f"failed: {event.get('reason')}"
        _log.info("%s %s in %s ms", event.get("stage"), verdict, event.get("wall_ms"))
    else:
        _log.debug("%s", json.dumps(event))


def arguments() -> List[str]:
    """Flags for the server, from ``OPENCODE_FSM_FLAGS`` (split as a shell does)."""
    import shlex

    return shlex.split(os.environ.get("OPENCODE_FSM_FLAGS", ""))


def absolute(path: "Optional[os.PathLike[str] | str]") -> Optional[str]:
    """A path as the server, which has another current directory one day, finds it."""
    return None if path is None else os.path.abspath(os.path.expanduser(os.fspath(path)))
