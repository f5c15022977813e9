"""Whether a client may still open connections."""

from __future__ import annotations

from bandmaster.contrib.redis.errors import RedisClosedError


class Gate:
    """Open until the client is closed, then closed for good: redis-py's own pools open again at the next command."""

    __slots__ = ("_what", "closed")

    def __init__(self, what: str) -> None:
        self._what = what
        self.closed = False

    def check(self) -> None:
        """Let pass while it is open.

        Raises:
            RedisClosedError: it has been closed.
        """
        if self.closed:
            raise RedisClosedError(
                f"{self._what} has been closed with the application that it belongs to; what uses it must end before, "
                "or take it as a dependency, so that it is stopped first"
            )

    def __repr__(self) -> str:
        return f"<Gate of {self._what}: {'closed' if self.closed else 'open'}>"
