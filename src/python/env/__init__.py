"""The env API under the predecessor's name: ``opencode_fsm.env``."""

from opencode_fsm.env import *  # noqa: F401,F403
from opencode_fsm.env import __all__  # noqa: F401
