"""Tests of bandmaster.kernel.cli.commands.new."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bandmaster.kernel.cli.commands.new as new_module
from bandmaster.kernel.cli.commands.new import check_name

ALLOWED = "bandmaster-fastapi,bandmaster-web,bandmaster-taskiq,bandmaster-redis"


def read_parts(root: Path, group: str) -> dict[str, str]:
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]["entry-points"][group]


def install(root: Path, site: Path) -> None:
    """Install a project as pip would in the editable mode, into a directory of the test's own, and from no index."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    command += ["--no-index", "--no-build-isolation", "--target", str(site), str(root)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def run(root: Path, site: Path, *command: str) -> str:
    """Run a module of Python in the project, where of the installed parts only the project's and its needs are seen."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BANDMASTER_", "PYTEST_"))}
    environment |= {
        "PYTHONPATH": str(site),
        "PYTHONWARNINGS": "error",
        "BANDMASTER_PLUGINS": "allowlist",
        "BANDMASTER_ALLOW": f"{ALLOWED},{root.name}",
    }
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert 0 == result.returncode, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize("arguments", [(), ("--plugin",)])
def test_the_readme_says_how_to_install_what_is_needed(sandbox, arguments):
    """bandmaster isn't on PyPI, so the first command installs the packages that are needed, theirs included."""
    sandbox.out("new", "box-office", *arguments)
    root = sandbox.work / "box-office"
    needed = {
        re.split(r"[\[>=]", one)[0]
        for one in tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    }
    contribs = Path(__file__).parents[4] / "contrib"
    for name in ("fastapi", "taskiq"):
        if f"bandmaster-{name}" in needed:
            project = tomllib.loads((contribs / name / "pyproject.toml").read_text())["project"]
            needed |= {re.split(r"[\[>=]", one)[0] for one in project["dependencies"] if one.startswith("bandmaster")}
    command = next(line for line in (root / "README.md").read_text().splitlines() if "pip install" in line)
    folders = {f"CLONE/contrib/{one.removeprefix('bandmaster-')}" for one in needed - {"bandmaster"}}
    assert folders == {part for part in command.split() if part.startswith("CLONE/")}
    assert '-e "CLONE' in command


def test_an_application(sandbox):
    """The application as written has a part of each kind, fits together, and its tests pass."""
    shown = sandbox.out("new", "box-office")
    assert shown.startswith("wrote box-office: .gitignore, README.md, box_office/__init__.py, box_office/app.py,")
    root, site = sandbox.work / "box-office", sandbox.work / "site"
    assert {"box_office_notes": "box_office.notes:notes"} == read_parts(root, "bandmaster.lifespan")
    install(root, site)
    plan = run(root, site, "bandmaster.kernel", "plan", "--format", "json")
    for name in ("box_office_notes", "box_office_served_by", "box_office_routes", "box_office_tasks"):
        assert f'"{name}"' in plan
    assert "ok: box_office.app:app fits together" in run(root, site, "bandmaster.kernel", "check", "--strict")
    assert "3 passed" in run(root, site, "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio")


def test_a_plugin(sandbox):
    """The plugin as written is found by entry point, and its tests pass."""
    sandbox.out("new", "--plugin", "Acme.Maintenance", "--in", "packages")
    root, site = sandbox.work / "packages" / "Acme.Maintenance", sandbox.work / "site"
    install(root, site)
    plan = run(root, site, "bandmaster.kernel", "plan")
    assert "acme_maintenance" in plan
    assert "acme_maintenance_layer" in plan
    assert "3 passed" in run(root, site, "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio")


def test_the_answer_for_programs(sandbox):
    """The written files are listed, and an error has the fields that every command's has."""
    told = json.loads(sandbox.out("new", "shop", "--format", "json"))
    root = sandbox.work / "shop"
    written = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    assert {"format": 1, "ok": True, "directory": "shop", "files": [str(path) for path in written]} == told
    refused = sandbox.run("new", "shop", "--format", "json")
    assert (1, "CommandError") == (refused.exit_code, json.loads(refused.stdout)["error"])


def test_what_an_application_needs(sandbox, monkeypatch):
    """Packages that the application needs and that aren't installed are named before the steps that would fail."""
    assert "from a clone" not in sandbox.out("new", "box-office")
    monkeypatch.setitem(new_module._NEEDS, "bandmaster-fastapi", "bandmaster.nothing.fastapi")
    shown = sandbox.out("new", "shop")
    assert "  install bandmaster-fastapi from a clone of bandmaster: bandmaster isn't on PyPI yet\n  cd shop\n" in shown
    assert "from a clone" not in sandbox.out("new", "--plugin", "maintenance")


def test_names():
    """The package's name follows from the distribution's."""
    assert ["shop", "box_office", "acme_x_y2"] == list(map(check_name, ("shop", "Box-Office", "acme.x__y2")))


@pytest.mark.parametrize("name", ["", "2shop", "-x", "a b", "a/b", "../x", "shop-"])
def test_a_wrong_name(sandbox, name):
    """A name that no distribution can have is refused."""
    code, error = sandbox.error("new", "--", name)
    assert (2, True) == (code, "can't be the name of a distribution" in error)


@pytest.mark.parametrize("name", ["class", "json", "bandmaster", "Test", "fastapi", "Pytest"])
def test_a_name_that_hides_a_module(sandbox, name):
    """A package that would hide another module is refused, such as one that the application imports."""
    code, error = sandbox.error("new", name)
    assert (2, True) == (code, "would hide" in error)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("host", "A component 'host' would have the name of the application's host. Choose another name.\n"),
        ("exec", "A component 'exec' would have the name of the function that bandmaster exec runs. Choose "),
        ("stock", "A component 'stock' would have the name of the one of acme-stock 1.2. Choose another name.\n"),
    ],
)
def test_a_plugin_with_the_name_of_another_component(sandbox, name, expected):
    """Names of components are unique, so that no application could take the plugin."""
    sandbox.install("acme-stock", "[bandmaster.lifespan]\nstock = acme_stock:stock\n")
    code, error = sandbox.error("new", "--plugin", name)
    assert (2, True) == (code, error.startswith(expected))
    assert not (sandbox.work / name).exists()


def test_nothing_is_overwritten(sandbox):
    """A directory with files in it is left alone; an empty one is used."""
    sandbox.write("shop/notes.txt", "mine")
    code, error = sandbox.error("new", "shop")
    assert (1, "shop exists already, and isn't an empty directory. Choose another name, or --in.\n") == (code, error)
    assert ["notes.txt"] == os.listdir("shop")
    (sandbox.work / "empty").mkdir()
    sandbox.out("new", "empty")
    assert "pyproject.toml" in os.listdir("empty")


def test_a_place_that_cannot_be_written(sandbox):
    """A place that can't be written is named."""
    sandbox.write("file", "")
    code, error = sandbox.error("new", "shop", "--in", "file")
    assert (1, "file/shop can't be written: Not a directory.\n") == (code, error)
