"""Tests of bandmaster.kernel.contributions.renaming."""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Self

import pytest
from pydantic_settings import BaseSettings, SettingsConfigDict

from bandmaster.kernel import Context, Kernel, LifespanBand, LifespanContribution, Named, lifespan, named_settings
from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.signatures import read_needs, read_provides


class StoreSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="STORE_")

    url: str = "here"
    connections: int = 3


class Store:
    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.name = name


class Opens(Store):
    """A store that is a context manager itself."""

    def __init__(self, settings: StoreSettings, context: Context) -> None:
        super().__init__(settings.url, context.name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...


def connections(settings: StoreSettings) -> Mapping[str, int]:
    return {"store": settings.connections}


async def generate(settings: StoreSettings, context: Context) -> AsyncIterator[Store]:
    yield Store(settings.url, context.name)


async def generate_with(greeting: str, /, settings: StoreSettings, context: Context) -> AsyncIterator[Store]:
    yield Store(settings.url + greeting, context.name)


FACTORIES = {
    "generator": generate,
    "context manager": asynccontextmanager(generate),
    "partial": functools.partial(generate_with, ""),
    "class": Opens,
}
COLD = named_settings(StoreSettings, "cold", about="the cold store")


def store(factory=generate, budget=connections, **fields) -> LifespanContribution:
    return lifespan(band=LifespanBand.PERSISTENCE, name="store", budget=budget, **fields)(factory)


@pytest.mark.anyio
@pytest.mark.parametrize("budget", [connections, lambda settings: {"store": settings.connections}])
@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
async def test_a_component_runs_twice(monkeypatch, factory, budget):
    """The second component has another name, other settings and another budget, and is found under that name."""
    monkeypatch.setenv("COLD_STORE_URL", "there")
    monkeypatch.setenv("COLD_STORE_CONNECTIONS", "5")
    first = store(factory, budget)
    second = first.named("cold", settings=COLD, description="The cold store.")
    kind = Opens if factory is Opens else Store
    kernel = Kernel(contributions=[first, second], discover=False)
    assert {"store": 3, "cold": 5} == {one.name: one.budget["store"] for one in kernel.plan.components}
    async with kernel.running() as resources:
        found = resources[kind], resources[kind, "cold"]
    assert [("here", "store"), ("there", "cold")] == [(one.url, one.name) for one in found]
    assert ("The cold store.", first.band) == (second.description, second.band)


def test_the_signature_of_the_second():
    """The second component reads other settings and provides types under the name; the first one doesn't change."""
    second = store(provides=[Opens, (str, "x")]).named("cold", settings=COLD)
    assert ["settings: ColdStoreSettings", "context: Context"] == list(map(str, read_needs(second.factory)))
    assert [Key(Store, "cold")] == read_provides(second.factory)
    assert (Key(Opens, "cold"), Key(str, "cold")) == second.provides
    assert ["settings: StoreSettings", "context: Context"] == list(map(str, read_needs(store().factory)))


def test_the_settings_may_stay():
    """Without settings, the second component reads those of the first."""
    first = store(description="A store.")
    second = first.named("other")
    assert list(map(str, read_needs(first.factory))) == list(map(str, read_needs(second.factory)))
    assert (first.budget, "A store.") == (second.budget, second.description)
    assert {"store": 1} == store(budget={"store": 1}).named("other", settings=COLD).budget


def test_a_component_that_provides_nothing():
    """A component without a provided type can run a second time."""

    async def prints() -> AsyncIterator[None]:
        yield

    assert [] == read_provides(store(prints, budget=None).named("other").factory)


def test_a_third_component_is_made_of_the_second():
    """The third component has a third name, and settings that derive from those of the second."""
    third = store().named("cold", settings=COLD).named("colder", settings=named_settings(COLD, "colder", about="x"))
    assert ("colder", [Key(Store, "colder")]) == (third.name, read_provides(third.factory))


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("not a name", None, "name: expected letters"),
        ("other", Context, "settings: no parameter has a type that Context derives from"),
        ("other", StoreSettings, None),
    ],
)
def test_arguments_that_are_refused(name, settings, expected):
    """A name with other characters is refused, and so are settings that the component doesn't read."""
    if expected is None:
        assert "other" == store().named(name, settings=settings).name
        return
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}"):
        store().named(name, settings=settings)


def test_a_parameter_asks_for_the_second():
    """A parameter asks for the second component by name."""

    async def user(cold: Annotated[Store, Named("cold")]) -> AsyncIterator[None]:
        yield

    plan = Kernel(
        contributions=[store(), store().named("cold"), lifespan(band=LifespanBand.SERVICES)(user)], discover=False
    ).plan
    assert ["cold"] == [edge.to for edge in plan.by_name["user"].waits_for]
