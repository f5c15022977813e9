"""Tests of values in plans: bandmaster.kernel.planning."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import pytest

from bandmaster.kernel import Kernel, LifespanBand, Named, PlanError, lifespan, value
from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.planning.make import make_plan

pytestmark = pytest.mark.anyio


class Page:
    def __init__(self, title):
        self.title = title


class Site:
    def __init__(self, page):
        self.page = page


@lifespan(band=LifespanBand.SERVICES)
async def site(page: Page) -> AsyncIterator[Site]:
    """A component that needs the one page."""
    yield Site(page)


@lifespan(band=LifespanBand.SERVICES, name="site")
async def site_of_home(page: Annotated[Page, Named("home")]) -> AsyncIterator[Site]:
    """A component that needs the page of that name."""
    yield Site(page)


def plan_of(*parts, **options):
    return make_plan(parts, context=Context, **options)


def kernel_of(*parts, **options):
    return Kernel(contributions=parts, discover=False, **options)


async def test_components_take_values_by_type():
    """A value is there before anything starts, and is found by type in the resources as well."""
    page = Page("home")
    async with kernel_of(site, value(page, name="home")).running() as resources:
        assert page is resources[Site].page
        assert page is resources[Page] is resources[Page, "home"]


async def test_one_of_several_is_taken_by_name():
    """The name of a value tells it apart from other values of the type."""
    home, about = Page("home"), Page("about")
    kernel = kernel_of(site_of_home, value(home, name="home"), value(about, name="about"))
    async with kernel.running() as resources:
        assert home is resources[Site].page
        assert Key(Page) not in kernel.plan.values


def test_several_values_of_a_type_need_a_name():
    """A need for the bare type is a problem that names all of them."""
    with pytest.raises(PlanError) as caught:
        plan_of(site, value(Page("home"), name="home"), value(Page("about"), name="about"))
    (problem,) = caught.value.problems
    assert "needs a Page, which value 'about' (in code, " in problem.message
    assert "and value 'home' (in code, " in problem.message
    assert (
        "Name the one that is meant: Annotated[Page, Named('about')]. "
        "All of them come by Sequence[Page] or Mapping[str, Page]."
    ) == problem.hint


def test_several_values_of_a_type_need_a_name_also_where_none_would_do():
    """An optional need isn't left empty while there are several values to choose from."""

    @lifespan(band=LifespanBand.SERVICES)
    async def shop(page: Page | None) -> AsyncIterator[None]:
        yield

    assert [] == [*plan_of(shop).warnings]
    with pytest.raises(PlanError) as caught:
        plan_of(shop, value(Page("home"), name="home"), value(Page("about"), name="about"))
    (problem,) = caught.value.problems
    assert "needs a Page, which value 'about' (in code, " in problem.message
    assert problem.hint.startswith("Name the one that is meant: Annotated[Page, Named('about')].")


class Proxy:
    def __getattr__(self, name):
        raise RuntimeError("there is no request")


def test_a_value_whose_attributes_fail():
    """The type's name is read from the class of an object, since a proxy may have no attributes."""
    assert value(Proxy(), name="request").provenance.entry_point.endswith("test_values:Proxy")


def test_a_value_and_a_component_of_one_type():
    """Both may be there, until somebody asks for the one object of the type: the problem names both."""
    parts = [site, value(Page("home"), name="home"), value(Site(None), name="static")]
    plan = plan_of(*parts)
    assert Key(Site) not in plan.provided
    assert Key(Site) not in plan.values
    assert "static" == plan.provided[Key(Site, "static")]

    @lifespan(band=LifespanBand.APPLICATION)
    async def shop(site: Site) -> AsyncIterator[None]:
        yield

    with pytest.raises(PlanError) as caught:
        plan_of(*parts, shop)
    (problem,) = caught.value.problems
    assert "needs a Site, which value 'static' (in code, " in problem.message
    assert "and lifespan 'site' (SERVICES, in code, " in problem.message


