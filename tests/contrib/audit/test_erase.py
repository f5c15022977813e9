"""Personal facts are erased without breaking the chain, and an entry says so."""

import pytest

from bandmaster.contrib.audit import AuditFilter, FindingKind, verify_store
from bandmaster.contrib.audit.chain.anchors import read_anchors
from bandmaster.contrib.audit.chain.verifier import Head
from bandmaster.contrib.audit.maintenance.erase import erase_subject
from bandmaster.contrib.audit.maintenance.export import Range, export_entries
from bandmaster.contrib.audit.verification.run import verify_stream

pytestmark = pytest.mark.anyio


@pytest.fixture
async def filled(audit):
    """Ann acts, Bob acts on Ann, and Bob acts on nobody, in two streams."""
    for stream in ("s", "other"):
        await audit.record("one", actor="ann", address="192.0.2.1", personal={"mail": "ann@x"}, stream=stream)
        await audit.record(
            "two", actor="bob", address="192.0.2.2", personal={"name": "Ann"}, subject="ann", stream=stream
        )
        await audit.record("three", actor="bob", details={"n": 1}, stream=stream)
    return audit


@pytest.mark.requirement("OBS-A6")
async def test_a_person_is_erased_and_the_chain_stays_sound(filled, store, keys, execute, tmp_path) -> None:
    """OBS-A6: what is about the person is gone; what others did stays, and so do the hashes."""
    path = tmp_path / "export"
    await export_entries(store, [Range("s", 0, 3), Range("other", 0, 3)], path, keys)
    erased = await erase_subject(store, "ann", actor="op", reason="asked for")
    assert [("other", 4), ("s", 4)] == [(each.stream, each.fields) for each in erased]
    stored = str(execute("SELECT * FROM audit_entries")) + str(execute("SELECT * FROM audit_personal"))
    assert not {"ann", "Ann", "192.0.2.1"} & {word.strip("'\"()[],") for word in stored.split()}
    assert "192.0.2.2" in stored
    entries = {link.action: link.to_entry() for link in await store.read("s", after=0, limit=9)}
    assert (None, None, {}, {"actor", "address", "mail"}) == (
        entries["one"].actor,
        entries["one"].address,
        entries["one"].personal,
        entries["one"].erased,
    )
    assert ("bob", "192.0.2.2", {"name"}) == (entries["two"].actor, entries["two"].address, entries["two"].erased)
    report = entries["audit.erased"]
    assert ("op", {"first": 1, "count": 4, "reason": "asked for"}) == (
        report.actor,
        {name: value for name, value in report.details.items() if name != "digest"},
    )
    verified = await verify_store(store, keys, anchors=read_anchors(path, keys))
    assert (True, 8, 6) == (verified.is_sound, verified.entries, verified.anchors)
    assert [] == await store.find(AuditFilter(subject="ann"), limit=9)
    assert [] == await erase_subject(store, "ann", actor="op", reason="again")


@pytest.mark.requirement("OBS-A6")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_personal SET value = NULL, salt = NULL, subject = NULL, erased_by = 4 WHERE subject = 'bob'",
        "UPDATE audit_personal SET erased_by = NULL WHERE erased_by = 4",
        "UPDATE audit_personal SET erased_by = 3 WHERE erased_by = 4",
        "DELETE FROM audit_personal WHERE erased_by = 4 AND name = 'mail'",
    ],
)
async def test_a_report_excuses_what_it_reports_and_nothing_else(filled, store, keys, tamper, statement) -> None:
    """OBS-A6: fields that somebody erases past the application, under the number of a real report, are found."""
    await erase_subject(store, "ann", actor="op", reason="asked for")
    tamper(statement)
    report = await verify_store(store, keys)
    assert {FindingKind.PERSONAL_MISSING} == {finding.kind for finding in report.findings}


async def test_a_verification_after_an_erasure_begins_in_the_middle(filled, store, keys) -> None:
    """From a checkpoint on, the report is accepted although the fields before the checkpoint aren't read."""
    links = await store.read("s", after=0, limit=9)
    start = Head("s", 1, links[0].hash, "2026")
    await erase_subject(store, "ann", actor="op", reason="asked for")
    head = {head.stream: head async for head in store.heads()}["s"]
    report = await verify_stream(store, keys, head, start=start)
    assert ([], 3) == (report.findings, report.entries)


@pytest.mark.requirement("OBS-A6")
async def test_an_erasure_during_a_verification_is_no_break(filled, store, keys) -> None:
    """Pages that are read afterwards have erased fields, whose report lies behind the end of this verification."""
    head = {head.stream: head async for head in store.heads()}["s"]
    await erase_subject(store, "ann", actor="op", reason="asked for", streams=["s"])
    report = await verify_stream(store, keys, head)
    assert ([], 3) == (report.findings, report.entries)


async def test_who_erases_is_not_erased(audit, store, keys) -> None:
    """An operator who erases its own entries stays in the report of the erasure."""
    await audit.record("one", actor="op", stream="s")
    await erase_subject(store, "op", actor="op", reason="asked for")
    links = await store.read("s", after=0, limit=9)
    assert [None, "op"] == [link.to_entry().actor for link in links]
    assert (await verify_store(store, keys)).is_sound
