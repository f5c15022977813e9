"""Watch the side effects of an import, in a separate process with an empty environment."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

_SECONDS = 60
_SCRIPT = """
import json, os, sys
name, path = sys.argv[1], json.loads(sys.argv[2])
sys.path[:], sys.dont_write_bytecode = path, True
os.environ.clear()
actions, watching = [], [True]
WATCHED = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "subprocess.Popen", "os.system",
    "os.fork", "os.posix_spawn", "_thread.start_new_thread", "sqlite3.connect")

def watch(event, arguments):
    if not watching[0]:
        return
    if event in WATCHED:
        actions.append(f"{event}{arguments!r}"[:200])
    elif event == "open":
        file, mode, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and file != os.devnull:
            actions.append(f"open for writing: {file}")

sys.addaudithook(watch)
error, missing = "", False
try:
    __import__(name)
except ModuleNotFoundError as raised:
    missing = raised.name is not None and (name + ".").startswith(raised.name + ".")
    error = f"{type(raised).__name__}: {raised}"
except BaseException as raised:
    error = f"{type(raised).__name__}: {raised}"
watching[0] = False
print("\\n" + json.dumps({"actions": actions, "error": error, "missing": missing}))
"""


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import."""

    actions: tuple[str, ...] = ()
    error: str = ""
    missing: bool = False
    """Whether the module can't be found from another process."""


def import_elsewhere(module: str) -> Imported:
    """Import a module in a separate process. This function blocks."""
    try:
        done = subprocess.run(  # noqa: S603  # the interpreter that runs this
            [sys.executable, "-c", _SCRIPT, module, json.dumps(sys.path)],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Imported(error=f"it doesn't end within {_SECONDS} s")
    last = done.stdout.strip().rpartition("\n")[2]
    if not last.startswith("{"):
        return Imported(error=f"the process ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    result = json.loads(last)
    return Imported(tuple(result["actions"]), result["error"], result["missing"])
