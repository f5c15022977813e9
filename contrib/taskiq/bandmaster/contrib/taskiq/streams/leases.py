"""What this process holds: shared by its event loop and the thread that renews it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from enum import Enum, auto


class Standing(Enum):
    """Whose a message is, as far as is known."""

    OURS = auto()
    THEIRS = auto()
    """Somebody else's, or given away."""
    GONE = auto()
    """There no more: somebody else had done it already, or the server has lost it."""


class Lease:
    """One message that was given to this process, and hasn't come to its end."""

    __slots__ = ("begun", "deliveries", "ended", "id", "on_lost", "over", "settling", "standing", "sure_until")

    def __init__(self, entry: str, deliveries: int, sure_until: float) -> None:
        self.id = entry
        self.deliveries = deliveries
        self.sure_until = sure_until
        """By this machine's own clock that only runs on; until then nobody else can have it, whatever happens."""
        self.standing = Standing.OURS
        self.begun = False
        self.settling = False
        """Somebody is telling the server about its end."""
        self.over = False
        """It isn't held any more."""
        self.ended = False
        """The server knows what became of it."""
        self.on_lost: Callable[[], object] | None = None

    @property
    def sure(self) -> bool:
        """Whether nobody else can have it now."""
        return self.standing is Standing.OURS and time.monotonic() < self.sure_until


class Leases:
    """The leases of one process."""

    def __init__(self, seconds: float, slots: int) -> None:
        self.seconds = seconds
        self._slots = slots
        self._held: dict[str, Lease] = {}
        self._lock = threading.Lock()
        # Appended to while garbage is collected, which may be anywhere: nothing may be locked for it.
        self._dropped: deque[Lease] = deque()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def free(self) -> int:
        """How many more may be held."""
        return self._slots - len(self._held)

    def take(self, entry: str, deliveries: int, asked: float) -> Lease | None:
        """Hold a message that was given when the server was asked at that time; None if it is held already."""
        with self._lock:
            if entry in self._held:
                return None
            lease = self._held[entry] = Lease(entry, deliveries, asked + self.seconds)
            return lease

    def held(self) -> list[Lease]:
        """All of them, in the order in which they came; lost ones included, for they may still run."""
        with self._lock:
            return list(self._held.values())

    def get(self, entry: str) -> Lease | None:
        """What is held of a message."""
        return self._held.get(entry)

    def begin(self, lease: Lease, on_lost: Callable[[], object]) -> bool:
        """Whether it may begin now; if so, it has."""
        with self._lock:
            if lease.over or not lease.sure:
                return False
            lease.begun = True
            lease.on_lost = on_lost
            return True

    def let_go(self, leases: Iterable[Lease]) -> None:
        """Hold these no longer."""
        with self._lock:
            for lease in leases:
                lease.over = True
                if self._held.get(lease.id) is lease:
                    del self._held[lease.id]

    def withdraw(self, *, begun: bool) -> list[Lease]:
        """Hold nothing that hasn't begun, or nothing at all, so that it may be given away; what that was."""
        with self._lock:
            given = [lease for lease in self._held.values() if begun or not (lease.begun or lease.settling)]
            for lease in given:
                lease.standing = Standing.THEIRS
                lease.over = True
                del self._held[lease.id]
        return given

    def renewed(self, leases: Iterable[Lease], asked: float) -> None:
        """The server has confirmed these, when it was asked at that time."""
        with self._lock:
            for lease in leases:
                if lease.standing is Standing.OURS:
                    lease.sure_until = max(lease.sure_until, asked + self.seconds)

    def found(self, leases: Iterable[Lease], standing: Standing) -> list[Lease]:
        """These aren't ours any more; those are returned of which that is news."""
        with self._lock:
            news = [
                lease
                for lease in leases
                # What is being settled may be another's, or gone, for that very reason.
                if lease.standing is Standing.OURS and not (lease.over or lease.settling)
            ]
            for lease in news:
                lease.standing = standing
        return news

    def drop(self, lease: Lease) -> None:
        """Nobody can come to its end any more. The garbage collector may call this, in any thread."""
        self._dropped.append(lease)

    def collect_dropped(self) -> Collection[Lease]:
        """Hold no longer what was dropped: it is given out again when its lease is over. What that was."""
        dropped: list[Lease] = []
        with suppress(IndexError):  # which isn't asked for before: another thread may be at it as well
            while True:
                lease = self._dropped.popleft()
                if not (lease.over or lease.settling):
                    dropped.append(lease)
        if dropped:
            self.let_go(dropped)
        return dropped
