"""Limit the requests of each client with a token bucket."""

from collections.abc import AsyncIterator

import anyio
from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict
from starlette.types import ASGIApp, Receive, Scope, Send

from bandmaster.kernel import (
    Context,
    LifespanBand,
    MiddlewareBand,
    Restart,
    lifespan,
    middleware,
)

__all__ = ["RateLimitLayer", "RateLimitSettings", "RateLimits", "rate_limits"]


class RateLimitSettings(BaseSettings):
    """Read from environment variables that begin with ``RATELIMIT_``."""

    model_config = SettingsConfigDict(
        env_prefix="RATELIMIT_",
        extra="ignore",
        frozen=True,
    )

    per_second: PositiveFloat = Field(
        default=20,
        description="Requests per second that a client may make on average.",
    )
    burst: PositiveInt = Field(
        default=40,
        description="Requests that a client may make at once.",
    )
    forget_after: PositiveFloat = Field(
        default=60,
        description="Seconds after which an idle client is forgotten.",
    )


class RateLimits:
    """The token buckets of all clients."""

    def __init__(self, settings: RateLimitSettings) -> None:
        self._settings = settings
        self._buckets: dict[str, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def admit(self, client: str, now: float) -> float:
        """Take a token; return 0, or the seconds until there is one."""
        burst, rate = self._settings.burst, self._settings.per_second
        tokens, since = self._buckets.get(client, (float(burst), now))
        tokens = min(burst, tokens + (now - since) * rate)
        if tokens < 1:
            self._buckets[client] = (tokens, now)
            return (1 - tokens) / rate
        self._buckets[client] = (tokens - 1, now)
        return 0

    def forget_idle(self, now: float) -> None:
        """Remove the buckets that were unused for ``forget_after`` seconds."""
        limit = now - self._settings.forget_after
        for client, (_, since) in list(self._buckets.items()):
            if since <= limit:
                del self._buckets[client]


@lifespan(band=LifespanBand.SERVICES, start_timeout=5, stop_timeout=2)
async def rate_limits(
    settings: RateLimitSettings,
    context: Context,
) -> AsyncIterator[RateLimits]:
    """Counts the requests of each client."""
    limits = RateLimits(settings)

    async def forget_idle() -> None:
        while True:
            await anyio.sleep(settings.forget_after)
            limits.forget_idle(anyio.current_time())

    context.supervise(forget_idle, restart=Restart(when="always"))
    yield limits


@middleware(band=MiddlewareBand.SECURITY, scopes={"http"}, name="rate_limit")
class RateLimitLayer:
    """Answers 429 to a client that sends too many requests."""

    def __init__(self, app: ASGIApp, limits: RateLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        client = (scope.get("client") or ("unknown", 0))[0]
        wait = self._limits.admit(client, anyio.current_time())
        if not wait:
            await self._app(scope, receive, send)
            return
        body = b'{"title": "Too Many Requests", "status": 429}'
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"retry-after", b"%d" % (int(wait) + 1)),
        ]
        start = {"type": "http.response.start", "status": 429}
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": body})
