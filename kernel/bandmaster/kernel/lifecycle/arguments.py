"""Make the arguments of a factory or a constructor from its needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from bandmaster.kernel.contributions.signatures import Kind, Need

NOTHING: Final = object()
"""The answer of a lookup that finds nothing; None is an object that a component may provide."""


def make_arguments(needs: Iterable[Need], find: Callable[[Need], Any], settings: Mapping[type, Any]) -> dict[str, Any]:
    """The arguments by parameter: what ``find`` finds, else settings.

    A parameter for which there is neither keeps its default. Without a default it gets None, or an empty collection.
    """
    arguments: dict[str, Any] = {}
    for need in needs:
        value = find(need)
        if value is not NOTHING:
            arguments[need.parameter] = value
        elif need.kind is Kind.SETTINGS:
            arguments[need.parameter] = settings[need.key.type]
        elif not need.has_default:
            arguments[need.parameter] = need.empty
    return arguments
