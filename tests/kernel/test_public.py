"""Tests of bandmaster.kernel, the public surface."""

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
import typing
from pathlib import Path

import httpx2
import pytest

import bandmaster
import bandmaster.kernel
from bandmaster.kernel import Application, Context, Kernel
from bandmaster.kernel.testing import Connection, Running, WebSocket

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
    "ValueContribution",
    "lifespan",
    "middleware",
    "value",
]
PUBLIC = [
    "bandmaster.kernel",
    "bandmaster.kernel.events",
    "bandmaster.kernel.planning",
    "bandmaster.kernel.commands",
    "bandmaster.kernel.testing",
]
SPECIAL = ("__call__", "__iter__", "__getitem__", "__aenter__", "__enter__")
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
    """The top-level packages that importing some names brings in, and everything that the import opens."""
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", WATCHED, json.dumps(names)],
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return json.loads(done.stdout)


def read_public_names():
    """Every public name, by the module that people import it from."""
    return {
        f"{module}.{name}": getattr(importlib.import_module(module), name)
        for module in PUBLIC
        for name in importlib.import_module(module).__all__
    }


NAMES = read_public_names()
MADE_HERE = (Application, Connection, Context, Running, WebSocket)
"""Classes that only the kernel makes: their constructors aren't public."""
# What annotations name while only type checkers look at them.
CHECKED = {
    **{path.rpartition(".")[2]: value for path, value in NAMES.items()},
    **dict.fromkeys(("ASGIApp", "BaseSettings", "BaseRoute", "ValidationError"), object),
    "App": Application | Kernel,
    "httpx2": httpx2,
}


def read_hints(annotated):
    """The evaluated annotations of a function, or of a class and its bases, each by the names of its own module."""
    function = inspect.unwrap(annotated)
    modules = [vars(sys.modules[base.__module__]) for base in reversed(getattr(annotated, "__mro__", ()))]
    namespace = CHECKED.copy()
    for names in modules or [function.__globals__]:
        namespace |= names
    return typing.get_type_hints(annotated, globalns=namespace).items()


def read_annotations(value):
    """The annotations of a function; of a class, those of fields, methods and properties."""
    if inspect.isfunction(value):
        yield from read_hints(value)
    if not isinstance(value, type):
        yield "", value
        return
    for base in value.__mro__:
        if base.__module__.startswith("bandmaster"):
            yield from ((name, hint) for name, hint in read_hints(base) if not name.startswith("_"))
            for name, member in vars(base).items():
                function = getattr(member, "fget", getattr(member, "func", getattr(member, "__func__", member)))
                is_called = (
                    not name.startswith("_") or name in SPECIAL or (name == "__init__" and value not in MADE_HERE)
                )
                if inspect.isfunction(function) and is_called:
                    yield from ((f"{name}.{parameter}", hint) for parameter, hint in read_hints(function))


def find_classes(annotation):
    """The classes that an annotation is made of."""
    if isinstance(annotation, typing.TypeVar):
        yield from find_classes(annotation.__bound__)
    origin = typing.get_origin(annotation)
    if isinstance(annotation, type) and origin is None:
        yield annotation
    members = annotation if isinstance(annotation, list) else typing.get_args(annotation)
    if origin is not typing.Literal:
        for member in filter(None, [origin, *members]):
            yield from find_classes(member)


# A class is public under its own name, or as a member of a public alias, such as a union.
PUBLIC_CLASSES = {kind for value in NAMES.values() for kind in find_classes(value)}


@pytest.mark.requirement("XC-C3", "CF-24", "F-11")
@pytest.mark.parametrize("path", NAMES)
def test_whatever_a_public_name_mentions_is_public(path):
    """Each class in an annotation can be imported from a public module, so that plugins can be typed."""
    holes = {
        f"{kind.__module__}.{kind.__qualname__} ({place})"
        for place, annotation in read_annotations(NAMES[path])
        for kind in find_classes(annotation)
        if kind.__module__.startswith("bandmaster") and kind not in PUBLIC_CLASSES
    }
    assert set() == holes


@pytest.mark.requirement("XC-C3", "F-11")
def test_every_event_is_public():
    """A plugin can match on each kind of event."""
    from bandmaster.kernel import events

    defined = {name for name, kind in vars(events).items() if inspect.isclass(kind) and issubclass(kind, events.Event)}
    assert defined == set(events.__all__) - {"Listener"}
    assert sorted(events.__all__) == events.__all__


def test_one_name_has_one_meaning():
    """Two public modules that export the same name export the same object."""
    by_name = {}
    for path, value in NAMES.items():
        assert value is by_name.setdefault(path.rpartition(".")[2], value)


@pytest.mark.requirement("XC-C4")
def test_bandmaster_is_a_namespace():
    """Each distribution may have a portion of the package (PEP 420), and each portion is typed (PEP 561)."""
    assert getattr(bandmaster, "__file__", None) is None
    assert Path(bandmaster.kernel.__file__).with_name("py.typed").exists()


def test_the_package_imports_nothing_heavy():
    """A part can be described without importing an event loop or a framework."""
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
    """The modules of the pure phase import no framework and open nothing."""
    packages, opened = importing(f"bandmaster.kernel.{module}")
    assert (set(), []) == (HEAVY.intersection(packages), opened)


@pytest.mark.requirement("FA-7", "XC-L1", "CF-08", "F-03", "CF-27", "S-M1")
def test_every_module_can_be_imported_with_an_empty_environment():
    """An import opens no connection, no file to write, no process and no thread."""
    assert len(MODULES) > 30
    _, opened = importing(*MODULES)
    assert [] == opened
