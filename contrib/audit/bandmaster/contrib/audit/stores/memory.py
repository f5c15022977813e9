"""`MemoryAuditStore`: the newest entries in the memory of the process, for development and tests."""

from __future__ import annotations

import threading
from bisect import insort
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from bandmaster.contrib.audit.chain.keys import ChainKeys
from bandmaster.contrib.audit.chain.link import ChainLink, genesis_hash, make_link
from bandmaster.contrib.audit.chain.verifier import Head
from bandmaster.contrib.audit.entries.filters import AuditFilter
from bandmaster.contrib.audit.stores.store import AnySession, Draft, Position


class MemoryAuditStore:
    """An `AuditStore` that keeps the newest entries of all streams, ``max_entries`` together. Thread-safe."""

    def __init__(self, keys: ChainKeys | None = None, *, max_entries: int = 10_000) -> None:
        if max_entries < 1:
            raise ValueError(f"max_entries: expected a number from 1 up, got {max_entries!r}")
        self.keys = keys or ChainKeys()
        self.max_entries = max_entries
        self._lock = threading.Lock()
        self._links: deque[ChainLink] = deque()
        self._heads: dict[str, Head] = {}

    def __len__(self) -> int:
        return len(self._links)

    async def append(self, drafts: Sequence[Draft]) -> list[ChainLink]:
        """See `AuditStore.append`."""
        return self.append_now(drafts)

    async def append_beside(
        self, drafts: Sequence[Draft], session: AnySession, on_written: Callable[[ChainLink], None]
    ) -> list[ChainLink]:
        """See `AuditStore.append_beside`."""
        return self.append_now(drafts)

    def append_now(self, drafts: Sequence[Draft]) -> list[ChainLink]:
        """Add entries; the oldest ones are removed beyond ``max_entries``."""
        added: list[ChainLink] = []
        with self._lock:
            for draft in drafts:
                last = self._heads.get(draft.stream)
                link = make_link(
                    draft.entry,
                    stream=draft.stream,
                    sequence=1 if last is None else last.sequence + 1,
                    previous=genesis_hash(draft.stream) if last is None else last.hash,
                    keys=self.keys,
                )
                self._heads[draft.stream] = Head(link.stream, link.sequence, link.hash, link.key_id)
                self._links.append(link)
                added.append(link)
                while len(self._links) > self.max_entries:
                    self._remove_oldest()
        return added

    def _remove_oldest(self) -> None:
        link = self._links.popleft()
        head = self._heads.get(link.stream)
        if head is not None and head.sequence == link.sequence:
            del self._heads[link.stream]  # the stream's last entry: a stream without entries begins anew

    def add_to(self, session: AnySession, draft: Draft, on_commit: Callable[[ChainLink], None]) -> None:
        """See `AuditStore.add_to`."""
        from bandmaster.contrib.audit.stores.session_entries import SessionEntries

        def append(_: ChainLink | None) -> None:
            (link,) = self.append_now([draft])
            on_commit(link)

        SessionEntries.of(session).add(None, append)

    async def find(self, wanted: AuditFilter, *, limit: int, before: Position | None = None) -> list[ChainLink]:
        """See `AuditStore.find`."""
        with self._lock:
            links = list(self._links)
        newest: list[tuple[Position, ChainLink]] = []
        for link in links:
            position = Position(link.at, link.stream, link.sequence)
            if (before is None or position < before) and wanted.matches(link.to_entry(), link.stream):
                insort(newest, (position, link), key=lambda each: each[0])
                del newest[:-limit]
        return [link for _, link in reversed(newest)]

    async def read(self, stream: str, *, after: int, limit: int) -> list[ChainLink]:
        """See `AuditStore.read`."""
        with self._lock:
            return [link for link in self._links if link.stream == stream and link.sequence > after][:limit]

    async def read_one(self, stream: str, sequence: int) -> ChainLink | None:
        """See `AuditStore.read_one`."""
        links = await self.read(stream, after=sequence - 1, limit=1)
        return links[0] if links and links[0].sequence == sequence else None

    async def heads(self) -> AsyncIterator[Head]:
        """See `AuditStore.heads`."""
        with self._lock:
            heads = sorted(self._heads.values(), key=lambda head: head.stream)
        for head in heads:
            yield head

    async def hashes(self, places: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], str]:
        """See `AuditStore.hashes`."""
        wanted = set(places)
        with self._lock:
            return {place: link.hash for link in self._links if (place := (link.stream, link.sequence)) in wanted}
