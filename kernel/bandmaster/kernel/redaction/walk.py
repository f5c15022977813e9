"""Walk through a value once and make plain data, with the secrets replaced."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from datetime import date, time
from enum import Enum
from itertools import islice
from typing import Any, Final, TypeAlias

from bandmaster.kernel.redaction.objects import list_fields, render_object
from bandmaster.kernel.redaction.rules import TRUNCATED, Rules

CYCLE: Final = "[CYCLE]"
"""The text in place of a value that contains itself."""
UNREADABLE: Final = "[UNREADABLE]"
"""The text in place of a value that raises an exception while it is read."""

PlainValue: TypeAlias = "dict[str, PlainValue] | list[PlainValue] | str | int | float | bool | None"
"""A value that JSON has: numbers are finite and have 64 bits at the most, texts have no lone surrogates."""

_SEQUENCES = (list, tuple, AbstractSet, deque, Sequence, ValuesView)
# A text that is a value may hold the name of a secret as well.
_NAME = re.compile(r"[\w.-]{1,64}")
_SHOWN_AS_TEXT = frozenset({"uuid", "decimal", "fractions", "ipaddress", "pathlib", "pathlib._local"})
"""Modules whose objects are values with a text. None of them is imported for this."""
_SHORT_TEXT = 256
_ITEMS_IN_ALL = 20
"""How many times ``max_items`` the items of all containers of one value may be, and the characters ``max_text``."""
_MOST_GROUPED = 10
_PAIR = 2


class Walk:
    """One pass over a value. ``changed`` says whether something was replaced or cut."""

    __slots__ = ("_above", "_characters", "_items", "_rules", "changed")

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._above: set[int] = set()
        self._items = _ITEMS_IN_ALL * rules.max_items
        self._characters = _ITEMS_IN_ALL * rules.max_text
        self.changed = False

    def redact(self, value: object) -> PlainValue:
        """The value as plain data."""
        return self._redact(value, 0)

    def redact_mapping(self, mapping: Mapping[Any, Any]) -> dict[str, PlainValue]:
        """The mapping as a dict of plain data."""
        self._above.add(id(mapping))
        return self._redact_items(mapping.items(), 0)

    def redact_named(self, name: str, value: object) -> PlainValue:
        """The value under a name as plain data."""
        return self._hide(value) if self._rules.is_secret(name) else self._redact(value, 1)

    def _redact(self, value: object, depth: int) -> PlainValue:
        kind = type(value)
        if kind is str:
            return self._redact_text(value)  # type: ignore[arg-type]
        if kind is int:
            return _render_int(value)  # type: ignore[arg-type]
        if value is None or kind is bool:
            return value  # type: ignore[return-value]
        if kind is float:
            return _render_number(value)  # type: ignore[arg-type]
        if kind is dict or kind is list or kind is tuple:
            return self._enter(value, depth)
        try:
            return self._redact_other(value, depth)
        except Exception:  # noqa: BLE001  # the code of the value's class
            return self._replace(UNREADABLE)

    def _redact_other(self, value: object, depth: int) -> PlainValue:
        """A value of no built-in type, or of a rare one."""
        if hasattr(type(value), "get_secret_value"):  # pydantic's SecretStr, SecretBytes and Secret
            return self._replace(self._rules.marker)
        if isinstance(value, Enum):
            return self._redact(value.value, depth + 1)
        if isinstance(value, str):
            return self._redact_text(str.__str__(value))
        if isinstance(value, int | float):
            return _render_number(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return self._redact_bytes(value)
        if isinstance(value, BaseException):
            return self._redact_text(self._render_exception(value))
        if isinstance(value, date | time):
            return value.isoformat()
        if not _SHOWN_AS_TEXT.isdisjoint(kind.__module__ for kind in type(value).__mro__):
            return self._redact_text(str(value))
        return self._enter(value, depth)

    def _enter(self, value: object, depth: int) -> PlainValue:
        """A container with the values inside; any other object as text."""
        rules = self._rules
        if id(value) in self._above:
            return self._replace(CYCLE)
        fields = list_fields(value, rules.marker)
        if fields is None and not isinstance(value, _SEQUENCES):
            return self._redact_text(self._render_other(value))
        if depth >= rules.max_depth or self._items <= 0:
            return self._replace(TRUNCATED)
        self._above.add(id(value))
        try:
            if fields is not None:
                return self._redact_items(fields, depth)
            return self._redact_sequence(value, depth)  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001  # the code of the container's class, or another thread that changes it
            return self._replace(UNREADABLE)
        finally:
            self._above.discard(id(value))

    def _redact_items(self, items: Iterable[tuple[Any, Any]], depth: int) -> dict[str, PlainValue]:
        rules = self._rules
        # One step of C, so that no other thread changes a dict meanwhile.
        some = list(islice(items, rules.max_items + 1))
        result: dict[str, PlainValue] = {}
        keys = rules.keys
        for key, value in some if len(some) <= rules.max_items else some[:-1]:
            name = key if type(key) is str else _render_key(key)
            shown, is_secret = keys.get(name) or rules.read_key(name)
            if is_secret:
                result[shown] = self._hide(value)
            elif value is None or type(value) is bool:
                result[shown] = value
            else:
                result[shown] = self._redact(value, depth + 1)
        self._items -= len(some)
        if ("value" in result or "input" in result) and (named := _find_named_value(dict(some), rules)):
            result[named] = self._hide(result[named])
        if len(some) > rules.max_items:
            result[TRUNCATED] = self._replace(TRUNCATED)
        return result

    def _redact_sequence(self, values: Iterable[object], depth: int) -> list[PlainValue]:
        rules = self._rules
        some = list(islice(values, rules.max_items + 1))
        # A header or a field as a pair of name and value.
        hides = len(some) == _PAIR and _is_secret_text(some[0], rules)
        result: list[PlainValue] = []
        self._items -= len(some)
        for index, value in enumerate(some[: rules.max_items]):
            result.append(self._hide(value) if hides and index else self._redact(value, depth + 1))
            if len(some) != _PAIR:
                # The value of an option stands behind it: ["mysql", "--password", "x"].
                hides = _is_option(value) and _is_secret_text(value, rules)
        if len(some) > rules.max_items:
            result.append(self._replace(TRUNCATED))
        return result

    def _redact_text(self, text: str) -> str:
        rules = self._rules
        if len(text) > _SHORT_TEXT:
            if self._characters <= 0:
                return self._replace(TRUNCATED)
            self._characters -= len(text)
        shown = rules.mask_value(text)
        if shown is not text and shown != text:
            self.changed = True
        return shown

    def _redact_bytes(self, value: bytes | bytearray | memoryview) -> str:
        """Bytes as text; the length of bytes that are no text, such as keys and pictures."""
        length = len(value) if not isinstance(value, memoryview) else value.nbytes
        try:
            text = bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            return f"<{length} bytes>"
        return f"<{length} bytes>" if "\0" in text else self._redact_text(text)

    def _render_other(self, value: object) -> str:
        return render_object(value, repr(value), self._rules.marker, self._rules.is_secret)

    def _render_exception(self, error: BaseException) -> str:
        """The type and the message of an exception, and those of the exceptions in a group."""
        text = str(error)
        if isinstance(error, BaseExceptionGroup) and id(error) not in self._above:
            inner = "; ".join(map(self._render_exception, error.exceptions[:_MOST_GROUPED]))
            text = f"{text}: {inner}"
        text = render_object(error, text, self._rules.marker, self._rules.is_secret)
        name = type(error).__qualname__
        return f"{name}: {text}" if text else name

    def _hide(self, value: object) -> PlainValue:
        """The marker in place of a secret. None, a truth value and an empty value tell nothing."""
        kind = type(value)
        if value is None or kind is bool:
            return value  # type: ignore[return-value]
        if kind in _SIZED and not value:
            return self._redact(value, 0)
        return self._replace(self._rules.marker)

    def _replace(self, text: str) -> str:
        self.changed = True
        return text


_SIZED = frozenset({str, bytes, list, tuple, dict, set, frozenset})


def _render_int(number: int) -> int | str:
    """A number of 64 bits; the digits of a larger one, which readers of JSON refuse."""
    if -(2**63) <= number < 2**64:
        return number
    # Python refuses the digits of a number that is too long to be converted in linear time.
    return str(number) if number.bit_length() <= _MOST_BITS else f"<{number.bit_length()} bits>"


_MOST_BITS = 2048


def _render_number(number: float) -> int | float | str:
    """An int or a float of a subclass as a plain one; NaN and the infinities, which JSON doesn't have, as text."""
    if isinstance(number, int):
        return _render_int(int.__index__(number))
    plain = float.__add__(number, 0.0)
    return plain if plain - plain == 0 else str(plain)


def _render_key(key: object) -> str:
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        return str.__str__(key)
    return key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)


def _is_secret_text(name: object, rules: Rules) -> bool:
    if not isinstance(name, str | bytes):
        return False
    text = _render_key(name)
    return _NAME.fullmatch(text) is not None and rules.is_secret(text)


def _is_option(value: object) -> bool:
    return isinstance(value, str) and value.startswith("--") and "=" not in value


def _find_named_value(items: Mapping[Any, Any], rules: Rules) -> str | None:
    """The key whose value is a secret because another key says so.

    Headers, cookies and variables may be mappings with a name and a value, and pydantic describes an error by the
    location and the input.
    """
    if "value" in items and any(_is_secret_text(items.get(key), rules) for key in ("name", "key", "header")):
        return "value"
    location = items.get("loc")
    if "input" in items and isinstance(location, list | tuple):
        return "input" if any(_is_secret_text(part, rules) for part in location) else None
    return None
