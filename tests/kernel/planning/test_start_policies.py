"""Tests of bandmaster.kernel.planning.start_policies."""

from collections.abc import AsyncIterator, Sequence

import pytest

from bandmaster.kernel import (
    Kernel,
    KernelSettings,
    LifespanBand,
    MiddlewareBand,
    PlanError,
    lifespan,
    middleware,
    value,
)
from bandmaster.kernel.planning import StartPolicy

PERSISTENCE, SERVICES = LifespanBand.PERSISTENCE, LifespanBand.SERVICES
VARIABLE = "BANDMASTER_ON_START_FAILURE"


class Cache: ...


class Shop: ...


class Pages: ...


@lifespan(band=PERSISTENCE, on_start_failure="degrade", start_timeout=7)
async def cache() -> AsyncIterator[Cache]:
    yield Cache()


@lifespan(band=SERVICES)
async def shop(cache: Cache | None) -> AsyncIterator[Shop]:
    yield Shop()


@lifespan(band=SERVICES)
async def pages(cache: Cache) -> AsyncIterator[Pages]:
    yield Pages()


@lifespan(band=SERVICES, requires=("cache",))
async def warmer() -> AsyncIterator[None]:
    yield


@middleware(band=MiddlewareBand.POLICY)
class cached:  # a layer's name
    def __init__(self, app: object, cache: Cache) -> None: ...

    async def __call__(self, scope: object, receive: object, send: object) -> None: ...


def plan(*parts, **chosen):
    options = {key: chosen.pop(key) for key in ("overrides", "disable", "role") if key in chosen}
    return Kernel(contributions=parts, discover=False, settings=KernelSettings(on_start_failure=chosen), **options).plan


def problems(*parts, **chosen):
    with pytest.raises(PlanError) as caught:
        plan(*parts, **chosen)
    return [str(problem) for problem in caught.value.problems]


def test_the_policy_is_the_declared_one_unless_operators_choose_another():
    """The setting overrides the declaration, by name, and the plan says which of the two counts."""
    found = plan(cache, shop)
    assert [StartPolicy("degrade"), StartPolicy("stop")] == [component.on_start_failure for component in found]
    found = plan(cache, shop, cache="stop", shop="retry")
    assert ["stop", "retry"] == [component.on_start_failure.reaction for component in found]
    assert {VARIABLE} == {component.on_start_failure.setting for component in found}


def test_operators_choose_by_the_environment(bandmaster_environment):
    """The variable is a list of name=value."""
    bandmaster_environment.setenv(VARIABLE, "cache=retry, shop=degrade")
    found = Kernel(contributions=[cache, shop], discover=False).plan
    assert ["retry", "degrade"] == [component.on_start_failure.reaction for component in found]


def test_an_unknown_reaction_is_told(bandmaster_environment):
    """The problem lists the reactions that there are."""
    bandmaster_environment.setenv(VARIABLE, "cache=degrad")
    with pytest.raises(PlanError, match="Input should be 'stop', 'retry' or 'degrade'") as caught:
        Kernel(contributions=[cache], discover=False)
    assert f"{VARIABLE}.cache is wrong" in str(caught.value)


def test_an_unknown_name_is_told_with_the_near_miss():
    """A name that no component has is a warning, as with disabled names."""
    assert (f"{VARIABLE} names 'cahce', which no component has. Did you mean 'cache'?",) == plan(
        cache, cahce="retry"
    ).warnings


def test_names_of_parts_that_are_left_out_are_known():
    """Components of other roles, disabled ones and replaced ones aren't misspelt."""
    elsewhere = lifespan(band=SERVICES, roles={"worker"}, name="elsewhere")(shop.factory)
    chosen = {"elsewhere": "retry", "cache": "retry"}
    assert () == plan(cache, elsewhere, role="web", **chosen).warnings
    assert () == plan(cache, elsewhere, disable={"cache"}, role="web", **chosen).warnings
    assert () == plan(cache, elsewhere, overrides={Cache: Cache()}, role="web", **chosen).warnings


def test_a_component_that_cannot_do_without_is_a_problem():
    """The problem names both components and every way out."""
    (problem,) = problems(cache, pages)
    assert (
        "lifespan 'pages' (SERVICES, in code, tests.kernel.planning.test_start_policies:pages) needs a Cache, but "
        "lifespan 'cache' (PERSISTENCE, in code, tests.kernel.planning.test_start_policies:cache) may be missing: its "
        "on_start_failure is degrade. Ask for Cache | None, let 'pages' degrade as well, or choose another policy for "
        "'cache': stop or retry."
    ) == problem
    (problem,) = problems(lifespan(band=PERSISTENCE, name="cache")(cache.factory), pages, cache="degrade")
    assert f"its on_start_failure is degrade, by {VARIABLE}." in problem


