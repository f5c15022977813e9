"""Describe in an OpenAPI document which operations require a principal, and which scopes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import islice, product
from typing import Any

from bandmaster.contrib.oidc.access.requirements import Requirement
from bandmaster.contrib.oidc.access.route_reading import RequiredRoute
from bandmaster.contrib.oidc.access.security_schemes import DocumentedSecurity, SecurityScheme

Document = dict[str, Any]

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_MAX_ALTERNATIVES = 16
"""Sets of scopes that one operation lists as alternatives; ``any_of`` makes one for each scope."""


def describe_security(
    document: Document, routes: Iterable[RequiredRoute], security: DocumentedSecurity, mounted_at: str = ""
) -> Document:
    """A copy of the document with security schemes, and with the requirements of each operation.

    An operation without a requirement gets none, so that the docs page shows no lock. What the document declares itself
    stays. A document without any requirement is returned unchanged.
    """
    required: dict[tuple[str, str], tuple[tuple[Requirement, ...], bool]] = {}
    for route in routes:
        requirements = _collect_requirements(route, security, mounted_at)
        if requirements or route.takes_user:
            for method in route.methods:
                required[method.lower(), route.path] = requirements, route.takes_user
    described = deepcopy(document)
    scopes: dict[str, str] = {}
    found = False
    for path, operations in described.get("paths", {}).items():
        for method in _METHODS:
            operation = operations.get(method)
            if operation is None or "security" in operation or (method, path) not in required:
                continue
            requirements, takes_user = required[method, path]
            operation["security"] = list(_list_alternatives(requirements, security.schemes))
            if takes_user and not requirements:
                operation["security"].insert(0, {})
            scopes |= dict.fromkeys((scope for one in requirements for scope in (*one.scopes, *one.any_of)), "")
            found = True
    if not found:
        return document
    known = described.setdefault("components", {}).setdefault("securitySchemes", {})
    for scheme in security.schemes:
        known.setdefault(scheme.name, _fill_scopes(scheme, {**scopes, **dict.fromkeys(security.scopes, "")}))
    return described


def make_docs_login(security: DocumentedSecurity) -> Document | None:
    """Swagger UI's configuration of the login: a public client with PKCE (RFC 7636); None without a client."""
    if security.client_id is None:
        return None
    login: Document = {
        "clientId": security.client_id,
        "scopes": " ".join(security.scopes),
        "usePkceWithAuthorizationCodeGrant": True,
    }
    if security.authorize_params:
        login["additionalQueryStringParams"] = dict(security.authorize_params)
    return login


def _collect_requirements(
    route: RequiredRoute, security: DocumentedSecurity, mounted_at: str
) -> tuple[Requirement, ...]:
    prefixes = [each.requirement for each in security.prefixes if each.covers(mounted_at + route.path)]
    return tuple(dict.fromkeys((*prefixes, *route.requirements)))


def _list_alternatives(
    requirements: Sequence[Requirement], schemes: Iterable[SecurityScheme]
) -> Iterator[Mapping[str, list[str]]]:
    always = [scope for one in requirements for scope in one.scopes]
    choices = [one.any_of for one in requirements if one.any_of]
    for scheme in schemes:
        if not scheme.takes_scopes:
            yield {scheme.name: []}
            continue
        for chosen in islice(product(*choices), _MAX_ALTERNATIVES):
            yield {scheme.name: list(dict.fromkeys((*always, *chosen)))}


def _fill_scopes(scheme: SecurityScheme, scopes: Mapping[str, str]) -> Document:
    definition: Document = deepcopy(dict(scheme.definition))
    for flow in definition.get("flows", {}).values():
        flow["scopes"] = {**scopes, **flow.get("scopes", {})}
    return definition
