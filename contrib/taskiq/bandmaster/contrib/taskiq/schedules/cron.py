"""Cron expressions and timezones, parsed strictly, since TaskIQ's own parser isn't. Pure.

TaskIQ uses pycron, which ignores most unknown syntax: such a schedule would never fire, or fire on
other days. A step of 0, or a directory as a timezone, would end the scheduler.
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


def check_cron(text: str) -> str:
    """The expression in lower case, with single blanks between its fields.

    Raises:
        ValueError: the text isn't a cron expression, TaskIQ would misread it, or no date matches.
    """
    parts = text.lower().split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"cron: expected 5 fields {FORM}, got {len(parts)} in {text!r}")
    values = [_parse_field(field, part, text) for field, part in zip(_FIELDS, parts, strict=True)]
    days, months = values[2:4]
    # If the day of the month and the day of the week are both restricted, one of the two is enough.
    either = "*" not in parts[2] and "*" not in parts[4]
    if not either and not any(min(days) <= _MONTH_DAYS[month - 1] for month in months):
        raise ValueError(f"cron: {text!r} never fires: no month that it names has such a day")
    return " ".join(parts)


def parse_cron(text: str) -> list[frozenset[int]]:
    """The numbers that each field matches.

    Raises:
        ValueError: as `check_cron`.
    """
    parts = check_cron(text).split(" ")
    return [_parse_field(field, part, text) for field, part in zip(_FIELDS, parts, strict=True)]


def check_timezone(name: str) -> str:
    """The name, if a timezone has this name.

    Raises:
        ValueError: no timezone has this name.
    """
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError, ImportError) as error:
        raise ValueError(f"timezone: there is none called {name!r}; expected one such as 'Europe/Berlin'") from error
    return name


def _parse_field(field: _Field, part: str, text: str) -> frozenset[int]:
    if part == "*":
        return frozenset(range(field.low, field.high + 1))
    values: set[int] = set()
    for item in part.split(","):
        values.update(_parse_item(field, item, text))
    return frozenset(values)


def _parse_item(field: _Field, item: str, text: str) -> range:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise _make_error(field, item, text)
    if match["every"] is not None:
        return range(field.low, field.high + 1, _parse_step(field, match["every"], item, text))
    low = _parse_number(field, match["low"], item, text)
    if match["high"] is None:
        return range(low, low + 1)
    high = _parse_number(field, match["high"], item, text)
    if low > high:
        raise _make_error(field, item, text, "a range goes upwards; write the rest as another item, as in 5-6,0")
    if match["step"] is None:
        return range(low, high + 1)
    if not match["low"].isdigit():
        raise _make_error(field, item, text, "ranges with a step take numbers")
    return range(low, high + 1, _parse_step(field, match["step"], item, text))


def _parse_number(field: _Field, word: str, item: str, text: str) -> int:
    for names in field.names:
        if word in names:
            return names.index(word)
    if not word.isdigit() or len(word) > 2 or not field.low <= int(word) <= field.high:
        raise _make_error(field, item, text, "Sunday is 0" if field.names and word == "7" else "")
    return int(word)


def _parse_step(field: _Field, word: str, item: str, text: str) -> int:
    step = int(word)
    if not 1 <= step <= field.high:
        raise _make_error(field, item, text, f"a step is from 1 to {field.high}")
    return step


def _make_error(field: _Field, item: str, text: str, hint: str = "") -> ValueError:
    names = f", or names such as {field.names[1][1]}" if field.names else ""
    return ValueError(
        f"cron: {item!r} is no {field.name} in {text!r}{f' ({hint})' if hint else ''}; expected *, */2, 1, 1-5, "
        f"1-5/2 or a list of those with commas, of numbers from {field.low} to {field.high}{names}; the whole is {FORM}"
    )