def test_a_component_that_requires_by_name_is_a_problem():
    """A required component may not be missing; an ordering requires nothing."""
    (problem,) = problems(cache, warmer)
    assert "lifespan 'warmer'" in problem
    assert "requires 'cache', but lifespan 'cache'" in problem
    assert "Order it by after=, let 'warmer' degrade as well, or" in problem


def test_a_layer_that_cannot_do_without_is_a_problem():
    """A layer can't be degraded."""
    (problem,) = problems(cache, cached)
    assert "layer 'cached'" in problem
    assert "Ask for Cache | None, or choose another policy for 'cache'" in problem


def test_a_value_by_override_is_never_missing():
    """An overridden component isn't started, so that its policy doesn't count."""
    plan(cache, pages, warmer, cached, overrides={Cache: Cache()})
    plan(value(Cache(), name="cache"), pages, warmer)


def test_a_component_may_be_degraded_with_another():
    """A component that may be degraded itself may need one that may be degraded."""
    found = plan(cache, pages, warmer, pages="degrade", warmer="degrade")
    assert ("cache",) == found.by_name["pages"].relies_on == found.by_name["warmer"].relies_on
    assert () == plan(cache, shop).by_name["shop"].relies_on


def test_the_explanation_says_what_follows():
    """The plan says beforehand who gets None and who is left out."""
    found = plan(cache, shop, pages, pages="degrade")
    assert (
        "is left out if its start fails ('shop' then gets None; 'pages' is left out as well)"
        in found.explain("cache").facts
    )
    assert "takes cache: Cache from 'cache', or None if that is degraded" in found.explain("shop").facts
    facts = found.explain("pages").facts
    assert f"is left out if its start fails, by {VARIABLE}" in facts
    assert "is left out if 'cache' is" in facts


def test_the_explanation_of_other_policies():
    """A start that is tried again has the time of one start; a plain stop is only told where operators chose it."""
    found = plan(cache, shop, cache="retry", shop="stop")
    assert f"is tried again if its start fails, for 7 s in all, by {VARIABLE}" in found.explain("cache").facts
    assert f"ends the run if its start fails, by {VARIABLE}" in found.explain("shop").facts
    assert not any("start fails" in fact for fact in plan(shop).explain("shop").facts)


def test_the_explanation_names_several():
    """Several parts are listed, and a default stands for None."""

    @lifespan(band=SERVICES)
    async def other(cache: Cache | None = None) -> AsyncIterator[None]:
        yield

    found = plan(cache, shop, other, pages, warmer, pages="degrade", warmer="degrade")
    assert (
        "is left out if its start fails ('other' and 'shop' then get None; 'pages' and 'warmer' are left out as well)"
        in found.explain("cache").facts
    )
    assert "takes cache: Cache from 'cache', or its default if that is degraded" in found.explain("other").facts
    second = lifespan(band=PERSISTENCE, name="second", on_start_failure="degrade", provides=Shop)(open_nothing)
    relying = lifespan(band=SERVICES, name="both", requires=("cache", "second"))(open_nothing)
    found = plan(cache, second, relying, both="degrade")
    assert "is left out if 'cache' and 'second' are" in found.explain("both").facts


async def open_nothing() -> AsyncIterator[None]:
    yield


def test_a_policy_as_text():
    """A policy shows who has chosen it."""
    found = plan(cache, shop, shop="retry")
    assert ["degrade", f"retry, by {VARIABLE}"] == [str(component.on_start_failure) for component in found]


@lifespan(band=PERSISTENCE, priority=160, decorates=Cache)
async def counted(cache: Cache) -> AsyncIterator[Cache]:
    yield cache


def test_a_decorator_cannot_do_without_the_object_that_it_decorates():
    """A decorator asks for the decorated object like everybody, and who asks for the type asks the decorator."""
    (problem,) = problems(cache, counted)
    assert "lifespan 'counted'" in problem
    assert "but lifespan 'cache'" in problem
    found = plan(cache, counted, shop, counted="degrade")
    assert ("cache",) == found.by_name["counted"].relies_on
    assert "takes cache: Cache from 'counted', around 'cache', or None if that is degraded" in (
        found.explain("shop").facts
    )
    (problem,) = problems(lifespan(band=PERSISTENCE, name="cache")(cache.factory), counted, pages, counted="degrade")
    assert "lifespan 'pages'" in problem
    assert "but lifespan 'counted'" in problem


def test_a_collection_can_do_without_a_member():
    """A collection lacks the object of a degraded component."""

    @lifespan(band=SERVICES)
    async def every(caches: Sequence[Cache]) -> AsyncIterator[None]:
        yield

    assert () == plan(cache, every).by_name["every"].relies_on
