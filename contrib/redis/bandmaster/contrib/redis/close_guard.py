"""The guard that keeps a closed client closed."""

from __future__ import annotations

from bandmaster.contrib.redis.errors import RedisClosedError


class CloseGuard:
    """Open until the client is closed, then closed for good.

    redis-py's own pools open connections again at the next command.
    """

    __slots__ = ("_label", "closed")

    def __init__(self, label: str) -> None:
        self._label = label
        self.closed = False

    def check(self) -> None:
        """Raise once the guard is closed.

        Raises:
            RedisClosedError: the client was closed.
        """
        if self.closed:
            raise RedisClosedError(
                f"{self._label} was closed with the application; a component that uses the client must depend on "
                "Redis, so that it is stopped first"
            )

    def __repr__(self) -> str:
        return f"<CloseGuard of {self._label}: {'closed' if self.closed else 'open'}>"