async def test_an_override_takes_the_place_of_a_value():
    """By type, as for components; the plan says that the value isn't used."""
    kernel = kernel_of(site, value(Page("home"), name="home"), overrides={Page: Page("fake")})
    assert {"home": Key(Page)} == kernel.plan.replaced
    async with kernel.running() as resources:
        assert "fake" == resources[Site].page.title


def test_values_of_other_roles_are_left_out():
    """The remedy of a missing value says to which roles the value belongs."""
    parts = [site, value(Page("home"), name="home", roles={"worker"})]
    assert ["home"] == [part.name for part in plan_of(*parts, role="worker").values.values()][:1]
    with pytest.raises(PlanError) as caught:
        plan_of(*parts, role="web")
    assert "'home' would, but belongs to the roles 'worker', not 'web'." == caught.value.problems[0].hint
    assert ["home"] == [part.name for part in plan_of(parts[1], role="web").other_roles]


def test_values_are_collected_by_type():
    """Overrides first, then values by name, without a start."""
    parts = [value(Page("b"), name="b"), value(Page("a"), name="a"), value(Site(None), name="site")]
    assert ["a", "b"] == [page.title for page in plan_of(*parts).values_of(Page)]
    plan = plan_of(*parts, overrides={(Page, "x"): Page("given")})
    assert ["given", "a", "b"] == [page.title for page in plan.values_of(Page)]
    assert () == plan.values_of(str)


def test_collecting_refuses_components_and_other_types():
    """A component of the type would need a start, and an override of another type isn't one."""
    plan = plan_of(site, value(Page("home"), name="home"), overrides={(Site, "x"): "no site"})
    with pytest.raises(PlanError) as caught:
        plan.values_of(Site)
    assert [
        "an override provides 'no site' as Site, which it isn't.",
        "the component 'site' provides Site, which is collected without a start.",
    ] == [problem.message for problem in caught.value.problems]


def test_a_value_satisfies_what_requires_it():
    """``requires`` and ``after`` may name a value: values are there before anything starts."""

    @lifespan(band=LifespanBand.SERVICES, requires=["home"], after=["home"])
    async def reader() -> AsyncIterator[None]:
        yield

    assert ["reader"] == [component.name for component in plan_of(reader, value(Page("home"), name="home"))]


def test_a_value_is_explained():
    """By its name, as every part of the plan."""
    plan = plan_of(site, value(Page("home"), name="home"))
    explanation = plan.explain("home")
    assert "a value, ready before anything starts" == explanation.place
    assert ("provides Page", "provides Page named 'home'") == tuple(sorted(explanation.facts))
    assert ("takes page: Page from 'home'",) == plan.explain("site").facts[:1]


async def test_an_override_of_a_type_that_several_values_provide():
    """A part that asks for the one object gets the override; the values stay, by name and in collections."""
    home, about, fake = Page("home"), Page("about"), Page("fake")
    kernel = kernel_of(site, value(home, name="home"), value(about, name="about"), overrides={Page: fake})
    async with kernel.running() as resources:
        assert fake is resources[Site].page is resources[Page]
        assert (fake, about, home) == resources[Sequence[Page]]
        assert home is resources[Page, "home"]
    twice = [value(each, name=each.title, provides=(Page, "x")) for each in (home, about)]
    assert () == kernel_of(*twice, overrides={(Page, "x"): fake}).plan.warnings
    with pytest.raises(PlanError, match="both provide a Page named 'x'"):
        kernel_of(*twice)


def test_values_beside_components():
    """Components of other types don't hinder the collection of values."""

    @lifespan(band=LifespanBand.APPLICATION)
    async def clock() -> AsyncIterator[Key[Site]]:
        yield Key(Site)

    home = Page("home")
    assert (home,) == plan_of(clock, value(home, name="home")).values_of(Page)
