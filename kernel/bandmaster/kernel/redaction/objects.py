"""Read objects: the fields of models, and the text of other objects without the values of their secret attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

_SHORTEST_SECRET = 4
"""A secret of fewer characters can't be told from other text, so the whole text is left out."""


def list_fields(value: object, hidden: str) -> Iterable[tuple[Any, Any]] | None:
    """The names and values of a mapping, a model, a dataclass or a named tuple; None for any other value.

    ``hidden`` stands for the value of a field that the class leaves out of its `repr`, as classes do with secrets.
    """
    kind = type(value)
    if isinstance(value, Mapping):
        return value.items()
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
    """The text of an object, in which the values of its secret attributes are replaced, whatever stands around them."""
    secrets = sorted(set(_list_secrets(value, is_secret)), key=len, reverse=True)
    for secret in secrets:
        if len(secret) < _SHORTEST_SECRET:
            return f"<{type(value).__qualname__}>" if secret and secret in text else text
        text = text.replace(secret, marker).replace(repr(secret)[1:-1], marker)
    return text


def _list_secrets(value: object, is_secret: Callable[[str], bool]) -> Iterator[str]:
    """The texts and numbers under secret names in an object."""
    for name, inner in _list_attributes(value):
        if hasattr(type(inner), "get_secret_value"):
            yield str(inner.get_secret_value())
        elif is_secret(name):
            if isinstance(inner, bytes):
                yield inner.decode("utf-8", "backslashreplace")
            elif isinstance(inner, str | int | float) and not isinstance(inner, bool):
                yield str(inner)


def _list_attributes(value: object) -> Iterator[tuple[str, Any]]:
    with suppress(Exception):
        yield from list(vars(value).items())
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            with suppress(Exception):
                yield name, getattr(value, name)
