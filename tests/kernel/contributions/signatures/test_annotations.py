"""Tests of annotations that are text."""

import functools
import re
from collections.abc import AsyncIterator
from typing import (
    Annotated,
)

import pytest
from tests.kernel import deferred
from tests.kernel.contributions.signatures.examples import returning

from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.signatures import read_needs, read_provides
from bandmaster.kernel.errors import SignatureError


@pytest.mark.parametrize("function", [deferred.everything, deferred.wrapped, functools.partial(deferred.wrapped)])
def test_annotations_that_are_text(function):
    """``from __future__ import annotations`` changes nothing, also for wrappers from other modules."""
    assert [
        ("database", Key(deferred.Database), False),
        ("cache", Key(deferred.Cache), True),
        ("replica", Key(deferred.Database, "replica"), True),
        ("other", Key(deferred.Database, "other"), True),
        ("repository", Key(deferred.Repository[deferred.Cache]), False),
        ("reads", Key(deferred.Reads), True),
    ] == [(need.parameter, need.key, need.optional) for need in read_needs(function)]
    assert [Key(deferred.Database)] == read_provides(function)


WHAT_TO_DO = "Import the name at run time, not under TYPE_CHECKING, and define it at module level"


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("read", "function", "expected"),
    [
        (
            read_needs,
            deferred.absent_parameter,
            f"the type of parameter 'absent' can't be resolved: name 'Absent' is not defined. {WHAT_TO_DO}",
        ),
        (
            read_needs,
            deferred.absent_default,
            f"the type of parameter 'absent' can't be resolved: name 'Absent' is not defined. {WHAT_TO_DO}",
        ),
        (
            read_provides,
            deferred.absent_return,
            f"its return type can't be resolved: name 'Absent' is not defined. {WHAT_TO_DO}",
        ),
        (
            read_provides,
            deferred.Unreadable,
            "the return type of Unreadable.__aenter__ can't be resolved: name 'Absent' is not defined. " + WHAT_TO_DO,
        ),
        (read_provides, deferred.not_python, "its return type can't be resolved: SyntaxError: "),
        (read_needs, deferred.no_type, "parameter 'five' has the type 5, which doesn't say what it needs"),
        (
            read_needs,
            deferred.no_attribute,
            (
                "the type of parameter 'it' can't be resolved: "
                "AttributeError: module 'functools' has no attribute 'nothing'"
            ),
        ),
    ],
)
def test_annotations_that_can_not_be_read(read, function, expected):
    """The message names the annotation and the remedy."""
    with pytest.raises(SignatureError, match=f"^{re.escape(expected)}"):
        read(function)


def test_one_unreadable_annotation_harms_no_other():
    """The provided type can be read although a parameter's annotation can't."""
    assert [Key(deferred.Database)] == read_provides(deferred.absent_parameter)
    assert [] == read_needs(deferred.absent_parameter, given={"absent"})


def test_a_foreign_class_may_have_unreadable_annotations():
    """A class may import types for type checkers only, if the parameters have arguments or defaults."""
    assert ["database", "cache"] == [need.parameter for need in read_needs(deferred.Layer, positional=1)]
    with pytest.raises(SignatureError, match=r"^the type of parameter 'app' can't be resolved"):
        read_needs(deferred.Layer)


def test_an_alias_that_can_not_be_read():
    """A ``type X = ...`` alias is evaluated late, and an error in the alias is reported."""

    class TypeAliasType:
        __name__ = "Late"

        @property
        def __value__(self):
            raise NameError("name 'Absent' is not defined")

    with pytest.raises(SignatureError, match=r"^the type Late can't be resolved: name 'Absent' is not defined$"):
        read_provides(returning(AsyncIterator[Annotated[TypeAliasType(), 1]]))
