"""The store in memory: bounded, and the newest entries stay, also with many writers."""

import threading
from itertools import pairwise

import anyio
import pytest

from bandmaster.contrib.audit import AuditEntry, AuditFilter, MemoryAuditStore, verify_store
from bandmaster.contrib.audit.stores.store import Draft

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("P-10")
def test_the_newest_stay_under_concurrency(keys) -> None:
    """8 threads add 200 entries each: the 100 that remain are the last 100 of the chain, without a gap."""
    store = MemoryAuditStore(keys, max_entries=100)
    start = threading.Barrier(8)

    def write(number):
        start.wait()
        for count in range(200):
            store.append_now([Draft("s", AuditEntry(action=f"{number}.{count}"))])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    links = anyio.run(lambda: store.read("s", after=0, limit=1000))
    assert list(range(1501, 1601)) == [link.sequence for link in links]
    assert all(before.hash == after.previous for before, after in pairwise(links))


async def test_streams_without_entries_are_forgotten(keys) -> None:
    """Nothing grows with the number of streams that there ever were."""
    store = MemoryAuditStore(keys, max_entries=5)
    for number in range(50):
        await store.append([Draft(f"s{number}", AuditEntry(action="a"))])
    assert 5 == len(store)
    assert 5 == len([head async for head in store.heads()])


async def test_the_chain_in_memory_verifies(memory, keys) -> None:
    """As long as nothing was removed for want of room, it is sound."""
    await memory.append([Draft(f"s{number % 3}", AuditEntry(action="a", actor="ann")) for number in range(30)])
    report = await verify_store(memory, keys)
    assert (True, 3, 30) == (report.is_sound, report.streams, report.entries)
    assert [] == await memory.find(AuditFilter(actor="bob"), limit=10)


def test_a_size_below_one_is_refused() -> None:
    """P-18: a ValueError that names the argument."""
    with pytest.raises(ValueError, match="max_entries"):
        MemoryAuditStore(max_entries=0)
