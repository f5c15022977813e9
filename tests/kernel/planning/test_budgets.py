"""Tests of bandmaster.kernel.planning.budgets."""

import functools

import pytest
from tests.kernel.planning.composing import Database, PoolSettings, SecretSettings, describe, part, problems

from bandmaster.kernel import (
    Context,
    Problem,
)
from bandmaster.kernel.contributions.places import find_place
from bandmaster.kernel.planning.make import make_plan


def annotated(pool: PoolSettings) -> dict[str, int]:
    return {"postgres": pool.size}


def with_default(pool: PoolSettings, factor: int = 2, other: SecretSettings | None = None) -> dict[str, int]:
    assert other is None
    return {"postgres": pool.size * factor}


def stranger(pool: PoolSettings, secret: SecretSettings) -> dict[str, int]: ...


def not_settings(database: Database) -> dict[str, int]: ...


@pytest.mark.requirement("XC-R1", "CF-04")
@pytest.mark.parametrize(
    ("needs", "budget", "expected"),
    [
        ([], {"postgres": 3}, 3),
        ([], lambda: {"postgres": 4}, 4),
        ([PoolSettings], lambda settings: {"postgres": settings.size}, 10),
        ([PoolSettings, PoolSettings], lambda settings: {"postgres": settings.size}, 10),
        ([Context, PoolSettings], annotated, 10),
        ([PoolSettings], with_default, 20),
        ([PoolSettings], functools.partial(with_default, factor=3), 30),
    ],
)
def test_a_budget_is_numbers_or_a_function_of_settings(needs, budget, expected):
    """A budget is numbers, or a function with settings types as parameters; one parameter needs no annotation."""
    plan = make_plan([part("a", needs=needs, budget=budget)], context=Context)
    assert {"postgres": expected} == plan.budget


@pytest.mark.requirement("XC-R1", "CF-04", "CF-29")
def test_budgets_are_summed():
    """The plan's budget sums the budgets of all components that start in one process, by resource."""
    parts = [
        part("a", budget={"postgres": 15, "threads": 4}),
        part("b", budget={"postgres": 3, "redis": 1}),
        part("other", roles="worker", budget={"postgres": 100}),
        part("replaced", provides=Database, budget={"postgres": 100}),
    ]
    plan = make_plan(parts, role="web", overrides={Database: 1}, processes=4)
    assert {"postgres": 18, "redis": 1, "threads": 4} == plan.budget
    assert ["postgres", "redis", "threads"] == list(plan.budget)
    assert 4 == plan.processes


@pytest.mark.parametrize(
    ("needs", "budget", "expected"),
    [
        ([], lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        ([], lambda: {"a": -1}, "budget: expected names with numbers from 0 up, got 'a': -1"),
        ([], lambda: None, "budget: expected a mapping like {'postgres': 15}, got None"),
        ([], lambda settings: {}, "parameter 'settings' has no type; write one, or give it a default"),
        ([PoolSettings], lambda a, b: {}, "parameter 'a' has no type; write one, or give it a default"),
        ([PoolSettings], stranger, "it asks for 'SecretSettings', which isn't among its settings"),
        ([], not_settings, "it asks for 'Database', which isn't among its settings"),
        ([], max, "its signature can't be read: no signature found for builtin <built-in function max>"),
    ],
)
def test_a_budget_function_that_fails_is_one_problem(needs, budget, expected):
    """A budget function that fails is one problem of several, for every kind of exception."""
    others = [part("b", needs=[SecretSettings])]
    found = problems(
        part("a", needs=needs, budget=budget),
        *others,
        read_settings=lambda kinds: ({PoolSettings: PoolSettings()}, [Problem("SECRET is not set.")]),
    )
    failed = f"{describe('a')}: its budget can't be had: {expected} ({find_place(budget)})."
    assert ["SECRET is not set.", failed] == list(map(str, found))
