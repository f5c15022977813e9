"""Tests of parts with a condition, ``when=``: bandmaster.kernel.planning.conditions."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Annotated

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from tests.kernel.planning.composing import (
    ACME,
    SERVICES,
    Cache,
    Database,
    Hooks,
    SecretSettings,
    describe,
    layer,
    names,
    part,
    problem,
    problems,
    stacked,
)

from bandmaster.kernel import (
    ErrorHandlerContribution,
    Kernel,
    KernelSettings,
    LifespanBand,
    MiddlewareBand,
    Named,
    RouteContribution,
    lifespan,
    middleware,
    value,
)
from bandmaster.kernel.planning.make import make_plan
from bandmaster.kernel.settings.reading import named_settings


class CacheSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TEST_CACHE_")

    enabled: bool = False
    url: str = Field(default="")


class Asked:
    """A condition that counts its calls."""

    def __init__(self, answer):
        self.answer = answer
        self.calls = 0

    def __call__(self, settings: CacheSettings) -> bool:
        self.calls += 1
        return self.answer


def is_enabled(settings: CacheSettings) -> bool:
    return settings.enabled


def is_disabled(settings: CacheSettings) -> bool:
    return not settings.enabled


def parts_with(when):
    """One part of each kind."""
    return [
        part("component", when=when),
        value(Database(), name="value", when=when),
        layer("layer", when=when),
        RouteContribution(name="routes", routes=[], when=when),
        ErrorHandlerContribution(name="handler", exception=KeyError, handler=print, when=when),
    ]


def list_parts(plan):
    values = {each.name for each in plan.values.values()}
    return {*names(plan), *stacked(plan), *values, *(each.name for each in (*plan.routes, *plan.error_handlers))}


def test_every_kind_of_part_can_be_left_out(monkeypatch):
    """The plan names the omitted parts, with the settings that decided; those settings count as read."""
    everything = {"component", "value", "layer", "routes", "handler"}
    plan = make_plan(parts_with(is_enabled))
    assert set() == list_parts(plan)
    assert everything == {omission.part.name for omission in plan.omitted}
    assert {("its when= says no to CacheSettings", (CacheSettings,))} == {
        (omission.reason, omission.settings) for omission in plan.omitted
    }
    assert CacheSettings() == plan.settings[CacheSettings]
    assert everything == {each.name for each in plan.contributions}
    monkeypatch.setenv("TEST_CACHE_ENABLED", "1")
    plan = make_plan(parts_with(is_enabled))
    assert (everything, ()) == (list_parts(plan), plan.omitted)


def test_a_condition_is_asked_once():
    """For each plan, and for each part of the role that is planned."""
    asked = Asked(True)
    make_plan([part("a", when=asked), part("b", when=asked, roles="worker"), layer("c", when=asked)], role="worker")
    assert 2 == asked.calls  # the layer serves no requests here


def test_settings_come_from_where_the_part_would_get_them():
    """From an override, else from a value, else from the environment."""
    parts = [part("cache", when=is_enabled)]
    assert ["cache"] == names(make_plan(parts, overrides={CacheSettings: CacheSettings(enabled=True)}))
    assert ["cache"] == names(make_plan([*parts, value(CacheSettings(enabled=True), name="settings")]))
    # A value that has a condition itself may not be there.
    conditional = value(CacheSettings(enabled=True), name="settings", when=lambda: True)
    assert [] == names(make_plan([*parts, conditional]))


def test_a_part_that_is_left_out_reads_no_settings():
    """Only the settings of the condition are required, and not those of the omitted part."""
    plan = make_plan([part("cache", needs=[SecretSettings], when=is_enabled)])
    assert {CacheSettings} == plan.settings.keys()


def test_settings_that_can_not_be_read_are_one_problem():
    """The problem names the parts, also those that have the settings in a condition only."""

    def needs_secret(settings: SecretSettings) -> bool:
        raise AssertionError

    found = problems(part("one", when=needs_secret), part("two", needs=[SecretSettings]))
    assert 2 == len(found)
    assert all(
        each.hint.endswith(f"SecretSettings is read by {describe('two')} and {describe('one')}.") for each in found
    )


def test_alternatives():
    """Of two parts with opposite conditions one is there, in every group where only one may be."""
    parts = [
        part("redis", provides=Cache, when=is_enabled),
        part("memory", provides=Cache, when=is_disabled),
        part("asks", needs=[Cache]),
        ErrorHandlerContribution(name="a", exception=KeyError, handler=print, when=is_enabled),
        ErrorHandlerContribution(name="b", exception=KeyError, handler=repr, when=is_disabled),
    ]
    assert ["memory", "asks"] == names(make_plan(parts))
    assert ["redis", "asks"] == names(make_plan(parts, overrides={CacheSettings: CacheSettings(enabled=True)}))


def test_a_decorator_may_be_left_out():
    """A part that asks for the type gets the provider's object where the decorator is left out."""
    parts = [
        part("main", provides=Database),
        part("cached", needs=[Database], decorates=Database, when=is_enabled),
        part("asks", needs=[Database]),
    ]
    assert ["main", "asks"] == names(make_plan(parts))


