"""Find the components that overrides replace. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.model import LifespanContribution, ValueContribution
from bandmaster.kernel.planning.offered_keys import list_value_keys


def find_replaced(
    lifespans: Mapping[str, LifespanContribution],
    provides: Mapping[str, tuple[Key, ...]],
    values: Mapping[Key, ValueContribution],
    overrides: Mapping[Key, Any],
) -> dict[str, Key]:
    """The components that an override replaces. Those that decorate the overridden one are left out with it."""
    replaced: dict[str, Key] = {}
    for name, part in lifespans.items():
        taken = next((key for key in provides[name] if key in overrides and key != part.decorates), None)
        if taken is not None:
            replaced[name] = taken
    for name, part in lifespans.items():
        key = part.decorates
        if key is None or name in replaced:
            continue
        taken = key if key in overrides else _find_override_of_provider(key, lifespans, provides, values, overrides)
        if taken is not None:
            replaced[name] = taken
    return replaced


def _find_override_of_provider(
    decorated: Key,
    lifespans: Mapping[str, LifespanContribution],
    provides: Mapping[str, tuple[Key, ...]],
    values: Mapping[Key, ValueContribution],
    overrides: Mapping[Key, Any],
) -> Key | None:
    """The override that replaces the one provider of a decorated key, under another name of the same type."""
    offered = [keys for name, keys in provides.items() if decorated in keys and lifespans[name].decorates != decorated]
    if decorated in values:
        offered.append(list_value_keys(values[decorated]))
    if len(offered) != 1:
        return None
    return next((key for key in offered[0] if key.type == decorated.type and key in overrides), None)
