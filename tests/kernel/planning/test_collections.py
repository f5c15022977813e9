"""Tests of collections in plans, ``Sequence[T]`` and ``Mapping[str, T]``: bandmaster.kernel.planning."""

import typing
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any, Protocol

import pytest
from tests.kernel.planning.composing import (
    APPLICATION,
    MESSAGING,
    OBSERVABILITY,
    SERVICES,
    Database,
    Hooks,
    PoolSettings,
    describe,
    layer,
    names,
    part,
    problem,
    problems,
)

from bandmaster.kernel import Kernel, LifespanBand, Named, PlanError, create_app, lifespan, value
from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.planning.make import make_plan

pytestmark = pytest.mark.anyio

NAMED = Annotated[Database, Named("replica")]
BOTH = (
    "parameter 'p0' asks for every Database, and by Named for one; write {} for all of them, or "
    "Annotated[Database, Named('replica')] for the one."
)


class Exporter(Protocol): ...


class Export:
    def __init__(self, kind):
        self.kind = kind

    def __repr__(self):
        return self.kind


class Reports:
    def __init__(self, given):
        self.given = given


def exporter(name, band=SERVICES, **fields):
    @lifespan(band=band, name=name, provides=fields.pop("provides", Exporter), **fields)
    async def function() -> AsyncIterator[None]:
        yield Export(name)

    return function


@lifespan(band=APPLICATION)
async def reports(exporters: Sequence[Exporter], by_name: Mapping[str, Exporter]) -> AsyncIterator[Reports]:
    """Asks for every exporter, in both forms."""
    yield Reports((exporters, by_name))


async def gather(*parts, **options):
    kernel = Kernel(contributions=parts, discover=False, **options)
    async with kernel.running() as resources:
        return kernel.plan, resources, resources[Reports].given


async def test_every_provider_in_plan_order_and_by_name():
    """A sequence follows the plan's order, and a mapping has the names of the parts; neither can be changed."""
    plan, _, (sequence, mapping) = await gather(
        reports, exporter("a"), exporter("z", OBSERVABILITY), exporter("m", MESSAGING)
    )
    assert ["z", "m", "a"] == [each.kind for each in sequence]
    assert {"z": sequence[0], "m": sequence[1], "a": sequence[2]} == mapping
    assert ["z", "m", "a"] == [*mapping]
    assert isinstance(sequence, tuple)
    with pytest.raises(TypeError):
        mapping["x"] = 1
    assert [("a", "it needs every Exporter"), ("m", "it needs every Exporter"), ("z", "it needs every Exporter")] == [
        (edge.to, edge.why) for edge in plan.by_name["reports"].waits_for
    ]


async def test_nobody_provides_any():
    """A collection that nothing provides is empty, and the explanation says so."""
    plan, resources, given = await gather(reports)
    assert ((), {}) == given
    assert ((), {}) == (resources[Sequence[Exporter]], resources[Mapping[str, Exporter]])
    assert "takes exporters: Sequence[Exporter] from nobody, so it is empty" in plan.explain("reports").facts


async def test_values_and_overrides_are_providers():
    """Overrides and values come first: they are there before anything starts. An override has the replaced part's name.

    Two overridden parts have one override, under the name of the type.
    """
    parts = [reports, exporter("a"), exporter("b"), value(Export("v"), name="page", provides=Exporter)]
    _, _, (sequence, mapping) = await gather(*parts)
    assert ("[v, a, b]", ["page", "a", "b"]) == (str([*sequence]), [*mapping])
    plan, _, (sequence, mapping) = await gather(
        reports, exporter("a"), exporter("b", provides=(Exporter, "b")), overrides={Exporter: Export("fake")}
    )
    assert ("[fake, b]", ["a", "b"]) == (str([*sequence]), [*mapping])
    assert {"a": Key(Exporter)} == plan.replaced
    assert "takes exporters: Sequence[Exporter] from an override and 'b'" in plan.explain("reports").facts
    _, _, (sequence, mapping) = await gather(
        reports, exporter("a"), exporter("b"), overrides={Exporter: Export("fake")}
    )
    assert ("[fake]", ["Exporter"]) == (str([*sequence]), [*mapping])


@pytest.mark.parametrize("kind", [Sequence[Exporter], typing.Sequence[Exporter]])
async def test_a_collection_can_be_overridden(kind):
    """An override of a collection goes to everybody who asks for the collection; the parts run all the same."""
    plan, resources, (sequence, mapping) = await gather(reports, exporter("a"), overrides={kind: ["fake"]})
    assert (["fake"], ["a"]) == (sequence, [*mapping])
    assert ["fake"] == resources[kind]
    assert ((), ["a", "reports"]) == (plan.warnings, names(plan))
    # The mapping is asked for as well, so the edge is there; the sequence needs none.
    assert ["a"] == [edge.to for edge in plan.by_name["reports"].waits_for]


