"""Tests of bandmaster.kernel, the public surface."""

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import bandmaster
import bandmaster.kernel

HEAVY = {
    "anyio",
    "httpx",
    "importlib_metadata",
    "pydantic",
    "pydantic_settings",
    "starlette",
    "structlog",
    "typer",
}
DESCRIBING = [
    "ErrorHandlerContribution",
    "LifespanBand",
    "LifespanContribution",
    "MiddlewareBand",
    "MiddlewareContribution",
    "Named",
    "PlanError",
    "Provenance",
    "Resources",
    "RouteContribution",
    "StartError",
    "lifespan",
    "middleware",
]
MODULES = [
    module.name
    for module in pkgutil.walk_packages(bandmaster.kernel.__path__, "bandmaster.kernel.")
    if not module.name.endswith("__main__")
]

# Runs in a fresh interpreter with an empty environment, and tells what happened while it imported.
WATCHED = """
import importlib, json, sys
began = set(sys.modules)
seen = []
def hook(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.system", "os.fork", "os.exec", "os.mkdir", "_thread.start")):
        seen.append(f"{name}: {event} {arguments}")
    elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        seen.append(f"{name}: {event} {arguments}")
sys.addaudithook(hook)
for name in json.loads(sys.argv[1]):
    module, _, attribute = name.partition(":")
    module = importlib.import_module(module)
    attribute and getattr(module, attribute)
print(json.dumps([sorted({name.partition(".")[0] for name in set(sys.modules) - began}), seen]))
"""


def importing(*names):
    """The top-level packages that importing some names brings in, and what it opens."""
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", WATCHED, json.dumps(names)],
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return json.loads(done.stdout)


@pytest.mark.requirement("XC-C3", "CF-24", "F-11")
def test_what_is_exported_is_what_is_named():
    """``__all__``, the lazy names and those that type checkers see are the same, in order."""
    tree = ast.parse(Path(bandmaster.kernel.__file__).read_text())
    (checking,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: node.module.removeprefix("bandmaster.kernel.")
        for node in checking.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == bandmaster.kernel._HOMES
    assert sorted(bandmaster.kernel.__all__) == bandmaster.kernel.__all__ == sorted(seen)


@pytest.mark.requirement("XC-C3", "CF-24")
@pytest.mark.parametrize("name", bandmaster.kernel.__all__)
def test_every_name_can_be_had(name):
    """It is what its home module has under that name, documented, and the same each time."""
    value = getattr(bandmaster.kernel, name)
    home = importlib.import_module(f"bandmaster.kernel.{bandmaster.kernel._HOMES[name]}")
    assert value is getattr(home, name)
    assert value.__doc__
    assert name in dir(bandmaster.kernel)
    assert value is bandmaster.kernel.__dict__[name]


def test_what_is_not_there():
    """As with any module."""
    with pytest.raises(AttributeError, match=r"^module 'bandmaster.kernel' has no attribute 'nothing'$"):
        bandmaster.kernel.nothing
    with pytest.raises(ImportError):
        exec("from bandmaster.kernel import nothing")


@pytest.mark.requirement("XC-C4")
def test_bandmaster_is_a_namespace():
    """So that every distribution may have a portion of it (PEP 420); each portion is typed (PEP 561)."""
    assert getattr(bandmaster, "__file__", None) is None
    assert Path(bandmaster.kernel.__file__).with_name("py.typed").exists()


def test_the_package_imports_nothing_heavy():
    """Nor does what describes parts: a plan can be written down without an event loop, or a framework."""
    packages, _ = importing("bandmaster.kernel", *(f"bandmaster.kernel:{name}" for name in DESCRIBING))
    assert set() == HEAVY.intersection(packages)


@pytest.mark.parametrize(
    "module",
    [
        "contributions.model",
        "planning.make",
        "planning.plan",
        "lifecycle.resources",
        "errors",
        "contributions.signatures",
        "contributions.bands",
    ],
)
def test_describing_and_deciding_import_nothing_heavy(module):
    """These rooms are pure."""
    packages, opened = importing(f"bandmaster.kernel.{module}")
    assert (set(), []) == (HEAVY.intersection(packages), opened)


@pytest.mark.requirement("FA-7", "XC-L1", "CF-08", "F-03", "CF-27", "S-M1")
def test_every_module_can_be_imported_with_an_empty_environment():
    """And opens nothing: no connection, no file to write, no process, no thread."""
    assert len(MODULES) > 30
    _, opened = importing(*MODULES)
    assert [] == opened
