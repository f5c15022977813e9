"""Importing a contrib does nothing: no engine, client, broker or settings, no connection, no thread."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CONTRIBS = Path(__file__).parents[2] / "contrib"

IMPORT_ALL = """
import gc, importlib, json, pkgutil, sys, threading

OPENS = ("socket.connect", "socket.bind", "socket.getaddrinfo", "sqlite3.connect", "subprocess.Popen", "os.putenv")
events = []
sys.addaudithook(lambda event, arguments: events.append(event) if event in OPENS else None)

import bandmaster.contrib

names = [module.name for module in pkgutil.walk_packages(bandmaster.contrib.__path__, "bandmaster.contrib.")]
modules = {name: importlib.import_module(name) for name in names}

# The types of things with a lifetime, as far as the contribs have imported their libraries.
TYPES = (
    "sqlalchemy.engine:Engine",
    "sqlalchemy.pool:Pool",
    "sqlalchemy.ext.asyncio:AsyncEngine",
    "redis:Redis",
    "redis:ConnectionPool",
    "redis.asyncio:Redis",
    "redis.asyncio:ConnectionPool",
    "taskiq:AsyncBroker",
    "taskiq:AsyncResultBackend",
    "taskiq:ScheduleSource",
    "taskiq:TaskiqScheduler",
    "httpx:AsyncClient",
    "httpx2:AsyncClient",
    "pydantic_settings:BaseSettings",
    "starlette.applications:Starlette",
)
kinds = []
for place in TYPES:
    module, _, name = place.partition(":")
    if module in sys.modules:
        kinds.append(getattr(sys.modules[module], name))
gc.collect()
made = [thing for thing in gc.get_objects() if isinstance(thing, tuple(kinds))]
# Objects of slotted or C types aren't all known to the collector; those at module level are found by name.
made += [value for module in modules.values() for value in vars(module).values() if isinstance(value, tuple(kinds))]

print(json.dumps({
    "modules": names,
    "made": sorted({f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in made}),
    "kinds": [kind.__name__ for kind in kinds],
    "events": events,
    "threads": threading.active_count(),
}))
"""

# taskiq makes these two when it is imported itself: brokers that only remember tasks, and open nothing.
OF_TASKIQ = {"taskiq.brokers.shared_broker.AsyncSharedBroker", "taskiq.result_backends.dummy.DummyResultBackend"}


@pytest.fixture(scope="module")
def imported():
    """The report of a process with an empty environment that has imported every module of every contrib."""
    command = [sys.executable, "-W", "error", "-c", IMPORT_ALL]
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=120, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    return json.loads(done.stdout)


def test_every_module_of_every_contrib_is_imported(imported):
    """The report is about all of them, and knows the types of their libraries."""
    files = [
        path
        for path in CONTRIBS.glob("*/bandmaster/contrib/**/*.py")
        if not {"alembic_env", "migrations"} & {*path.parts}  # Alembic runs these files, and nothing imports them
    ]
    names = {
        ".".join(path.relative_to(CONTRIBS / path.relative_to(CONTRIBS).parts[0]).with_suffix("").parts)
        for path in files
    }
    assert {name.removesuffix(".__init__") for name in names} == set(imported["modules"])
    assert {"Engine", "AsyncEngine", "Redis", "AsyncBroker", "BaseSettings"} <= set(imported["kinds"])


@pytest.mark.requirement("FA-7", "XC-L1", "CF-08", "F-03", "CF-27", "TQ-8", "S-M1")
def test_importing_makes_no_engine_client_broker_or_settings(imported):
    """Things with a lifetime are made by components, never by an import."""
    assert set() == set(imported["made"]) - OF_TASKIQ


@pytest.mark.requirement("FA-7", "XC-L1")
def test_importing_opens_nothing(imported):
    """No socket, no database, no process, no thread, and no change to the environment."""
    assert ([], 1) == (imported["events"], imported["threads"])