async def test_several_of_one_type_without_a_name():
    """Several providers are no fault until somebody asks for one object; the resources then name all of them."""
    plan, resources, (sequence, _) = await gather(reports, exporter("a"), exporter("b"))
    assert Key(Exporter) not in plan.provided
    assert "which nothing provides" == plan.providers.describe_fault(Key(Database))
    assert "" == plan.providers.describe_fault(Key(Sequence[Database]))
    assert "which 'a' and 'b' provide" == plan.providers.describe_fault(Key(Exporter))
    for ask in (lambda: resources[Exporter], lambda: resources.get(Exporter)):
        with pytest.raises(KeyError) as caught:
            ask()
        assert (
            "'a' and 'b' provide Exporter each; ask for one by its name, or for all by Sequence[Exporter]"
        ) == caught.value.args[0]
    assert Exporter not in resources
    assert {Key(Exporter): ("a", "b")} == resources.several
    assert sequence == resources[Sequence[Exporter]] == resources.get(typing.Sequence[Exporter])
    assert Sequence[Exporter] in resources
    assert Sequence[Database] not in resources


@pytest.mark.parametrize("wanted", [Database, Database | None])
def test_one_of_several_without_a_name_is_a_problem(wanted):
    """For an optional parameter as well: None would hide that the choice is open."""
    one, two, three = (part(name, provides=Database) for name in ("one", "two", "three"))
    assert problem(one, two, three, part("asks", needs=[wanted])).startswith(
        f"{describe('asks')} needs a Database, which {describe('one')}, {describe('three')} and {describe('two')} "
        "provide. Let each provide"
    )


def test_named_ones_are_included():
    """A name tells one apart, and takes it out of no collection."""
    plan = make_plan([part("a", provides=Database), part("b", provides=NAMED), part("all", needs=[Sequence[Database]])])
    assert ["a", "b"] == [source.name for source in plan.providers.find_sources(plan.by_name["all"].needs[0])]


def test_a_provider_in_a_later_stage_is_a_problem():
    """The problem names both ends, as for every edge."""
    message = problem(part("late", APPLICATION, provides=Database), part("all", needs=[Sequence[Database]]))
    assert (
        f"{describe('all')} is to wait for {describe('late', 'APPLICATION')}, which starts in a later stage: it needs "
        "every Database."
    ) in message


def test_a_part_can_not_collect_itself():
    """A component that collects and provides a type would wait for itself."""
    assert (
        f"{describe('all')} needs every Database, one of which it provides itself. Let it provide a class of its own, "
        "which isn't among those that it collects."
    ) == problem(part("all", needs=[Sequence[Database]], provides=Database), part("a", provides=Database))


def test_an_override_and_a_part_of_one_name_in_a_mapping_are_a_problem():
    """An override that replaces nothing has the type's name, and a part may have that name as well."""
    parts = [part("Database", provides=NAMED), part("all", needs=[Mapping[str, Database]])]
    assert (
        f"{describe('all')} needs a Mapping[str, Database], and an override of a Database and {describe('Database')} "
        "have the same name. Rename one of them."
    ) == problem(*parts, overrides={Database: 1})


def test_two_of_one_name_in_a_mapping_are_a_problem():
    """A component and a value may have the same name, and a mapping has room for one."""
    same = [part("a", provides=Database), value(Database(), name="a")]
    (found,) = problems(*same, part("all", needs=[Mapping[str, Database]]))
    assert "needs a Mapping[str, Database], and value 'a' (in code" in found.message
    assert f"and {describe('a')} have the same name." in found.message
    assert ["a", "all"] == names(make_plan([*same, part("all", needs=[Sequence[Database]])]))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Annotated[Sequence[Database], Named("replica")], BOTH.format("Sequence[Database]")),
        (Mapping[str, NAMED], BOTH.format("Mapping[str, Database]")),
        (Sequence[Any], "parameter 'p0' has the type Sequence[Any], which doesn't say what it needs."),
        (
            Sequence[Database | PoolSettings],
            "parameter 'p0' has the type Sequence[Database | PoolSettings], which doesn't say what it needs.",
        ),
    ],
)
def test_collections_that_make_no_sense(wanted, expected):
    """A name beside a collection contradicts it, and a collection of anything says nothing."""
    found = problem(part("all", needs=[wanted]))
    assert f"lifespan 'all' (SERVICES, acme 1.0): {expected}" == found.replace(" (<string>:1)", "")


@pytest.mark.parametrize(
    ("provided", "shown"),
    [(Sequence[Database], "Sequence[Database]"), (Mapping[str, Database], "Mapping[str, Database]")],
)
def test_a_collection_can_not_be_provided(provided, shown):
    """A part that asks for a provided collection would get every provider of the member instead."""
    expected = (
        f"provides a {shown}, which to those who ask for it means every Database of the plan. Let it provide a class "
        "of its own, or a NewType."
    )
    assert f"{describe('odd')} {expected}" == problem(part("odd", provides=provided))
    assert f"value 'odd' (in code, builtins:list) {expected}" == problem(value([], name="odd", provides=provided))


