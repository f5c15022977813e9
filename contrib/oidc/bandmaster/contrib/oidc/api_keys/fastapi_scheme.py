"""The security scheme of API keys for the OpenAPI document of a FastAPI host."""

from __future__ import annotations

from fastapi.security import APIKeyHeader


def api_key_scheme(header: str = "X-API-Key") -> APIKeyHeader:
    """A dependency that shows in the OpenAPI document that a route takes API keys, so that the docs page asks for one.

    The dependency refuses nothing: the layer `ApiKeyAuth` has verified the key by then. ``header`` is that of the
    setting ``header``::

        router = APIRouter(dependencies=[Security(api_key_scheme()), Depends(require("orders:read"))])
    """
    return APIKeyHeader(
        name=header,
        scheme_name="ApiKey",
        description="An API key, which begins with bmk_. Authorization: Bearer takes it as well.",
        auto_error=False,
    )
