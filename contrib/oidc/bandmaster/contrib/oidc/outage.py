"""An outage of a provider: why, since how many attempts, and until when no further one is made. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bandmaster.contrib.oidc.errors import AuthError, AuthUnavailableError

_FIRST_PAUSE = 1.0
"""Seconds after the first failure; each further one doubles them."""


@dataclass(frozen=True, slots=True)
class Outage:
    """The failed attempts to get something from a provider, in a row."""

    error: AuthError
    """The last one."""
    pause: float
    """Seconds between the last attempt and the next one."""
    retry_at: float
    """When the next attempt may be made, by the clock of the caller."""

    @classmethod
    def after(cls, before: Outage | None, error: AuthError, *, now: float, longest: float) -> Outage:
        """The outage after one more failure. ``longest`` is the most seconds between two attempts."""
        pause = min(longest, _FIRST_PAUSE if before is None else before.pause * 2)
        return cls(error, pause, now + pause)

    def allows_attempt(self, now: float) -> bool:
        """Whether the next attempt may be made."""
        return now >= self.retry_at

    def postpone(self, until: float) -> Outage:
        """The outage while an attempt is under way, which nobody else makes ``until`` then."""
        return replace(self, retry_at=until)

    def resume(self, now: float) -> Outage:
        """The outage after an attempt that told nothing: the next one may be made after the pause, or as before."""
        return replace(self, retry_at=min(self.retry_at, now + self.pause))

    def describe(self, now: float) -> AuthUnavailableError:
        """The error for a caller who can't be served."""
        return AuthUnavailableError(str(self.error), retry_after=max(1.0, self.retry_at - now))
