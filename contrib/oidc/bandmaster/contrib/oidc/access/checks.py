"""The check of `bandmaster check` for requirements that can't have the effect that they declare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from bandmaster.contrib.oidc.access.prefixes import ProtectedPrefix, list_protected_prefixes
from bandmaster.contrib.oidc.access.requirements import Requirement
from bandmaster.contrib.oidc.access.route_reading import RequiredRoute, list_apps, read_required_routes
from bandmaster.contrib.oidc.access.settings import AccessSettings
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.contrib.oidc.verifier import TokenVerifier
from bandmaster.kernel import Application, CheckContribution, Key, Plan, Problem

_BEARER = "bearer_auth"
"""The layer that finds bearer tokens, if there is a verifier."""
_OTHER_CREDENTIALS = ("api_key_auth", "session_auth", "dev_bypass")
"""The layers that find other credentials than bearer tokens."""


def find_requirement_problems(routes: Iterable[RequiredRoute], plan: Plan) -> Iterator[Problem | str]:
    """The requirements that have no effect, cover nothing, can't be met, or name unknown scopes."""
    known = list(routes)
    prefixes = list_protected_prefixes(plan)
    for route in known:
        for mistake in route.mistakes:
            yield Problem(f"{route.path}: {mistake}.")
    for each in prefixes:
        # A host that isn't made of routes, such as another framework's app, may serve any path.
        if known and not any(_may_serve(route.path, each.prefix) for route in known):
            yield _describe_empty_prefix(each.prefix, known)
    requirements = [*(each.requirement for each in prefixes), *(one for route in known for one in route.requirements)]
    yield from _find_unknown_scopes(requirements, plan)
    if requirements and not _finds_credentials(plan):
        yield (
            "Nothing finds out who calls, so requests that must meet a requirement get 401 "
            f"(there are {len(requirements)}). Set AUTH_ISSUER and AUTH_AUDIENCES for bearer tokens, or configure API "
            "keys or a login."
        )


def _may_serve(template: str, prefix: str) -> bool:
    """Whether a route may serve a path below a prefix. A parameter may stand for any text, and for several segments."""
    segments = template.strip("/").split("/")
    for place, wanted in enumerate(prefix.strip("/").split("/") if prefix else ()):
        if place >= len(segments):
            return False
        if "{" in segments[place]:
            return True
        if segments[place] != wanted:
            return False
    return True


def _describe_empty_prefix(prefix: str, routes: Iterable[RequiredRoute]) -> Problem:
    heads = {f"/{route.path.strip('/').partition('/')[0]}" for route in routes}
    near = get_close_matches(prefix, sorted(heads), 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return Problem(f"protect({prefix!r}) covers no route.", f"Write the prefix as the routes have it.{hint}")


def find_loose_mounts(host: Any, prefixes: Iterable[ProtectedPrefix]) -> Iterator[Problem]:
    """The prefixes at which Litestar has mounted an app, since the mount serves longer names as well.

    Relies on an attribute of Litestar that isn't documented. ``test_checks.py`` fails if a new version changes it.
    """
    known = {each.prefix for each in prefixes}
    for path, app in list_apps(host):
        for mount in getattr(getattr(app, "asgi_router", None), "_mount_routes", None) or ():
            prefix = path + mount.rstrip("/")
            if prefix and prefix in known:
                yield Problem(
                    f"protect({prefix!r}) doesn't cover {prefix + '2'!r}, which Litestar's mount {mount!r} serves.",
                    "Mount the app below the prefix, or require a principal in the mounted app.",
                )


def _find_unknown_scopes(requirements: Iterable[Requirement], plan: Plan) -> Iterator[Problem]:
    settings = plan.settings_of(AccessSettings)
    if settings is None or not settings.known_scopes:
        return
    used = {scope for one in requirements for scope in (*one.scopes, *one.any_of)}
    for scope in sorted(used - set(settings.known_scopes)):
        near = get_close_matches(scope, settings.known_scopes, 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Add it to {settings.variable('known_scopes')}."
        yield Problem(f"A route requires the scope {scope!r}, which {settings.variable('known_scopes')} lacks.", hint)


def _finds_credentials(plan: Plan) -> bool:
    names = {layer.contribution.name for layer in plan.layers}
    if names & {*_OTHER_CREDENTIALS}:
        return True
    settings = plan.settings_of(AuthSettings)
    configured = settings is not None and bool(settings.providers)
    return _BEARER in names and (configured or Key(TokenVerifier) in {**plan.provided, **plan.overrides})


def _check_application(application: Application) -> list[Problem | str]:
    app: Any = application
    plan = application.plan
    return [
        *find_requirement_problems(read_required_routes(app.host), plan),
        *find_loose_mounts(app.host, list_protected_prefixes(plan)),
    ]


route_requirements = CheckContribution(
    name="route_requirements",
    check=_check_application,
    description="Finds required scopes and prefixes that have no effect, and routes that nobody can call.",
)
