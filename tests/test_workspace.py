"""The workspace: several distributions share one namespace."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DISTRIBUTIONS = {"bandmaster": ".", "bandmaster_web": "contrib/web"}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of the kernel and of a contrib, built from their sources."""
    folder = tmp_path_factory.mktemp("wheels")
    for place in DISTRIBUTIONS.values():
        command = [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            str(folder),
            str(ROOT / place),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    return {name: next(folder.glob(f"{name}-*.whl")) for name in DISTRIBUTIONS}


@pytest.mark.requirement("XC-C4")
def test_wheels_share_the_namespace(wheels: dict[str, Path], tmp_path: Path) -> None:
    """Two wheels installed side by side are two portions of one namespace package."""
    for wheel in wheels.values():
        zipfile.ZipFile(wheel).extractall(tmp_path)
    # -S skips the .pth files of the editable installs; PYTHONPATH still finds the dependencies.
    dependencies = next(path for path in sys.path if path.endswith("site-packages"))
    code = (
        "import bandmaster, bandmaster.kernel, bandmaster.contrib.web; "
        "print(bandmaster.__file__, bandmaster.kernel.__file__, bandmaster.contrib.web.__file__)"
    )
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), dependencies])}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    expected = [
        "None",
        str(tmp_path / "bandmaster/kernel/__init__.py"),
        str(tmp_path / "bandmaster/contrib/web/__init__.py"),
    ]
    assert (expected, "") == (done.stdout.split(), done.stderr)


@pytest.mark.requirement("XC-C4")
def test_no_wheel_holds_a_namespace_file(wheels: dict[str, Path]) -> None:
    """A wheel with an `__init__.py` in the shared prefix would hide every other portion."""
    names = [name for wheel in wheels.values() for name in zipfile.ZipFile(wheel).namelist()]
    assert [] == [name for name in names if name in ("bandmaster/__init__.py", "bandmaster/contrib/__init__.py")]


def test_every_portion_is_typed(wheels: dict[str, Path]) -> None:
    """Type checkers look for `py.typed` in each portion."""
    names = {name for wheel in wheels.values() for name in zipfile.ZipFile(wheel).namelist()}
    assert {"bandmaster/kernel/py.typed", "bandmaster/contrib/web/py.typed"} <= names


def test_the_constraints_contain_no_address() -> None:
    """constraints.txt pins names and versions only, so that it works with every package index."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [] == [line for line in lines if "://" in line or "@" in line or "==" not in line]