@pytest.mark.parametrize(
    ("wanted", "instead"),
    [
        (list[Database], "Sequence[Database]"),
        (tuple[Database, ...], "Sequence[Database]"),
        (set[Database], "Sequence[Database]"),
        (typing.Iterable[Database], "Sequence[Database]"),
        (dict[str, Database], "Mapping[str, Database]"),
    ],
)
def test_other_collections_lead_to_the_right_ones(wanted, instead):
    """A list or a dict is a type that a part may provide; where none does, the problem has the annotation to write."""
    message = problem(part("a", provides=Database), part("asks", needs=[wanted]))
    assert message.endswith(f"which nothing provides. 'a' provides Database; write {instead} for all of them.")


def test_a_list_may_be_provided():
    """A list is one object, which one part provides."""
    plan = make_plan([part("a", provides=list[Database]), part("asks", needs=[list[Database]])])
    assert ["a"] == [edge.to for edge in plan.by_name["asks"].waits_for]


@pytest.mark.parametrize(
    "wanted", [typing.Sequence[Database], Sequence[Database] | None, typing.Mapping[str, Database]]
)
def test_other_spellings(wanted):
    """The names of ``typing`` mean the same, and None beside a collection changes nothing: it is empty at most."""
    plan = make_plan([part("a", provides=Database), part("all", needs=[wanted])])
    assert ["a"] == [edge.to for edge in plan.by_name["all"].waits_for]
    assert make_plan([part("all", needs=[wanted])]).by_name["all"].needs[0].empty is not None


class Exports(Hooks):
    def __init__(self, exporters: Sequence[Exporter], others: Sequence[Database] = (Database,)) -> None:
        self.exporters, self.others = exporters, others


class Allows(Hooks):
    def __init__(self, hosts: Sequence[str]) -> None: ...


class Methods(Hooks):
    def __init__(self, methods: Sequence[str] = ("GET",), anything: Sequence[Any] = ()) -> None: ...


async def test_layers_take_collections():
    """A layer's constructor gets them; where nothing provides any, a default stays."""
    made = []

    class Kept(Exports):
        def __init__(self, exporters: Sequence[Exporter], others: Sequence[Database] = (Database,)) -> None:
            made.append((exporters, others))

    app = create_app(contributions=[exporter("a"), layer("kept", kind=Kept)], discover=False)
    async with app.running():
        pass
    ((exporters, others),) = made
    assert ("[a]", (Database,)) == (str([*exporters]), others)
    assert "takes exporters: Sequence[Exporter] from 'a'" in app.plan.explain("kept").facts
    assert "takes others: Sequence[Database] from its default" in app.plan.explain("kept").facts


def test_lists_of_plain_values_are_options():
    """An empty list of hosts would hide that somebody forgot the option; a constructor's own default stays."""
    assert problem(layer("it", kind=Allows)).startswith(
        "layer 'it' (POLICY, acme 1.0) needs a Sequence[str], and no part provides one of them. Plain values belong"
    )
    plan = make_plan([layer("it", kind=Allows, options={"hosts": ["a"]}), layer("methods", kind=Methods)])
    assert "takes methods: Sequence[str] from its default" in plan.explain("methods").facts


async def test_a_plain_value_that_may_be_missing():
    """An optional collection of plain values is None where no part provides one of them."""

    @lifespan(band=LifespanBand.SERVICES)
    async def asks(hosts: Sequence[str] | None) -> AsyncIterator[Reports]:
        yield Reports(hosts)

    assert (await gather(asks))[2] is None
    assert ("x",) == (await gather(asks, value("x", name="host")))[2]


async def test_a_settings_type_as_member():
    """A collection of settings has the objects of parts and overrides, and reads no variables."""

    @lifespan(band=LifespanBand.SERVICES)
    async def asks(pools: Sequence[PoolSettings]) -> AsyncIterator[Reports]:
        yield Reports(pools)

    plan, _, given = await gather(asks, overrides={(PoolSettings, "x"): PoolSettings(size=3)})
    assert ([3], False) == ([pool.size for pool in given], PoolSettings in plan.settings)


def test_a_collection_of_what_is_left_out():
    """The explanation names the part that a condition leaves out."""
    left_out = part("b", provides=Database, when=lambda: False)
    plan = make_plan([part("a", provides=Database), left_out, part("all", needs=[Sequence[Database]])])
    assert ("takes p0: Sequence[Database] from 'a' ('b' would provide one, but its when= says no)") in plan.explain(
        "all"
    ).facts


def test_an_unknown_member_in_an_override_is_a_warning():
    """An override of a type that is only asked for as a collection is used."""
    plan = make_plan([part("all", needs=[Sequence[Database]])], overrides={Database: 1})
    assert () == plan.warnings
    with pytest.raises(PlanError):
        make_plan([part("all", needs=[Database])])
