"""Redact values of any kind: plain data for JSON, with every recognisable secret replaced by a constant marker."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, ValuesView
from dataclasses import fields, is_dataclass
from datetime import date, time
from enum import Enum
from fnmatch import translate
from itertools import islice
from typing import Any, TypeAlias

from bandmaster.kernel.text import is_secret_name, masked, masked_value

REDACTED = "[REDACTED]"
"""The text in place of a secret. The marker is constant, so that it tells nothing of the secret."""
TRUNCATED = "[TRUNCATED]"
"""The text in place of a value, an item or the end of a text beyond one of the bounds of a `Redactor`."""
CYCLE = "[CYCLE]"
"""The text in place of a value that contains itself."""
UNREADABLE = "[UNREADABLE]"
"""The text in place of a value that fails when it is read."""

PlainValue: TypeAlias = "dict[str, PlainValue] | list[PlainValue] | str | int | float | bool | None"

_NEW_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Keys of data that hold a credential or the number of a card or of a person. `is_secret_name` knows the other words.
_SECRET_KEYS = re.compile(
    r"(?:^|_)(?:cookies?|jwt|otp|totp|passcode|cvv|cvc|ssn|iban|session_?(?:id|key)|credit_card|card_?number"
    r"|social_security_number|passport_number|code_verifier|client_assertion|auth)$|^(?:pin|card_pin)$"
)


class Redactor:
    """Makes plain data for JSON out of any value, without secrets.

    A value is replaced by `REDACTED` as a whole if its key, field or attribute has the name of a secret: a whole word
    decides, so ``api_key`` and ``dbPassword`` are secrets, ``compass`` and ``token_count`` are not. Secrets inside text
    (passwords in URLs, ``token=...``, credentials of an ``Authorization`` header) are replaced in every text.

    ``patterns`` are further names of secrets. Each is one or more words of a key, without regard to upper and lower
    case; ``*`` stands for any characters of a word. ``exempt`` are keys that are no secrets whatever their words are.

    ``max_depth`` is the most containers inside each other, ``max_items`` the most items of one container, ``max_text``
    the most characters of a text. `TRUNCATED` stands in place of the rest.

    Thread-safe. No method raises an exception because of a value, and none changes a value.
    """

    __slots__ = ("_exempt", "_keys", "_patterns", "max_depth", "max_items", "max_text")

    def __init__(
        self,
        *,
        patterns: Iterable[str] = (),
        exempt: Iterable[str] = (),
        max_depth: int = 8,
        max_items: int = 100,
        max_text: int = 8192,
    ) -> None:
        self.max_depth = max_depth
        self.max_items = max_items
        self.max_text = max_text
        words = "|".join(translate(_split(pattern)).removesuffix(r"\Z") for pattern in patterns)
        self._patterns = re.compile(rf"(?:^|_)(?:{words})(?:_|$)") if words else None
        self._exempt = frozenset(map(_split, exempt))
        self._keys: dict[str, tuple[str, bool]] = {}

    def redact(self, value: object) -> PlainValue:
        """The value as plain data, with every recognisable secret replaced."""
        try:
            return _Walk(self).redact(value, 0)
        except Exception:  # noqa: BLE001  # a log must not fail because of a value
            return UNREADABLE

    def redact_mapping(self, mapping: Mapping[str, object]) -> dict[str, PlainValue]:
        """The mapping as a dict of plain data, with every recognisable secret replaced."""
        try:
            return _Walk(self).redact_items(mapping.items(), 0)
        except Exception:  # noqa: BLE001  # a log must not fail because of a value
            return {UNREADABLE: type(mapping).__name__}

    def redact_text(self, text: str) -> str:
        """The text with every recognisable secret replaced. The time is linear in the length of the text."""
        return self._cut(masked(self._limit(text), marker=REDACTED, is_secret=self.is_secret))

    def is_secret(self, key: str) -> bool:
        """Whether a key, a field or a variable of this name holds a secret."""
        words = _split(key)
        if words in self._exempt:
            return False
        if self._patterns is not None and self._patterns.search(words):
            return True
        return is_secret_name(key) or bool(_SECRET_KEYS.search(words))

    def _redact_value(self, text: str) -> str:
        return self._cut(masked_value(self._limit(text), marker=REDACTED, is_secret=self.is_secret))

    def _limit(self, text: str) -> str:
        return text[: 2 * self.max_text]

    def _cut(self, text: str) -> str:
        if not text.isascii():
            # JSON has no lone surrogates.
            text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        return text if len(text) <= self.max_text else text[: self.max_text] + TRUNCATED

    def _key(self, key: object) -> tuple[str, bool]:
        if isinstance(key, bytes):
            key = key.decode("utf-8", "backslashreplace")
        name = key if isinstance(key, str) else str(key.value if isinstance(key, Enum) else key)
        return self._redact_value(name), self.is_secret(name)


class _Walk:
    """One pass over a value."""

    __slots__ = ("above", "left", "redactor")

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self.above: set[int] = set()
        self.left = 20 * redactor.max_items

    def redact_items(self, items: Iterable[tuple[Any, Any]], depth: int) -> dict[str, PlainValue]:
        result: dict[str, PlainValue] = {}
        for number, (key, value) in enumerate(items):
            if number >= self.redactor.max_items or self.left <= 0:
                result[TRUNCATED] = TRUNCATED
                break
            self.left -= 1
            name, secret = self.redactor._key(key)
            result[name] = self._hide(value) if secret else self.redact(value, depth + 1)
        return result

    def redact(self, value: object, depth: int) -> PlainValue:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Enum):
            return self.redact(value.value, depth)
        if isinstance(value, str):
            return self.redactor._redact_value(str.__str__(value))
        if isinstance(value, int):
            number = int(value)
            return number if -(2**63) <= number < 2**64 else str(number)
        if isinstance(value, float):
            return float(value) if value - value == 0 else str(float(value))
        if isinstance(value, bytes | bytearray | memoryview):
            return self._redact_bytes(value)
        if isinstance(value, BaseException):
            return self.redactor.redact_text(f"{type(value).__name__}: {value}")
        if hasattr(type(value), "get_secret_value"):
            return REDACTED
        if isinstance(value, date | time):
            return value.isoformat()
        items = _list_items(value)
        if items is None and not isinstance(value, Sequence | Set | deque | ValuesView):
            return self.redactor.redact_text(repr(value))
        if id(value) in self.above:
            return CYCLE
        if depth >= self.redactor.max_depth or self.left <= 0:
            return TRUNCATED
        self.above.add(id(value))
        try:
            return self.redact_items(items, depth) if items is not None else self._redact_sequence(value, depth)  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001  # a container of somebody else
            return UNREADABLE
        finally:
            self.above.discard(id(value))

    def _redact_sequence(self, values: Iterable[object], depth: int) -> list[PlainValue]:
        some = list(islice(values, self.redactor.max_items + 1))
        match some:
            case [str() | bytes() as name, value] if self.redactor._key(name)[1]:
                return [self.redact(name, depth + 1), self._hide(value)]
        result: list[PlainValue] = []
        for value in some[: self.redactor.max_items]:
            self.left -= 1
            result.append(self.redact(value, depth + 1) if self.left > 0 else TRUNCATED)
        return [*result, TRUNCATED] if len(some) > self.redactor.max_items else result

    def _hide(self, value: object) -> PlainValue:
        if value is None or isinstance(value, bool):
            return value
        return REDACTED

    def _redact_bytes(self, value: bytes | bytearray | memoryview) -> str:
        try:
            text = bytes(value[: 4 * self.redactor.max_text]).decode("utf-8", "strict")
        except UnicodeDecodeError:
            text = "\0"
        return f"<{len(value)} bytes>" if "\0" in text else self.redactor._redact_value(text)


def _list_items(value: object) -> Iterable[tuple[Any, Any]] | None:
    """The pairs of name and value of a mapping, a model or a named tuple; None for any other value."""
    kind = type(value)
    if isinstance(value, Mapping):
        return value.items()
    if is_dataclass(value):
        return _list_attributes(value, [field.name for field in fields(value)])
    for attribute in ("model_fields", "_fields"):
        names = getattr(kind, attribute, None)
        if isinstance(names, Mapping | tuple):
            return _list_attributes(value, names)
    return None


def _list_attributes(value: object, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    return ((name, getattr(value, name, None)) for name in names)


def _split(key: str) -> str:
    """The words of a key in lower case, with ``_`` between them: ``dbPassword`` and ``DB-PASSWORD`` are the same."""
    return _NEW_WORD.sub("_", key).lower().replace("-", "_").replace(" ", "_").replace(".", "_")
