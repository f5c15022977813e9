"""Read a duration from the command line: ``90d``, ``24h``, ``0``. Pure."""

from __future__ import annotations

import re

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)([smhd]?)")


def parse_duration(text: str) -> float:
    """The seconds of a duration: a number with one of the units s, m, h and d, or without a unit for seconds.

    >>> parse_duration("1.5h")
    5400.0

    Raises:
        ValueError: the text has another form.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"expected a number with one of the units s, m, h and d, such as 90d, got {text!r}")
    return float(found[1]) * _UNITS[found[2]]
