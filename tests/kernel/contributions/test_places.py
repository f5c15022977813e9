"""Tests of bandmaster.kernel.contributions.places."""

import functools
import inspect
from contextlib import asynccontextmanager
from fractions import Fraction

import pytest

from bandmaster.kernel.contributions.places import find_definition, find_place


def build():
    return 1


@asynccontextmanager
async def managed():
    yield


class Opens:
    def __call__(self):
        return 1


HERE = f"{__file__}:"


@pytest.mark.parametrize(
    ("defined", "line"),
    [
        (build, build.__code__.co_firstlineno),
        (functools.partial(build), build.__code__.co_firstlineno),
        (managed, managed.__wrapped__.__code__.co_firstlineno),
        (Opens(), Opens.__call__.__code__.co_firstlineno),
        (Opens, inspect.findsource(Opens)[1] + 1),
        (functools.partial(Opens), inspect.findsource(Opens)[1] + 1),
    ],
)
def test_the_place_of_a_definition(defined, line):
    """The place is that of the code that somebody wrote, inside of partials and decorators."""
    assert f"{HERE}{line}" == find_place(defined)


def test_the_place_of_a_definition_without_a_source():
    """Compiled code has no line, and is placed by its module."""
    made = type("Made", (), {"__module__": "shop.parts"})
    assert ["in shop.parts", "in builtins"] == [find_place(made), find_place(int)]


def test_the_place_of_a_call():
    """A class is placed where the kernel was called: there its decorator stands."""
    line, place = inspect.currentframe().f_lineno, find_definition(Fraction)
    assert f"{HERE}{line}" == place
    assert f"{HERE}{build.__code__.co_firstlineno}" == find_definition(build)