def test_whoever_needs_a_part_that_is_left_out_learns_why():
    """In the problem of a need, in that of a requirement, and in the explanation of an optional need."""
    cache = part("cache", provides=Cache, when=is_enabled)
    assert (
        f"{describe('asks')} needs a Cache, which nothing provides. 'cache' would, but its when= says no to "
        "CacheSettings."
    ) == problem(cache, part("asks", needs=[Cache]))
    assert f"{describe('asks')} requires 'cache', which isn't there. It is left out: its when= says no to " in problem(
        cache, part("asks", requires="cache")
    )
    plan = make_plan([cache, part("asks", needs=[Cache | None], after="cache")])
    assert (
        "takes p0: Cache from nobody, so it is None ('cache' would provide one, but its when= says no to CacheSettings)"
    ) in plan.explain("asks").facts
    assert str(plan.explain("cache")) == (
        "cache: left out: its when= says no to CacheSettings\n  brought by acme 1.0, acme:part"
    )
    unreadable = part("odd", provides=Database | None, when=is_enabled)
    assert "'cache' would, but" in problem(unreadable, cache, part("asks", needs=[Cache]))
    value_left_out = value(Cache(), name="cache", when=is_enabled)
    assert "'cache' would, but its when= says no" in problem(value_left_out, part("asks", needs=[Cache]))


def breaks(settings: CacheSettings) -> bool:
    return {}["region"]


def forgets(settings: CacheSettings) -> bool: ...


def wants_a_database(database: Database) -> bool:
    raise AssertionError


def has_a_default(settings: CacheSettings, limit: int = 3) -> bool:
    return settings.enabled


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (breaks, f"its when= raised KeyError: 'region' ({__file__}:{breaks.__code__.co_firstlineno + 1})."),
        (forgets, f"its when= returned None, neither True nor False ({__file__}:{forgets.__code__.co_firstlineno})."),
        (
            wants_a_database,
            (
                "its when= can't be called: parameter 'database' has the type Database, which is no settings type; "
                "nothing else is there while the plan is made."
            ),
        ),
        (
            lambda settings: True,
            "its when= can't be called: parameter 'settings' has no type; write one, or give it a default.",
        ),
    ],
)
def test_a_condition_without_an_answer_is_a_problem(when, expected):
    """A condition without an answer is a problem, with file and line where the condition raised or returned no bool."""
    assert f"{describe('cache')}: {expected}" == problem(part("cache", when=when))


def test_other_parameters_keep_their_defaults():
    """Only settings are passed; a condition may also take none."""
    plan = make_plan([part("a", when=has_a_default), part("b", when=lambda: False), part("c", when=lambda: True)])
    assert (["c"], ["a", "b"]) == (names(plan), [omission.part.name for omission in plan.omitted])
    assert "its when= says no" == plan.omitted[1].reason


async def waits() -> bool:
    raise AssertionError


