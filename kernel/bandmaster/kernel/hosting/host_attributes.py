"""Point to the host for attributes that people expect on an application, and only its host has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn


class PointsToHost:
    """An object around a ``host``. Its errors about unknown attributes name the host that has them.

    Once ``_is_made`` is set, an attribute that only the host would read can't be set here.
    """

    # Hidden from type checkers, which report unknown attributes themselves.
    if not TYPE_CHECKING:  # pragma: no branch

        def __getattr__(self, name: str) -> NoReturn:
            """Point to the host for an attribute that only the host has, such as ``include_router``."""
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message + _describe_owner(self, name), name=name, obj=self)

        def __setattr__(self, name: str, value: Any) -> None:
            """Refuse to set an attribute that only the host reads, such as ``dependency_overrides``."""
            is_own = name in self.__dict__ or hasattr(type(self), name) or "_is_made" not in self.__dict__
            if not is_own and (hint := _describe_owner(self, name)):
                raise AttributeError(f"{name!r} of {type(self).__name__!r} is never read{hint}", name=name, obj=self)
            super().__setattr__(name, value)


def _describe_owner(app: PointsToHost, name: str) -> str:
    """The end of an error about an attribute: the host that has it; empty if no host has."""
    host, path = app.__dict__.get("host"), "app.host"
    while isinstance(host, PointsToHost):
        host, path = host.__dict__.get("host"), f"{path}.host"
    if name.startswith("_") or not _has_attribute(host, name):
        return ""
    kind = type(host).__name__
    return f"; its host, a {kind}, has one: use {path}.{name}, and pass {path} to whatever expects a {kind}"


def _has_attribute(value: object, name: str) -> bool:
    try:
        return hasattr(value, name)
    except Exception:  # noqa: BLE001  # a property may raise anything, and this is about another object
        return False
