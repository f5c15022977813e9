"""An outage of a provider: why, since how many attempts, and until when no further one is made."""

from __future__ import annotations

from dataclasses import dataclass

from bandmaster.contrib.oidc.errors import AuthUnavailableError, ProviderRefusedError

_FIRST_PAUSE = 1.0
"""Seconds after the first failure; each further one doubles them."""


@dataclass(frozen=True, slots=True)
class Outage:
    """The failed attempts to fetch something, in a row."""

    error: AuthUnavailableError | ProviderRefusedError
    """The last one."""
    pause: float
    """Seconds between the last attempt and the next one."""
    retry_at: float
    """When the next attempt may be made, by the clock of the caller."""

    @classmethod
    def after(
        cls,
        before: Outage | None,
        error: AuthUnavailableError | ProviderRefusedError,
        *,
        now: float,
        longest: float,
    ) -> Outage:
        """The outage after one more failure. ``longest`` is the most seconds between two attempts."""
        pause = min(longest, _FIRST_PAUSE if before is None else before.pause * 2)
        return cls(error, pause, now + pause)

    def allows_attempt(self, now: float) -> bool:
        """Whether the next attempt may be made."""
        return now >= self.retry_at

    def describe(self, now: float) -> AuthUnavailableError:
        """The error for a caller who can't be served."""
        return AuthUnavailableError(str(self.error), retry_after=max(1.0, self.retry_at - now))
