"""opencode-fsm from Python: environments that a training program deploys, rolls out and evaluates.

``opencode_fsm.env`` holds the functions; ``import env`` is the same under the predecessor's name.
"""

from . import env
from .errors import EnvError

__all__ = ["EnvError", "env"]
