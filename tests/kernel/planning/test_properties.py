"""Properties of every plan, with parts that decorate, collect and may be left out: bandmaster.kernel.planning."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from pydantic_settings import BaseSettings
from tests.kernel.planning.composing import part

from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.planning.make import make_plan

NAMES = "abcdefgh"
KINDS = {name: type(f"Type{name.upper()}", (), {}) for name in NAMES}


class Group: ...


class Flags(BaseSettings):
    """The names of parts that are on."""

    on: frozenset[str] = frozenset()


def is_on(name):
    def when(flags: Flags) -> bool:
        return name in flags.on

    return when


@st.composite
def compositions(draw, conditional=False):
    """Parts that fit together: later ones depend on earlier ones, and decorate types that nobody has asked for yet.

    Of parts with conditions, only those have one that nobody needs.
    """
    parts, asked, stage = [], set(), 0
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    needed = set()
    for place, name in enumerate(names):
        stage += draw(st.integers(0, 3)) == 3
        earlier = [other for other in names[:place] if draw(st.booleans())]
        free = [other for other in names[:place] if other not in asked]
        decorates = draw(st.sampled_from(free)) if free and draw(st.booleans()) else None
        needs = [other for other in earlier if other != decorates]
        asked.update(needs)
        needed.update(needs, [decorates] if decorates else ())
        parts.append((name, stage, needs, decorates, draw(st.booleans())))
    made = []
    for name, stage, needs, decorates, in_group in parts:
        wanted = [KINDS[other] for other in needs] + ([KINDS[decorates]] if decorates else [])
        provides = (KINDS[name], *([Group] if in_group else []))
        made.append(
            part(
                name,
                stage,
                needs=wanted,
                decorates=KINDS[decorates] if decorates else None,
                when=is_on(name) if conditional and name not in needed else None,
            )
        )
        object.__setattr__(made[-1], "provides", tuple(map(Key, provides)))
    return [*made, part("collects", 99, needs=[Sequence[Group]])]


def describe(plan):
    """Everything about a plan but the objects that differ from one plan to the next."""
    return (
        [(each.name, each.waits_for, each.needs, each.provides) for each in plan],
        plan.stages,
        plan.providers.by_key,
        plan.warnings,
        [plan.explain(each.name) for each in plan],
    )


@given(compositions())
def test_the_order_respects_every_edge(parts):
    """Every component comes after the awaited ones, and every need has an edge to the provider."""
    plan = make_plan(parts)
    place = {component.name: number for number, component in enumerate(plan)}
    assert len(parts) == len(place)
    for component in plan:
        awaited = {edge.to for edge in component.waits_for}
        assert all(place[other] < place[component.name] for other in awaited)
        for need in component.needs:
            assert {source.name for source in plan.providers.find_sources(need, component.name)} <= awaited


@given(compositions(), st.randoms(use_true_random=False))
def test_the_order_in_which_parts_come_changes_nothing(parts, chance: random.Random):
    """Parts in another order give an equal plan, with equal reasons."""
    shuffled = list(parts)
    chance.shuffle(shuffled)
    assert describe(make_plan(parts)) == describe(make_plan(shuffled))


@given(compositions())
def test_every_chain_is_total(parts):
    """Each decorator is in the one chain of the type and takes the object before; all others get the last one."""
    plan = make_plan(parts)
    place = {component.name: number for number, component in enumerate(plan)}
    for chains in plan.providers.by_type.values():
        for chain in chains:
            assert sorted(chain.components, key=place.__getitem__) == [*chain.components]
    for component in plan:
        if (key := component.contribution.decorates) is not None:
            (chain,) = plan.providers.by_key[key]
            assert 1 == chain.decorators.count(component.name)
            assert chain is plan.providers.decorated[component.name]
            inner = chain.find_inner(component.name).name
            assert chain.components.index(inner) + 1 == chain.components.index(component.name)
        for need in component.needs:
            if not need.decorated and need.collection is None:
                chain = plan.providers.find_one(need.key)
                assert (chain.outermost,) == plan.providers.find_sources(need, component.name)


@given(compositions())
def test_a_collection_has_everybody_in_plan_order(parts):
    """Each provider of the type once, in the order of the plan."""
    plan = make_plan(parts)
    providers = [component.name for component in plan if Key(Group) in component.provides]
    assert providers == [chain.provider.name for chain in plan.providers.by_type.get(Group, ())]


@given(compositions(conditional=True), st.sets(st.sampled_from(NAMES)))
def test_what_is_left_out_is_as_if_it_were_not_there(parts, on):
    """A plan with conditions equals the plan of the parts with true conditions; the others are omitted."""
    flags = Flags(on=frozenset(on))
    plan = make_plan(parts, overrides={Flags: flags})
    kept = [each for each in parts if each.when is None or each.name in on]
    assert {each.name for each in parts} - {each.name for each in kept} == {each.part.name for each in plan.omitted}
    assert describe(make_plan(kept, overrides={Flags: flags}))[:3] == describe(plan)[:3]
