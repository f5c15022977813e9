"""Parse JSON strictly: UTF-8, no key twice, no NaN, no infinite numbers. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isinf
from typing import Any, NoReturn


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object in some bytes.

    Parsers disagree on which of two equal keys counts, so that one part of a system could read another value than the
    next one (RFC 8725, section 2.4; RFC 7515, section 4).

    >>> parse_object(b'{"exp": 1}')
    {'exp': 1}

    Raises:
        ValueError: the bytes aren't UTF-8 or JSON, hold another value than an object, or break one of the rules. The
            message repeats nothing of them.
    """
    try:
        text = data.decode()
        value = _DECODER.decode(text)
        if "\\u" in text:
            _check_surrogates(value)
    except _RuleError:
        raise
    except (ValueError, RecursionError):
        raise ValueError("isn't JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise ValueError("isn't a JSON object")
    return value


class _RuleError(ValueError):
    """JSON that other parsers accept."""


def _build_object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) != len(pairs):
        raise _RuleError("has a key twice")
    return built


def _parse_float(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise _RuleError("has a number beyond all bounds")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise _RuleError(f"has {name.lstrip('-')}, which JSON doesn't know")


def _check_surrogates(value: object) -> None:
    # A half of a pair can be written as an escape, but no text can hold it: whoever encodes the text later, fails.
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _RuleError("has a half of a surrogate pair") from None


_DECODER = json.JSONDecoder(object_pairs_hook=_build_object, parse_float=_parse_float, parse_constant=_refuse_constant)
