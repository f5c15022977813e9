"""The installation lines work in a clone. Nothing of this repository is on PyPI yet."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from packaging.requirements import Requirement
from tests.docs.conftest import ROOT

PAGES = [
    ROOT / "README.md",
    # The page about troubleshooting shows error texts, which name packages that are on PyPI one day.
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name != "troubleshooting.md"),
    *sorted(ROOT.glob("contrib/*/README.md")),
    *sorted(ROOT.glob("examples/*/README.md")),
]
COMMAND = re.compile(r"pip install (?P<arguments>[^`\n]+)")
LINES = [
    pytest.param(match["arguments"], id=f"{page.relative_to(ROOT).as_posix()}: {match['arguments']}")
    for page in PAGES
    for match in COMMAND.finditer(page.read_text(encoding="utf-8"))
]
ALREADY_INSTALLED = {"examples/ratelimit": {"bandmaster"}}
"""The first step of the tutorial installs the kernel; the page about plugins installs the plugin alone."""


@cache
def read_project(folder: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def split_arguments(arguments: str) -> tuple[list[str], list[str]]:
    """The folders that an installation line names, and the names to look up on PyPI."""
    words = shlex.split(arguments, comments=True)
    folders = [word for option, word in pairwise(["", *words]) if option == "-e"]
    return folders, [word for word in words if word != "-e" and word not in folders]


def read_targets(arguments: str) -> Iterator[tuple[str, list[str]]]:
    """The folders that an installation line names, each with its extras."""
    for word in split_arguments(arguments)[0]:
        folder, _, extras = word.removesuffix("]").partition("[")
        yield folder, [extra for extra in extras.split(",") if extra]


def list_own_requirements(folder: str, extras: list[str]) -> set[str]:
    """The distributions of this repository that the installation of a folder requires."""
    project = read_project(folder)
    optional = project.get("optional-dependencies", {})
    lines = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    return {name for line in lines if (name := Requirement(line).name).startswith("bandmaster")}


def test_every_package_has_an_installation_line() -> None:
    """The README of the repository installs every contrib; so does the README of the contrib."""
    readme = {folder for match in COMMAND.finditer(PAGES[0].read_text()) for folder, _ in read_targets(match[1])}
    contribs = [path.parent for path in sorted(ROOT.glob("contrib/*/pyproject.toml"))]
    assert {".", *(path.relative_to(ROOT).as_posix() for path in contribs)} == readme
    for path in contribs:
        folder = path.relative_to(ROOT).as_posix()
        match = COMMAND.search((path / "README.md").read_text(encoding="utf-8"))
        assert match is not None, folder
        assert folder in [named for named, _ in read_targets(match[1])]


@pytest.mark.parametrize("arguments", LINES)
def test_an_installation_line_names_folders_and_extras_that_exist(arguments: str) -> None:
    """Every argument is a distribution of the clone."""
    for folder, extras in read_targets(arguments):
        assert (ROOT / folder / "pyproject.toml").is_file(), folder
        assert set(extras) <= read_project(folder).get("optional-dependencies", {}).keys()


@pytest.mark.parametrize("arguments", LINES)
def test_an_installation_line_finds_only_third_parties_on_pypi(arguments: str) -> None:
    """A name without `-e` is looked up on PyPI, where nothing of this repository is."""
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert set(split_arguments(arguments)[1]) <= pinned


@pytest.mark.parametrize("arguments", LINES)
def test_an_installation_line_names_all_requirements(arguments: str) -> None:
    """Every required distribution of this repository is named by its folder in the same line."""
    targets = list(read_targets(arguments))
    needed = {name for folder, extras in targets for name in list_own_requirements(folder, extras)}
    given = {read_project(folder)["name"] for folder, _ in targets}
    before = {name for folder, _ in targets if len(targets) == 1 for name in ALREADY_INSTALLED.get(folder, ())}
    assert set() == needed - given - before
