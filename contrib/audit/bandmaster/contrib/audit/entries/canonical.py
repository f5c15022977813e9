"""Write JSON in one way only, so that equal values have equal hashes. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 32
"""Containers inside each other, at the most."""


def render_canonical(value: Any) -> str:
    """A JSON value as text: keys in order, no blanks, ASCII only. Equal values give equal texts.

    Like RFC 8785 apart from the numbers, which have Python's form, and the order of keys, which is by code points.
    """
    return json.dumps(value, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))


def parse_canonical(text: str) -> Any:
    """The JSON value of a text.

    Raises:
        ValueError: the text isn't JSON, or has a number that JSON doesn't have.
    """
    return json.loads(text, parse_constant=_refuse_constant)


def copy_json(value: Any, label: str, depth: int = 0) -> Any:
    """A copy of a value that JSON gives back unchanged: text, numbers, booleans, None, and lists and dicts of them.

    Raises:
        ValueError: a part of the value is something else, such as a tuple, NaN or a key that is no text; the message
            names the place.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"{label}: more than {MAX_DEPTH} containers inside each other")
    if value is None or type(value) in (str, bool):
        return value
    if type(value) is int:
        if abs(value) >= 10**4000:
            raise ValueError(f"{label}: a number of more than 4000 digits")
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise ValueError(f"{label}: JSON has no {value!r}")
        return value
    if isinstance(value, list):
        return [copy_json(item, f"{label}[{place}]", depth + 1) for place, item in enumerate(value)]
    if isinstance(value, Mapping):
        if not all(type(key) is str for key in value):
            raise ValueError(f"{label}: expected keys that are text")
        return {key: copy_json(item, f"{label}.{key}", depth + 1) for key, item in value.items()}
    raise ValueError(f"{label}: expected a value that JSON has, got {type(value).__name__}")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")
