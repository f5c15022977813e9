"""Cron expressions and timezones, checked so that TaskIQ takes them as they are meant. Pure.

TaskIQ asks pycron, which passes over most of what it doesn't understand: such a schedule would never fire, or on other
days, and a step of 0 or a directory for a timezone would end the scheduler.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import pycron  # type: ignore[import-untyped]

FORM = "'minute hour day-of-month month day-of-week', such as '30 4 * * mon-fri' or '*/15 * * * *'"

_ITEM = re.compile(r"(?P<low>[a-z0-9]+)(-(?P<high>[a-z0-9]+)(/(?P<step>[0-9]{1,4}))?)?|\*/(?P<every>[0-9]{1,4})")


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: Sequence[Sequence[str]] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day-of-month", 1, 31),
    _Field("month", 1, 12),
    _Field("day-of-week", 0, 6, (pycron.DAY_NAMES, pycron.DAY_ABBRS)),
)
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def checked_cron(text: str) -> str:
    """The expression with single blanks between its fields.

    Raises:
        ValueError: it isn't one, wouldn't be understood, or no date is like it.
    """
    parts = text.lower().split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"cron: expected 5 fields {FORM}, got {len(parts)} in {text!r}")
    values = [_values(field, part, text) for field, part in zip(_FIELDS, parts, strict=True)]
    days, months = values[2:4]
    either = "*" not in parts[2] and "*" not in parts[4]  # then the day of the week is enough
    if not either and not any(min(days) <= _MONTH_DAYS[month - 1] for month in months):
        raise ValueError(f"cron: {text!r} never fires: no month that it names has such a day")
    return " ".join(parts)


def cron_values(text: str) -> list[frozenset[int]]:
    """For each field the numbers that it stands for.

    Raises:
        ValueError: as `checked_cron`.
    """
    parts = checked_cron(text).split(" ")
    return [_values(field, part, text) for field, part in zip(_FIELDS, parts, strict=True)]


def checked_timezone(name: str) -> str:
    """The name, if there is such a timezone.

    Raises:
        ValueError: there is none.
    """
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError, ImportError) as error:
        raise ValueError(f"timezone: there is none called {name!r}; expected one such as 'Europe/Berlin'") from error
    return name


def _values(field: _Field, part: str, text: str) -> frozenset[int]:
    if part == "*":
        return frozenset(range(field.low, field.high + 1))
    values: set[int] = set()
    for item in part.split(","):
        values.update(_item_values(field, item, text))
    return frozenset(values)


def _item_values(field: _Field, item: str, text: str) -> range:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise _wrong(field, item, text)
    if match["every"] is not None:
        return range(field.low, field.high + 1, _step(field, match["every"], item, text))
    low = _number(field, match["low"], item, text)
    if match["high"] is None:
        return range(low, low + 1)
    high = _number(field, match["high"], item, text)
    if low > high:
        raise _wrong(field, item, text, "a range goes upwards; write the rest as another item, as in 5-6,0")
    if match["step"] is None:
        return range(low, high + 1)
    if not match["low"].isdigit():
        raise _wrong(field, item, text, "ranges with a step take numbers")
    return range(low, high + 1, _step(field, match["step"], item, text))


def _number(field: _Field, word: str, item: str, text: str) -> int:
    for names in field.names:
        if word in names:
            return names.index(word)
    if not word.isdigit() or len(word) > 2 or not field.low <= int(word) <= field.high:
        raise _wrong(field, item, text, "Sunday is 0" if field.names and word == "7" else "")
    return int(word)


def _step(field: _Field, word: str, item: str, text: str) -> int:
    step = int(word)
    if not 1 <= step <= field.high:
        raise _wrong(field, item, text, f"a step is from 1 to {field.high}")
    return step


def _wrong(field: _Field, item: str, text: str, why: str = "") -> ValueError:
    names = f", or names such as {field.names[1][1]}" if field.names else ""
    return ValueError(
        f"cron: {item!r} is no {field.name} in {text!r}{f' ({why})' if why else ''}; expected *, */2, 1, 1-5, 1-5/2 or "
        f"a list of those with commas, of numbers from {field.low} to {field.high}{names}; the whole is {FORM}"
    )
