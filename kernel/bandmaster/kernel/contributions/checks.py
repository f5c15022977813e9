"""Checks of the fields of contributions. Error messages begin with the name of the field."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any, get_origin

from bandmaster.kernel.contributions.keys import Key, find_collection, is_pair, is_too_wide, type_name

_TYPING = ("typing", "typing_extensions")
"""The modules of the types whose instances stand for a type, such as ``type X = ...`` and ``NewType``."""


def check_callable(value: object, label: str) -> None:
    """Refuse a value that can't be called.

    Raises:
        ValueError: the value can't be called.
    """
    if not callable(value):
        raise ValueError(f"{label}: expected something callable, got {value!r}")


def check_seconds(value: object, label: str) -> None:
    """Refuse a deadline that is neither none nor a number of seconds above 0.

    Raises:
        ValueError: the deadline is something else.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{label}: expected seconds above 0, got {value!r}")


def check_budget(budget: object) -> dict[str, int]:
    """The budget as a plain dict.

    Raises:
        ValueError: the budget isn't a mapping of names to whole numbers from 0 up.
    """
    if not isinstance(budget, Mapping):
        raise ValueError(f"budget: expected a mapping like {{'postgres': 15}}, got {budget!r}")
    for key, amount in budget.items():
        if not isinstance(key, str) or isinstance(amount, bool) or not isinstance(amount, int) or amount < 0:
            raise ValueError(f"budget: expected names with numbers from 0 up, got {key!r}: {amount!r}")
    return dict(budget)


def check_names(value: object, label: str) -> tuple[str, ...]:
    """One name or several as a tuple.

    Raises:
        ValueError: one of them isn't text, or is empty.
    """
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, Iterable):
        raise ValueError(f"{label}: expected names, got {value!r}")
    found = tuple(names)
    for name in found:
        if not isinstance(name, str) or not name:
            raise ValueError(f"{label}: expected names, got {name!r}")
    return found


def check_roles(value: Iterable[str] | str | None) -> frozenset[str] | None:
    """One role or several as a set; None means every role.

    Raises:
        ValueError: the set is empty, or a role isn't text.
    """
    if value is None:
        return None
    roles = frozenset(check_names(value, "roles"))
    if not roles:
        raise ValueError("roles: an empty set would start nowhere; leave it out for every role")
    return roles


def check_provides(value: Any) -> tuple[Key, ...]:
    """One provided type or several as keys.

    Raises:
        ValueError: one of them can't be asked for.
    """
    several = isinstance(value, list | tuple) and not is_pair(value)
    try:
        keys = tuple(Key.of(part) for part in (value if several else (value,)))
        hash(keys)
    except (TypeError, ValueError) as error:
        raise ValueError(f"provides: expected types or pairs (type, name), got {value!r}") from error
    for key in keys:
        if is_too_wide(key.type) or not _is_type(key.type):
            raise ValueError(f"provides: expected types or pairs (type, name), got {key.type!r}")
    return keys


def check_decorates(value: Any) -> Key | None:
    """The decorated type as a key; None for a component that decorates nothing.

    Raises:
        ValueError: the type can't be asked for, or stands for several objects.
    """
    if value is None:
        return None
    try:
        key = Key.of(value)
        hash(key)
    except (TypeError, ValueError) as error:
        raise ValueError(f"decorates: expected one type or a pair (type, name), got {value!r}") from error
    if is_too_wide(key.type) or not _is_type(key.type):
        raise ValueError(f"decorates: expected one type or a pair (type, name), got {value!r}")
    if (collection := find_collection(key.type)) is not None:
        raise ValueError(
            f"decorates: {type_name(key.type)} stands for every {type_name(collection.member)}; a component decorates "
            "one. Write Annotated[..., Named('...')] for one of several"
        )
    return key


def check_when(value: object) -> None:
    """Refuse a condition that isn't a plain function.

    Raises:
        ValueError: the condition can't be called, or is async.
    """
    if value is None:
        return
    if isinstance(value, bool):
        raise ValueError(f"when: expected a function of settings types that returns a bool, got {value!r}")
    check_callable(value, "when")
    called = value if inspect.isroutine(value) else getattr(type(value), "__call__", None)  # noqa: B004
    if inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called):
        raise ValueError(f"when: expected a plain function, got an async one, {value!r}; it is called while planning")


def _is_type(kind: Any) -> bool:
    """Whether an annotation may be written so: a class, a generic type, an alias or a ``NewType``, and no instance."""
    return isinstance(kind, type) or get_origin(kind) is not None or type(kind).__module__ in _TYPING
