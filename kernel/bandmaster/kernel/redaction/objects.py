"""Read objects: the fields of models, and the text of other objects without the values of their secret attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

_SHORTEST_SECRET = 4
"""A secret of fewer characters can't be told from other text, so the whole text is left out."""


def list_fields(value: object, hidden: str) -> Iterable[tuple[Any, Any]] | None:
    """The names and values of a mapping, a model, a dataclass or a named tuple; None for any other value.

    ``hidden`` stands for the value of a field that the `repr` of the class leaves out, as of secrets.
    """
    kind = type(value)
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, SimpleNamespace):
        return vars(value).items()
    read = _find_reader(kind)
    return None if read is None else read(value, hidden)


def _find_reader(kind: type) -> Callable[[Any, str], Iterable[tuple[str, Any]]] | None:
    # None of these libraries is imported: who has a model has the library.
    if isinstance(getattr(kind, "__pydantic_fields__", None), dict):
        return _read_pydantic
    if isinstance(getattr(kind, "__dataclass_fields__", None), dict):
        return _read_dataclass
    if isinstance(getattr(kind, "__attrs_attrs__", None), tuple):
        return _read_attrs
    if isinstance(getattr(kind, "__struct_fields__", None), tuple):
        return _read_struct
    return _read_named_tuple if issubclass(kind, tuple) and _has_names(kind) else None


def _has_names(kind: type) -> bool:
    names = getattr(kind, "_fields", None)
    return isinstance(names, tuple) and all(isinstance(name, str) for name in names)


def _read_pydantic(value: Any, hidden: str) -> Iterator[tuple[str, Any]]:
    shown = {
        name for name, field in type(value).__pydantic_fields__.items() if field.repr and field.exclude is not True
    }
    values: dict[str, Any] = value.__dict__
    yield from ((name, inner if name in shown else hidden) for name, inner in values.items())
    yield from (getattr(value, "__pydantic_extra__", None) or {}).items()


def _read_dataclass(value: Any, hidden: str) -> Iterator[tuple[str, Any]]:
    for field in type(value).__dataclass_fields__.values():
        # A field without a default has no attribute before the constructor has run.
        if field._field_type.name == "_FIELD" and hasattr(value, field.name):  # noqa: SLF001  # as dataclasses.fields
            yield field.name, getattr(value, field.name) if field.repr else hidden


def _read_attrs(value: Any, hidden: str) -> Iterator[tuple[str, Any]]:
    for field in type(value).__attrs_attrs__:
        if hasattr(value, field.name):
            yield field.name, getattr(value, field.name) if field.repr is True else hidden


def _read_struct(value: Any, _hidden: str) -> Iterator[tuple[str, Any]]:
    return ((name, getattr(value, name)) for name in type(value).__struct_fields__ if hasattr(value, name))


def _read_named_tuple(value: Any, _hidden: str) -> Iterator[tuple[str, Any]]:
    return zip(type(value)._fields, value, strict=False)


def render_object(value: object, text: str, marker: str, is_secret: Callable[[str], bool]) -> str:
    """The text of an object, in which the values of secret attributes are replaced, wherever they stand."""
    secrets: set[str] = set()
    for name, inner in _list_attributes(value):
        is_wrapped = hasattr(type(inner), "get_secret_value")
        if is_wrapped:
            inner = inner.get_secret_value()  # the text may show the secret inside
        if inner is None or isinstance(inner, bool) or not (is_wrapped or is_secret(name)):
            continue
        if not isinstance(inner, str | bytes | int | float):
            return _name_type(value)  # a secret may be anywhere in it
        secrets.update(_list_spellings(inner))
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) < _SHORTEST_SECRET and secret in text:
            return _name_type(value)
        text = text.replace(secret, marker)
    return text


def _name_type(value: object) -> str:
    return f"<{type(value).__qualname__}>"


def _list_spellings(secret: str | bytes | float) -> Iterator[str]:
    """The ways in which a text may show a secret."""
    if isinstance(secret, bytes):
        yield repr(secret)[2:-1]
        secret = secret.decode("utf-8", "backslashreplace")
    text = str(secret)
    if text:
        yield from (text, repr(text)[1:-1], ascii(text)[1:-1])


def _list_attributes(value: object) -> Iterator[tuple[str, Any]]:
    with suppress(Exception):
        yield from list(vars(value).items())
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            with suppress(Exception):
                yield name, getattr(value, name)
