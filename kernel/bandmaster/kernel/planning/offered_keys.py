"""List the keys under which a part can be asked for. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.model import LifespanContribution, ValueContribution
from bandmaster.kernel.contributions.signatures import read_provides
from bandmaster.kernel.errors import SignatureError
from bandmaster.kernel.planning.parts import Omission


def list_value_keys(part: ValueContribution) -> tuple[Key, ...]:
    """The keys under which a value can be asked for: its types, and each with the value's name."""
    named = (Key(key.type, part.name) for key in part.provides if key.name is None)
    return tuple(dict.fromkeys([*part.provides, *named]))


def list_component_keys(part: LifespanContribution) -> tuple[Key, ...]:
    """The keys under which a component can be asked for. A decorator's first key is the decorated one.

    Raises:
        SignatureError: the return annotation isn't one of an async generator or an async context manager.
    """
    returned = read_provides(part.factory)
    if part.decorates is not None:
        # The object that the component yields stands for the decorated one, under any name.
        returned = [part.decorates, *(key for key in returned if key.type != part.decorates.type)]
    return tuple(dict.fromkeys([*returned, *part.provides]))


def find_omissions(omitted: Iterable[Omission], key: Key) -> list[Omission]:
    """Those of these parts that would provide a key."""
    return [omission for omission in omitted if key in list_keys(omission.part)]


def list_keys(part: object) -> tuple[Key, ...]:
    """The keys under which a part can be asked for; none for parts that provide nothing."""
    if isinstance(part, ValueContribution):
        return list_value_keys(part)
    if not isinstance(part, LifespanContribution):
        return ()
    try:
        return list_component_keys(part)
    except SignatureError:
        return part.provides
