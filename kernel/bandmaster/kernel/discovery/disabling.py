"""Which parts a list of disabled names means. Pure.

A part is disabled by its name (``audit``), by group and name (``lifespan:audit``), or with the group in full
(``bandmaster.lifespan:audit``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from bandmaster.kernel.discovery.entry_points import PREFIX
from bandmaster.kernel.text import suggest


def parse_names(names: str | Iterable[str], label: str = "disable") -> frozenset[str]:
    """Split names at commas: ``"audit, jobs"`` and ``["audit", "jobs"]`` mean the same.

    Raises:
        ValueError: a name is no text, or ``names`` is neither text nor a collection; the message begins with ``label``.
    """
    if not isinstance(names, Iterable):
        raise ValueError(f"{label}: expected a list of names, got {names!r}")
    given = [names] if isinstance(names, str) else list(names)
    for name in given:
        if not isinstance(name, str):
            raise ValueError(f"{label}: expected names, got {name!r}")
    return frozenset(word.strip() for name in given for word in name.split(",") if word.strip())


def list_addresses(group: str, name: str) -> frozenset[str]:
    """The names by which a part may be disabled; ``group`` is the full name of the entry point group."""
    return frozenset((name, f"{group.removeprefix(PREFIX)}:{name}", f"{group}:{name}"))


def is_switched_off(
    addresses: Collection[str], own: Collection[str], operator: Collection[str], installed: Collection[str]
) -> bool:
    """Whether a part that code hands over is disabled.

    ``own`` are the names that the code disables, ``operator`` those of the settings, and ``installed`` the addresses of
    all installed parts. A name means the installed part, which code may replace. The name means a part
    from code where no installed part has that name, and where both the code and the operator disable the name: then
    code has made way for its own part, and the operator switches that one off.
    """
    off = set(addresses)
    if off.intersection(own) and off.intersection(operator):
        return True
    return not off.intersection({*own, *operator}).issubset(installed)


def strip_group(address: str) -> str:
    """The part's name alone: ``audit`` of ``lifespan:audit``."""
    return address.rpartition(":")[2]


def describe_unknown(
    disabled: Iterable[str], parts: Iterable[tuple[str, str]], elsewhere: Collection[str] = ()
) -> list[str]:
    """A warning for each disabled name that no part has.

    ``parts`` are pairs of group and name; ``elsewhere`` are names of further parts, in whichever group.
    """
    pairs = list(parts)
    names = {name for _, name in pairs}.union(elsewhere)
    known = names.union(*(list_addresses(group, name) for group, name in pairs))
    addresses = known - names
    return [
        f"{name!r} is disabled, but no part has that name.{suggest(name, sorted(addresses if ':' in name else names))}"
        for name in sorted(disabled)
        if name not in known and strip_group(name) not in elsewhere
    ]
