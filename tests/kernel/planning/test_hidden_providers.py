"""Tests of bandmaster.kernel.planning.hidden_providers."""

import sys
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import pytest
from tests.kernel.planning.composing import SERVICES, Cache, Database, Engine, Oidc, Redis, part, problem

from bandmaster.kernel import LifespanContribution, Provenance, value
from bandmaster.kernel.discovery.metadata import Found
from bandmaster.kernel.discovery.trust import LeftOut

REASON = "it is disabled by BANDMASTER_DISABLE"


def left_out(name, entry_point, distribution="acme-data", group="lifespan", reason=REASON):
    return LeftOut(
        Found(f"bandmaster.{group}", name, entry_point, Provenance(distribution, "1.2", entry_point)), reason
    )


def hint(kind, *parts, **options):
    """The hint of the problem that a part needs the type."""
    return problem(part("auth", needs=[kind]), *parts, **options).partition("which nothing provides. ")[2]


@pytest.fixture
def module(monkeypatch):
    """A module that has been imported, with parts in it."""
    made = ModuleType("acme_parts")
    monkeypatch.setitem(sys.modules, "acme_parts", made)
    made.database = part("database", provides=Database)
    made.cache = value(Cache(), name="cache")
    made.odd = part("odd", provides=Database | None)
    return made


def test_a_left_out_part_whose_module_is_imported(module):
    """A part of an imported module that provides the type is named with the reason why it is left out."""
    parts = [left_out("odd", "acme_parts:odd"), left_out("database", "acme_parts:database")]
    assert f"'database' (acme-data 1.2) provides one, but {REASON}: let it in." == hint(Database, left_out=parts)
    parts = [left_out("cache", "acme_parts:cache", group="values", reason="acme-data isn't in the allowlist")]
    assert "'cache' (acme-data 1.2) provides one, but acme-data isn't in the allowlist: let it in." == hint(
        Cache, left_out=parts
    )


def test_a_left_out_part_of_another_type(module):
    """A part that is known to provide another type isn't named, and neither is a part of another group."""
    parts = [
        left_out("database", "acme_parts:database"),
        left_out("module", "acme_parts:database.name"),
        left_out("hello", "tests.cli:hello", group="commands"),
    ]
    assert "Contribute a component that does, or pass overrides={Engine: ...}" == hint(Engine, left_out=parts)


def test_left_out_parts_whose_modules_are_not_imported():
    """A part of a module that isn't imported is named as one that may help, by distribution, without an import."""
    parts = [left_out("redis", "acme_nowhere:redis", "bandmaster-redis")]
    assert f"'redis' (bandmaster-redis 1.2) may provide one, but {REASON}: let it in." == hint(Redis, left_out=parts)
    parts = [left_out(name, f"acme_nowhere:{name}", "bandmaster-oidc") for name in ("oidc", "keys")]
    assert f"'oidc' and 'keys' (bandmaster-oidc 1.2) may provide one, but {REASON}: let it in." == hint(
        Oidc, left_out=parts
    )
    parts = [left_out("database", "tests.nowhere:database")]
    assert f"'database' (acme-data 1.2) may provide one, but {REASON}: let it in." == hint(Database, left_out=parts)
    assert "acme_nowhere" not in sys.modules


def test_a_module_that_fails_to_export(module):
    """A module that fails when a part is asked for tells nothing."""

    def fail(name):
        raise RuntimeError(name)

    module.__getattr__ = fail
    parts = [left_out("database", "acme_parts:late")]
    assert hint(Engine, left_out=parts).startswith("Contribute a component")


async def unsaid():
    yield Database()


async def says_any() -> Any:
    yield Database()


async def says_nothing():
    yield


class Opens:
    async def __aenter__(self):
        return self

    async def __aexit__(self, *exception): ...


class OpensNothing(Opens):
    async def __aenter__(self): ...


def component(factory, name="some"):
    return LifespanContribution(name=name, factory=factory, band=SERVICES)


def test_a_component_without_a_return_annotation():
    """A component that yields something without a declared type is named with the line of the yield."""
    line = unsaid.__code__.co_firstlineno + 1
    for factory in (unsaid, asynccontextmanager(unsaid)):
        assert (
            f"'some' ({__file__}:{line}) yields something without saying what: if it is one, write the return "
            "annotation there: -> AsyncIterator[Database]."
        ) == hint(Database, component(factory))


def test_several_components_without_a_return_annotation():
    """All such components are named, classes included."""
    lines = [unsaid.__code__.co_firstlineno + 1, Opens.__aenter__.__code__.co_firstlineno + 1]
    assert (
        f"'a' ({__file__}:{lines[0]}) and 'b' ({__file__}:{lines[1]}) yield something without saying what: if it is "
        "one, write the return annotation there: -> AsyncIterator[Database] or -> Database for __aenter__."
    ) == hint(Database, component(unsaid, "a"), component(Opens, "b"))


def test_a_component_that_asks_is_not_named():
    """A component that needs the type itself can't provide it, whatever it yields."""

    async def asks(database: Database):
        yield database

    message = problem(component(asks, "asks"))
    assert message.endswith("Contribute a component that does, or pass overrides={Database: ...}")


@pytest.mark.parametrize("factory", [says_nothing, OpensNothing])
def test_a_component_that_yields_nothing(factory):
    """A component that yields nothing isn't named."""
    assert hint(Database, component(factory)).startswith("Contribute a component")


def test_a_component_from_run_time():
    """A component without a source isn't named."""
    space: dict[str, Any] = {}
    exec("async def some():\n    yield 1\n", space)
    assert hint(Database, component(space["some"])).startswith("Contribute a component")
