"""Events of authentication for whoever keeps an audit trail: refusals, logins, and the use of keys."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from starlette.types import Scope

from bandmaster.contrib.oidc.principal import Principal
from bandmaster.contrib.web import request_id
from bandmaster.kernel import Resources, get_logger


@dataclass(frozen=True, slots=True)
class AuthEvent:
    """One use or refusal of a credential. Holds no credential."""

    action: str
    """``request.refused``, ``login``, ``logout``, ``logout.by_provider`` (by a provider's logout token),
    ``api_key.used``, or a name of the application's own.
    """
    succeeded: bool
    principal: Principal | None = None
    """The caller, if known."""
    reason: str = ""
    """The cause of a failure, as the log has it."""
    status: int | None = None
    """The status that the client got, with a refusal."""
    method: str | None = None
    path: str | None = None
    client: str | None = None
    """The address of the client, as the server reports it."""
    request_id: str | None = None
    at: float = field(default_factory=time.time)
    """Seconds of Unix time."""


class AuthListener(Protocol):
    """Receives every `AuthEvent` of this process. A component provides one.

    ```python
    @lifespan(band=LifespanBand.OBSERVABILITY)
    async def audit_trail() -> AsyncIterator[AuthListener]:
        yield AuditTrail()
    ```
    """

    def on_auth_event(self, event: AuthEvent) -> None:
        """Note an event. The event loop calls this method, which must not block; exceptions are logged."""
        ...


def report_auth_event(
    scope: Scope,
    action: str,
    *,
    succeeded: bool,
    principal: Principal | None = None,
    reason: str = "",
    status: int | None = None,
) -> None:
    """Tell every listener of the application about an event in a request. Never raises."""
    resources: Resources | None = (scope.get("state") or {}).get("resources")
    listeners: Sequence[AuthListener] = () if resources is None else resources[Sequence[AuthListener]]
    if not listeners:
        return
    client = scope.get("client")
    event = AuthEvent(
        action,
        succeeded,
        principal,
        reason,
        status,
        scope.get("method"),
        scope["path"],
        client[0] if client else None,
        request_id(),
    )
    for listener in listeners:
        try:
            listener.on_auth_event(event)
        except Exception as error:  # noqa: BLE001  # a listener raises errors of any type, and the request goes on
            get_logger("bandmaster.oidc").error(
                "an event of authentication wasn't noted", exception=error, action=action, error=type(error).__name__
            )
