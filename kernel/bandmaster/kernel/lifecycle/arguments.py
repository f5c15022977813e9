"""Make the arguments of a factory or a constructor from the needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from bandmaster.kernel.contributions.signatures import Kind, Need
from bandmaster.kernel.lifecycle.resources import Resources

NOTHING: Final = object()
"""The answer of a lookup that finds nothing; None is an object that a component may provide."""


def look_up(resources: Resources) -> Callable[[Need], Any]:
    """A lookup among resources, for `make_arguments`."""

    def find(need: Need) -> Any:
        # `get` would raise for settings that several values provide, and that are read from the environment then.
        return resources[need.key] if need.key in resources else NOTHING  # noqa: SIM401

    return find


def make_arguments(needs: Iterable[Need], find: Callable[[Need], Any], settings: Mapping[type, Any]) -> dict[str, Any]:
    """The arguments by parameter: the result of ``find``, else settings.

    A parameter for which there is neither keeps its default. Without a default the argument is None, or an
    empty collection.
    """
    arguments: dict[str, Any] = {}
    for need in needs:
        value = find(need)
        if value is not NOTHING:
            arguments[need.parameter] = value
        elif need.kind is Kind.SETTINGS and need.key.type in settings:
            arguments[need.parameter] = settings[need.key.type]
        elif not need.has_default:
            arguments[need.parameter] = need.empty
    return arguments