class Waits:
    async def __call__(self) -> bool:
        raise AssertionError


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (True, "when: expected a function of settings types that returns a bool, got True"),
        ("production", "when: expected something callable, got 'production'"),
        (waits, "when: expected a plain function, got an async one"),
        (Waits(), "when: expected a plain function, got an async one"),
    ],
)
def test_what_can_not_be_a_condition(when, expected):
    """The error comes when the part is described."""
    for make in (
        lambda: part("it", when=when),
        lambda: value(Database(), name="it", when=when),
        lambda: layer("it", when=when),
        lambda: RouteContribution(name="it", routes=[], when=when),
        lambda: ErrorHandlerContribution(name="it", exception=KeyError, handler=print, when=when),
    ):
        with pytest.raises(ValueError, match=expected):
            make()


def test_the_decorators_take_a_condition():
    """As every other argument of the contribution."""

    @lifespan(band=LifespanBand.SERVICES, when=is_enabled)
    async def component() -> AsyncIterator[None]:
        yield

    @middleware(band=MiddlewareBand.POLICY, when=is_enabled)
    class Layer(Hooks): ...

    assert is_enabled is component.when is Layer.when


def test_the_kernels_own_settings():
    """A condition may read the kernel's settings, as they were given."""

    def in_production(settings: KernelSettings) -> bool:
        return settings.is_production

    parts = [part("strict", when=in_production)]
    for environment, expected in (("production", ["strict"]), ("development", [])):
        settings = KernelSettings(environment=environment)
        assert expected == names(Kernel(contributions=parts, discover=False, settings=settings).plan)


def test_a_second_component_asks_its_own_settings():
    """A renamed copy with other settings has a condition of those settings."""
    kind = named_settings(CacheSettings, "second", about="the second cache", prefix="TEST_SECOND_")

    @lifespan(band=SERVICES, when=is_enabled)
    async def cache(settings: CacheSettings) -> AsyncIterator[Cache]:
        yield Cache()

    second = cache.named("second", settings=kind)
    plan = make_plan([dataclasses.replace(cache, provenance=ACME), second], overrides={kind: kind(enabled=True)})
    assert ["second"] == names(plan)
    assert cache.named("third").when is is_enabled


def read_nothing(kinds):
    return {}, ()


def test_a_plan_without_settings_leaves_the_conditions_open():
    """Every part stays in it, alternatives too, so that the order is the same in every environment."""
    parts = [
        part("redis", provides=Cache, when=is_enabled),
        part("memory", provides=Cache, when=is_disabled),
        part("asks", needs=[Cache, Database]),
        part("a", provides=Annotated[Database, Named("x")], when=is_enabled),
        part("b", provides=Annotated[Database, Named("x")], when=is_disabled),
        part("main", provides=Database),
        part("cached", needs=[Database], decorates=Database, when=is_enabled),
        part("wraps", needs=[Cache], decorates=Cache, when=is_enabled),
        ErrorHandlerContribution(name="e", exception=KeyError, handler=print, when=is_enabled),
        ErrorHandlerContribution(name="f", exception=KeyError, handler=repr, when=is_disabled),
    ]
    plan = make_plan(parts, read_settings=read_nothing)
    assert ["a", "b", "main", "cached", "memory", "redis", "asks", "wraps"] == names(plan)
    assert ["cached", "memory", "redis"] == [edge.to for edge in plan.by_name["asks"].waits_for]
    assert () == plan.omitted
    kernel = Kernel(contributions=parts[2:3], discover=False, overrides={Cache: 1, Database: 1})
    assert names(kernel.plan) == names(kernel.plan_without_settings())


def test_each_of_several_parts_that_are_left_out_is_explained():
    """Every part that is left out has its own explanation, and its own reader in the problem of a settings type."""
    plan = make_plan([part(name, when=is_enabled) for name in ("first", "second")])
    assert ["first: left out: its when= says no", "second: left out: its when= says no"] == [
        str(plan.explain(name)).partition(" to ")[0] for name in ("first", "second")
    ]

    def holds_size(settings: SecretSettings) -> bool:
        return settings.size > 1

    found = problems(part("one", when=is_enabled), part("two", when=holds_size))
    assert [f"SecretSettings is read by {describe('two')}."] * 2 == [each.hint.partition("}. ")[2] for each in found]
