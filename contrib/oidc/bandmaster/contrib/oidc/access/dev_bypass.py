"""The bypass for development: requests without a credential act as a developer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from bandmaster.contrib.oidc.access.settings import AccessSettings
from bandmaster.contrib.oidc.environments import describe_environment, is_for_development
from bandmaster.contrib.oidc.errors import AuthError
from bandmaster.contrib.oidc.principal import Principal, get_principal, set_principal
from bandmaster.kernel import (
    Context,
    Exchange,
    KernelSettings,
    LifespanBand,
    MiddlewareBand,
    PermanentError,
    Problem,
    get_logger,
    lifespan,
    middleware,
)


class DevBypassRefusedError(AuthError, PermanentError):
    """The bypass is switched on in an environment that isn't set to development or test."""


@dataclass(frozen=True, slots=True)
class DevBypass:
    """Who requests without a credential act as."""

    principal: Principal


def is_on(settings: AccessSettings) -> bool:
    """Whether the settings ask for the bypass."""
    return settings.dev_bypass


def find_bypass_problems(settings: AccessSettings, kernel: KernelSettings) -> Iterator[Problem | str]:
    """The problem of a bypass where there must be none."""
    if settings.dev_bypass and not is_for_development(kernel):
        yield Problem(
            f"{settings.variable('dev_bypass')} is on, and {describe_environment(kernel)}.",
            f"Set {kernel.variable('environment')} to development or test, or unset {settings.variable('dev_bypass')}.",
        )


@lifespan(band=LifespanBand.SERVICES, name="dev_bypass", roles={"web"}, when=is_on, check=find_bypass_problems)
async def dev_bypass(settings: AccessSettings, context: Context) -> AsyncIterator[DevBypass]:
    """Lets requests without a credential act as a developer, in development and tests only."""
    if not is_for_development(context.settings):  # also where nothing has called the check
        raise DevBypassRefusedError(
            f"{settings.variable('dev_bypass')} is on, and {describe_environment(context.settings)}"
        )
    principal = Principal(settings.dev_bypass_subject, scopes=frozenset(settings.dev_bypass_scopes), kind="bypass")
    get_logger("bandmaster.oidc").warning(
        "AUTHENTICATION IS BYPASSED: requests without a credential act as a developer",
        user=principal.subject,
        scopes=sorted(principal.scopes),
        hint=f"unset {settings.variable('dev_bypass')} to end this",
    )
    yield DevBypass(principal)


@middleware(
    band=MiddlewareBand.SECURITY,
    priority=MiddlewareBand.SECURITY.priorities[80],
    name="dev_bypass",
    when=is_on,
)
class DevBypassLayer:
    """Sets the principal of requests without a credential. A credential is checked as always, and so are scopes."""

    def __init__(self, bypass: DevBypass) -> None:
        self._principal = bypass.principal

    def on_request(self, exchange: Exchange) -> None:
        """Act as the developer, unless the request has a principal."""
        if get_principal(exchange.scope) is None:
            set_principal(exchange.scope, self._principal)
