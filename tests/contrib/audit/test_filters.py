"""Filters by every field, newest first, the same in memory and in the database."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandmaster.contrib.audit import AuditEntry, AuditFilter, AuditLog, MemoryAuditStore, Result
from bandmaster.contrib.audit.stores.store import Draft, Position

pytestmark = pytest.mark.anyio
START = datetime(2026, 1, 1, tzinfo=UTC)

few = st.sampled_from(["a", "b"])
some = st.none() | few
entries = st.builds(
    AuditEntry,
    action=few,
    result=st.sampled_from(Result),
    resource_type=some,
    resource_id=some,
    actor=some,
    address=some,
    tenant=some,
    request_id=some,
    correlation_id=some,
    task=some,
    task_id=some,
    schedule=some,
    details=st.dictionaries(few, st.sampled_from([1, 1.0, True, "1"]), max_size=2),
    personal=st.dictionaries(few, st.sampled_from([1, "1"]), max_size=2),
    subject=some,
    at=st.integers(0, 5).map(lambda hours: START + timedelta(hours=hours)),
)
filters = st.builds(
    AuditFilter,
    stream=some,
    action=some,
    result=st.none() | st.sampled_from(Result),
    resource_type=some,
    resource_id=some,
    actor=some,
    address=some,
    subject=some,
    tenant=some,
    request_id=some,
    correlation_id=some,
    task=some,
    task_id=some,
    schedule=some,
    since=st.none() | st.just(START + timedelta(hours=1)),
    until=st.none() | st.just(START + timedelta(hours=4)),
    details=st.dictionaries(few, st.sampled_from([1, True]), max_size=1),
    personal=st.dictionaries(few, st.sampled_from([1, "1"]), max_size=1),
)
drafts = st.lists(st.builds(Draft, few, entries), max_size=12)


def is_wanted(wanted, draft):
    """An oracle that shares nothing with the filter: one field after the other."""
    entry = draft.entry
    for name, value in wanted.given().items():
        if name == "since":
            fits = entry.at >= value
        elif name == "until":
            fits = entry.at < value
        elif name == "stream":
            fits = draft.stream == value
        elif name == "subject":
            about = [entry.actor] * (entry.actor is not None) + [entry.actor] * (entry.address is not None)
            about += [entry.subject or entry.actor] * len(entry.personal)
            fits = value in about
        elif name in ("details", "personal"):
            actual = getattr(entry, name)
            fits = all(
                key in actual and type(actual[key]) is type(part) and actual[key] == part for key, part in value.items()
            )
        else:
            fits = getattr(entry, name) == value
        if not fits:
            return False
    return True


@pytest.mark.requirement("P-10")
@given(drafts, filters)
@settings(max_examples=300)
def test_the_memory_store_lists_what_fits_newest_first(given_drafts, wanted) -> None:
    """P-10: every entry that fits all fields, and no other, newest first."""

    async def find():
        store = MemoryAuditStore()
        await store.append(given_drafts)
        return await store.find(wanted, limit=100)

    found = anyio.run(find)
    expected = {draft.entry.id for draft in given_drafts if is_wanted(wanted, draft)}
    assert expected == {link.texts["id"] for link in found}
    times = [link.at for link in found]
    assert sorted(times, reverse=True) == times


@pytest.mark.requirement("P-10")
async def test_the_database_lists_the_same(store) -> None:
    """P-10: for each field the database finds what the store in memory finds, in the same order."""
    memory = MemoryAuditStore()
    made = [
        Draft(
            stream,
            AuditEntry(
                action=action,
                result=Result.REFUSED if number % 3 else Result.SUCCESS,
                resource_type=["order", "user", None][number % 3],
                resource_id=[None, "1", "2"][number % 3],
                actor=["ann", "bob", None][number % 3],
                address=[None, "192.0.2.1"][number % 2],
                tenant=["red", None][number % 2],
                request_id=f"r{number % 4}",
                correlation_id=f"c{number % 2}",
                task=["t", None][number % 2],
                task_id=[None, "7"][number % 2],
                schedule=[None, "nightly"][number % 2],
                details={"n": number % 2, "nested": {"a": [1, 2.5]}},
                personal={"mail": "x@y"} if number % 4 == 0 else {},
                subject="cleo" if number % 4 == 0 else None,
                at=START + timedelta(hours=number // 2),
            ),
        )
        for number in range(24)
        for stream, action in [(["s1", "s2"][number % 2], ["create", "cancel"][number % 2])]
    ]
    for draft in made:
        await memory.append([draft])
        await store.append([draft])
    asked = [
        {},
        {"stream": "s1"},
        {"action": "create"},
        {"result": Result.SUCCESS},
        {"resource_type": "order"},
        {"resource_id": "2"},
        {"actor": "ann"},
        {"address": "192.0.2.1"},
        {"subject": "cleo"},
        {"subject": "ann"},
        {"tenant": "red"},
        {"request_id": "r1"},
        {"correlation_id": "c1"},
        {"task": "t"},
        {"task_id": "7"},
        {"schedule": "nightly"},
        {"since": START + timedelta(hours=3)},
        {"until": START + timedelta(hours=3)},
        {"details": {"n": 1}},
        {"details": {"nested": {"a": [1, 2.5]}}},
        {"personal": {"mail": "x@y"}},
        {"id": made[5].entry.id},
        {"actor": "bob", "result": Result.REFUSED, "since": START, "details": {"n": 0}},
    ]
    assert {each.name for each in fields(AuditFilter)} == {name for one in asked for name in one}
    for one in asked:
        wanted = AuditFilter(**one)
        expected = [(link.stream, link.sequence) for link in await memory.find(wanted, limit=100)]
        assert expected, one
        assert expected == [(link.stream, link.sequence) for link in await store.find(wanted, limit=100)], one
        assert expected[:3] == [(link.stream, link.sequence) for link in await store.find(wanted, limit=3)], one


async def test_pages_have_every_entry_once(store, memory) -> None:
    """Also where many entries have the same time."""
    for each in (store, memory):
        audit = AuditLog(each)
        made = [Draft(f"s{number % 3}", AuditEntry(action="a", at=START)) for number in range(25)]
        await each.append(made)
        seen, before = [], None
        while True:
            page = await audit.list(limit=7, before=before)
            seen += [record.entry.id for record in page.records]
            before = page.next
            if before is None:
                break
        assert sorted(draft.entry.id for draft in made) == sorted(seen)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"result": "maybe"}, "result: expected"),
        ({"since": START.replace(tzinfo=None)}, "since: expected a datetime with a time zone"),
        ({"since": START, "until": START}, "since: isn't before until"),
        ({"actor": 7}, "actor: expected text"),
        ({"details": {"a": object()}}, "details.a: expected a value that JSON has"),
    ],
)
def test_a_filter_that_is_not_valid_is_refused(arguments, message) -> None:
    """The error names the field."""
    with pytest.raises(ValueError, match=message):
        AuditFilter(**arguments)


def test_positions_are_ordered_as_lists_are() -> None:
    """By time, then by stream, then by sequence."""
    assert Position(START, "a", 2) < Position(START, "b", 1) < Position(START + timedelta(1), "a", 1)
