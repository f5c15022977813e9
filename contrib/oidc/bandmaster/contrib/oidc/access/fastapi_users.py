"""The principal as a dependency of FastAPI: ``CurrentUser`` and ``OptionalUser``."""

from __future__ import annotations

from typing import Annotated

from starlette.requests import HTTPConnection

from bandmaster.contrib.oidc.access.requirements import require
from bandmaster.contrib.oidc.access.route_reading import TAKES_USER
from bandmaster.contrib.oidc.principal import Principal, get_principal

try:
    from fastapi import Depends
except ImportError as missing:
    raise ImportError("CurrentUser and OptionalUser need FastAPI: install bandmaster-oidc[fastapi]") from missing


async def find_user(connection: HTTPConnection) -> Principal | None:
    """Who makes the request; None without a principal."""
    return get_principal(connection.scope)


setattr(find_user, TAKES_USER, True)

CurrentUser = Annotated[Principal, Depends(require())]
"""Who makes the request; nobody: 401. With scopes: ``Annotated[Principal, Depends(require("orders:read"))]``."""

OptionalUser = Annotated[Principal | None, Depends(find_user)]
"""Who makes the request, or None."""
