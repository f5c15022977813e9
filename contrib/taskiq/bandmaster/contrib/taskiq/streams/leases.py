"""The leases of this process, shared by the event loop and the thread that renews them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from enum import Enum, auto


class Ownership(Enum):
    """The owner of a message, as far as this process knows."""

    OURS = auto()
    TAKEN = auto()
    """Another consumer has the message, or this process has released the message."""
    GONE = auto()
    """The message is no longer in the stream: finished by another worker, or lost by the server."""


class Lease:
    """One message that was delivered to this process and hasn't ended."""

    __slots__ = (
        "acknowledged",
        "begun",
        "deliveries",
        "ending",
        "forgotten",
        "id",
        "on_lost",
        "ownership",
        "valid_until",
    )

    def __init__(self, entry: str, deliveries: int, valid_until: float) -> None:
        self.id = entry
        self.deliveries = deliveries
        self.valid_until = valid_until
        """By the monotonic clock. Until then no other worker can get the message, whatever happens."""
        self.ownership = Ownership.OURS
        self.begun = False
        """Whether the message's task has begun."""
        self.ending = False
        """Whether a command that ends the message is on its way."""
        self.forgotten = False
        """Whether the lease no longer takes a slot and isn't renewed."""
        self.acknowledged = False
        """Whether the server has confirmed the message's end."""
        self.on_lost: Callable[[], object] | None = None

    @property
    def is_valid(self) -> bool:
        """Whether no other worker can have the message now."""
        return self.ownership is Ownership.OURS and time.monotonic() < self.valid_until


class Leases:
    """The leases of one process."""

    def __init__(self, seconds: float, slots: int) -> None:
        self.seconds = seconds
        self._slots = slots
        self._held: dict[str, Lease] = {}
        self._lock = threading.Lock()
        # A deque, since its append is atomic. The garbage collector appends, possibly while this thread holds the lock.
        self._abandoned: deque[Lease] = deque()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def free(self) -> int:
        """How many more messages this process may hold."""
        return self._slots - len(self._held)

    def acquire(self, entry: str, deliveries: int, asked: float) -> Lease | None:
        """Hold a message that was delivered for a command sent at the time ``asked``; None if held already."""
        with self._lock:
            if entry in self._held:
                return None
            lease = self._held[entry] = Lease(entry, deliveries, asked + self.seconds)
            return lease

    def list_held(self) -> list[Lease]:
        """All leases in the order of delivery. Lost ones are included: their tasks may still run."""
        with self._lock:
            return list(self._held.values())

    def get(self, entry: str) -> Lease | None:
        """The lease of a message."""
        return self._held.get(entry)

    def begin(self, lease: Lease, on_lost: Callable[[], object]) -> bool:
        """Mark the message's task as begun, if the lease is valid. Returns whether the task may run."""
        with self._lock:
            if lease.forgotten or not lease.is_valid:
                return False
            lease.begun = True
            lease.on_lost = on_lost
            return True

    def forget(self, leases: Iterable[Lease]) -> None:
        """Hold these no longer."""
        with self._lock:
            for lease in leases:
                lease.forgotten = True
                if self._held.get(lease.id) is lease:
                    del self._held[lease.id]

    def withdraw(self, *, begun: bool) -> list[Lease]:
        """Forget the leases of tasks that haven't begun, or all leases, before they are released. Returns them."""
        with self._lock:
            withdrawn = [lease for lease in self._held.values() if begun or not (lease.begun or lease.ending)]
            for lease in withdrawn:
                lease.ownership = Ownership.TAKEN
                lease.forgotten = True
                del self._held[lease.id]
        return withdrawn

    def extend(self, leases: Iterable[Lease], asked: float) -> None:
        """Extend leases that were renewed by a command sent at the time ``asked``."""
        with self._lock:
            for lease in leases:
                if lease.ownership is Ownership.OURS:
                    lease.valid_until = max(lease.valid_until, asked + self.seconds)

    def mark_lost(self, leases: Iterable[Lease], ownership: Ownership) -> list[Lease]:
        """Mark leases as lost. Returns those that weren't known to be lost."""
        with self._lock:
            news = [
                lease
                for lease in leases
                # A message that this process is just ending may have left the stream for that reason.
                if lease.ownership is Ownership.OURS and not (lease.forgotten or lease.ending)
            ]
            for lease in news:
                lease.ownership = ownership
        return news

    def abandon(self, lease: Lease) -> None:
        """Note that no code can end the message any more. The garbage collector may call this, in any thread."""
        self._abandoned.append(lease)

    def forget_abandoned(self) -> Collection[Lease]:
        """Forget abandoned leases, so that their messages are redelivered when they expire. Returns them."""
        abandoned: list[Lease] = []
        # Popped until it is empty, rather than checked before: the other thread may pop at the same time.
        with suppress(IndexError):
            while True:
                lease = self._abandoned.popleft()
                if not (lease.forgotten or lease.ending):
                    abandoned.append(lease)
        if abandoned:
            self.forget(abandoned)
        return abandoned
