"""Require a principal and scopes of all paths below a prefix."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from bandmaster.contrib.oidc.access.requirements import Requirement, require
from bandmaster.contrib.oidc.errors import CredentialError
from bandmaster.contrib.oidc.refusals import refuse
from bandmaster.kernel import MiddlewareBand, MiddlewareContribution, Plan

_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_MOST_ROOTS = 8
"""How often a path may have the ``root_path`` in it. More have no other purpose than to be misread, and are covered."""


@dataclass(frozen=True, slots=True)
class ProtectedPrefix:
    """A prefix of paths with a requirement. `protect` makes a layer of one."""

    prefix: str
    """``/admin``, or empty for all paths."""
    requirement: Requirement
    public: tuple[str, ...] = ()
    """Prefixes below this one that need no principal."""

    def covers(self, *paths: str) -> bool:
        """Whether a path lies below the prefix, and not below a public one. Several are readings of the same path.

        A path with empty or dotted segments is read with them and without them, since applications differ in that. The
        same holds for a line end after the path. The prefix covers a path that lies below in any reading. A path is
        public only if all readings are.
        """
        readings = [reading for path in paths for reading in _read_path(path)]
        covered = any(_lies_below(each, self.prefix) for each in readings)
        return covered and not any(all(_lies_below(each, one) for each in readings) for one in self.public)


def protect(
    prefix: str,
    *scopes: str,
    any_of: Iterable[str] = (),
    public: Iterable[str] = (),
    name: str | None = None,
) -> MiddlewareContribution:
    """A layer that requires a principal and scopes of all paths below a prefix, whoever serves them.

    ``protect("/admin", "admin")`` covers ``/admin`` and all below, and not ``/administrators``. ``protect("/")``
    covers all paths but those below ``public``. Several requirements of one path must all be met. The path is the one
    that the host's routes match, without the ``root_path`` of a proxy::

        create_app(contributions=[protect("/", public=["/docs", "/openapi.json"]), protect("/admin", "admin")])

    The health checks of the kernel aren't covered, since they are answered outside the layers. A mounted FastAPI app
    with a ``root_path`` of its own is refused: its routes would answer paths that no prefix covers.

    Raises:
        ValueError: a prefix isn't a path, a public one doesn't lie below ``prefix``, or a scope is malformed.
    """
    checked = _check_prefix(prefix, "prefix")
    exempt = tuple(_check_prefix(each, "public") for each in ((public,) if isinstance(public, str) else public))
    for each in exempt:
        if not _lies_below(each, checked) or each == checked:
            raise ValueError(f"public: expected prefixes below {prefix!r}, got {each!r}")
    protected = ProtectedPrefix(checked, require(*scopes, any_of=any_of), exempt)
    return MiddlewareContribution(
        name=name or f"protect_{_NO_NAME.sub('_', checked.strip('/')) or 'all'}",
        layer=ProtectedPrefixLayer,
        band=MiddlewareBand.SECURITY,
        priority=MiddlewareBand.SECURITY.priorities[90],
        options={"protected": protected},
        compares_paths=True,
        description=f"Requires {_describe(protected.requirement)} of all paths below {checked or '/'}.",
    )


class ProtectedPrefixLayer:
    """Refuses requests below a protected prefix that don't meet the requirement."""

    def __init__(self, app: ASGIApp, protected: ProtectedPrefix) -> None:
        self._app = app
        self._protected = protected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that meets the requirement, or isn't covered, and refuse any other."""
        paths = list_route_paths(scope)
        if not paths or self._protected.covers(*paths):
            try:
                self._protected.requirement.check(scope)
            except CredentialError as error:
                await refuse(scope, receive, send, error)
                return
        await self._app(scope, receive, send)


def list_protected_prefixes(plan: Plan) -> tuple[ProtectedPrefix, ...]:
    """The protected prefixes of a plan."""
    layers = (layer.contribution for layer in plan.layers)
    return tuple(layer.options["protected"] for layer in layers if layer.layer is ProtectedPrefixLayer)


def list_route_paths(scope: Scope) -> tuple[str, ...]:
    """The path that the host's routes match, as different frameworks read the path of a request.

    Empty for a path that has too many readings.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    # Some servers pass the whole URL of a request to a proxy as the path.
    readings = () if path.startswith("/") else (_read_url(path),)
    if not root or (parts := path.split(root)) == [path]:
        return (path, *readings)
    if len(parts) > _MOST_ROOTS:
        return ()
    # Starlette leaves out a root_path that the path begins with. Litestar and Quart leave out everything up to the
    # root_path, wherever it stands, and below a mount perhaps up to a later one. Not all servers put it in front.
    rests = (root.join(parts[number:]) for number in range(1, len(parts)))
    first, *others = (rest if rest.startswith("/") else f"/{rest}" for rest in rests)
    starts_with_root = not parts[0] and path[len(root) : len(root) + 1] in ("", "/")
    return (*(() if starts_with_root else (path,)), first, *others, *readings)


def _read_url(url: str) -> str:
    try:
        return urlsplit(url).path or "/"
    except ValueError:
        return "/"


def _read_path(path: str) -> tuple[str, ...]:
    # Starlette's patterns end with "$", which matches before a line end as well: "/admin\n" is the route "/admin".
    plain = path.removesuffix("\n")
    return path, plain, _normalize(plain)


def _normalize(path: str) -> str:
    """The path without empty and dotted segments, and with slashes only."""
    read = posixpath.normpath("/" + path.replace("\\", "/").lstrip("/"))
    return read + "/" if path.endswith("/") and read != "/" else read


def _lies_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def _check_prefix(prefix: str, label: str) -> str:
    if not isinstance(prefix, str) or not prefix.startswith("/"):
        raise ValueError(f"{label}: expected a path that begins with '/', got {prefix!r}")
    checked = prefix.rstrip("/")
    if checked and _normalize(checked) != checked:
        raise ValueError(f"{label}: expected a path without empty and dotted segments, got {prefix!r}")
    if any(sign in checked for sign in "{}*?%"):
        raise ValueError(f"{label}: expected a plain path without parameters, globs and escapes, got {prefix!r}")
    return checked


def _describe(requirement: Requirement) -> str:
    if not requirement.scopes and not requirement.any_of:
        return "a principal"
    parts = [*requirement.scopes]
    if requirement.any_of:
        parts.append(f"one of {', '.join(requirement.any_of)}")
    return " and ".join(parts)
