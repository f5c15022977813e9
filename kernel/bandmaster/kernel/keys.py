"""The address of a resource: its type, and a name where one type has several."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, get_args, get_origin

from bandmaster.kernel.contributions import Named


class Key(NamedTuple):
    """A type, and the name that `Named` gave it, if any."""

    type: Any
    name: str | None = None

    def __str__(self) -> str:
        text = type_name(self.type)
        return f"{text} named {self.name!r}" if self.name else text

    @property
    def module(self) -> str:
        """Where the type is defined."""
        return getattr(self.type, "__module__", "")

    @classmethod
    def of(cls, annotation: Any) -> Key:
        """The key that an annotation, or a ``(type, name)`` pair, means."""
        if isinstance(annotation, cls):
            return annotation
        if isinstance(annotation, tuple):
            kind, name = annotation
            return cls(kind, name)
        if get_origin(annotation) is Annotated:
            kind, *marks = get_args(annotation)
            names = [mark.name for mark in marks if isinstance(mark, Named)]
            return cls(kind, names[-1] if names else None)
        return cls(annotation)


def type_name(kind: Any) -> str:
    """A type as people write it, without its module."""
    if isinstance(kind, type) and not get_args(kind):
        return kind.__qualname__.rpartition("<locals>.")[2]
    return str(kind).replace("typing.", "")
