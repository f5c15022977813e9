"""Parts and plans for the tests of planning."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol, runtime_checkable

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from bandmaster.kernel import (
    LifespanBand,
    LifespanContribution,
    MiddlewareBand,
    MiddlewareContribution,
    PlanError,
    Provenance,
)
from bandmaster.kernel.planning.make import make_plan

OBSERVABILITY, PERSISTENCE, MESSAGING, SERVICES, APPLICATION = LifespanBand


POLICY = MiddlewareBand.POLICY


ACME = Provenance("acme", "1.0", "acme:part")


class Database: ...


class Engine: ...


class Cache: ...


class Redis:
    __module__ = "redis.asyncio.client"


class Oidc:
    __module__ = "bandmaster.contrib.oidc.client"


class Pings(Protocol):
    def ping(self) -> None: ...


@runtime_checkable
class Closes(Protocol):
    def close(self) -> None: ...


class Pool:
    def ping(self) -> None: ...

    def close(self) -> None: ...


class PoolSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TEST_POOL_")

    size: int = 10


class SecretSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TEST_SECRET_")

    password: SecretStr
    size: int


def part(name, band=SERVICES, needs=None, provides=None, **fields):
    """A component that needs the types ``needs`` and provides the type ``provides``."""
    parameters = {f"p{index}": kind for index, kind in enumerate(needs or ())}
    code = f"async def function({', '.join(parameters)}):\n    yield\n"
    space: dict[str, Any] = {}
    exec(code, space)
    function = space["function"]
    function.__annotations__ = {**parameters, "return": AsyncIterator[provides]}
    function.__module__, function.__qualname__ = __name__, name
    priority = {"priority": band} if isinstance(band, int) else {"band": band}
    return LifespanContribution(
        **{"name": name, "factory": asynccontextmanager(function), "provenance": ACME, **priority, **fields}
    )


class Hooks:
    def on_request(self, exchange: object) -> None: ...


def layer(name, band=POLICY, kind=Hooks, **fields):
    priority = {"priority": band} if isinstance(band, int) else {"band": band}
    return MiddlewareContribution(**{"name": name, "layer": kind, "provenance": ACME, **priority, **fields})


def names(plan):
    return [component.name for component in plan]


def stacked(plan):
    return [layer.name for layer in plan.layers]


def problems(*parts, **options):
    with pytest.raises(PlanError) as caught:
        make_plan(parts, **options)
    return list(caught.value.problems)


def problem(*parts, **options):
    (only,) = problems(*parts, **options)
    return str(only)


def describe(name, band="SERVICES"):
    return f"lifespan {name!r} ({band}, acme 1.0)"


class Databases: ...
