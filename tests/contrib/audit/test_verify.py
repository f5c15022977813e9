"""Verification of a store: what is missing, also at the end, and what was changed; all of it, or what is new."""

import json
import tracemalloc

import pytest
from pydantic import SecretStr
from tests.contrib.audit.conftest import OLD_KEY

from bandmaster.contrib.audit import (
    AuditEntry,
    AuditError,
    ChainKeys,
    ChainVerification,
    FindingKind,
    SqlAuditStore,
    UnverifiableError,
    verify_store,
)
from bandmaster.contrib.audit.chain.anchors import read_anchors, read_checkpoint, write_checkpoint
from bandmaster.contrib.audit.maintenance.acknowledge import acknowledge_findings, vouch_for_heads
from bandmaster.contrib.audit.maintenance.export import Range, export_entries
from bandmaster.contrib.audit.recording import log_link
from bandmaster.contrib.audit.stores.memory import MemoryAuditStore
from bandmaster.contrib.audit.stores.store import Draft
from bandmaster.contrib.audit.verification.exports import verify_export

pytestmark = pytest.mark.anyio


async def fill(store, count=10, stream="s"):
    return await store.append([Draft(stream, AuditEntry(action=f"a{n}", actor="ann")) for n in range(count)])


def kinds(report):
    return sorted(finding.kind for finding in report.findings)


@pytest.fixture
async def checkpoint(store, keys, tmp_path):
    """A store with two streams, and a checkpoint of them in a file."""
    await fill(store)
    await fill(store, 3, "other")
    path = tmp_path / "checkpoint"
    write_checkpoint(path, [head async for head in store.heads()], keys)
    return path


@pytest.mark.requirement("OBS-A2")
async def test_a_missing_tail_is_found_by_the_checkpoint_and_by_nothing_in_the_table(
    store, keys, checkpoint, tamper
) -> None:
    """OBS-A2: without an anchor outside of the table, the remaining entries are a sound chain."""
    tamper("DELETE FROM audit_personal WHERE sequence > 6", "DELETE FROM audit_entries WHERE sequence > 6")
    alone = await verify_store(store, keys)
    assert (True, 0) == (alone.is_sound, alone.anchors)
    report = await verify_store(store, keys, checkpoint=read_checkpoint(checkpoint, keys))
    (finding,) = report.findings
    assert (FindingKind.TRUNCATED, "s", 10) == (finding.kind, finding.stream, finding.last)
    anchored = await verify_store(store, keys, anchors=read_anchors(checkpoint, keys))
    assert [FindingKind.TRUNCATED] == kinds(anchored)


@pytest.mark.requirement("OBS-A2")
async def test_an_empty_table_is_found(store, keys, checkpoint, tamper) -> None:
    """OBS-A2: a table without rows has no streams, and the checkpoint knows them."""
    tamper("DELETE FROM audit_personal", "DELETE FROM audit_entries")
    for options in (
        {"checkpoint": read_checkpoint(checkpoint, keys)},
        {"anchors": list(read_anchors(checkpoint, keys))},
    ):
        report = await verify_store(store, keys, **options)
        assert {"s", "other"} == {finding.stream for finding in report.findings}
        assert {FindingKind.TRUNCATED} == {*kinds(report)}


@pytest.mark.requirement("OBS-A2")
async def test_a_tail_that_was_cut_and_written_anew_is_found(store, keys, checkpoint, tamper) -> None:
    """OBS-A2: the application goes on behind the cut, so that the sequences are taken again by other entries."""
    tamper("DELETE FROM audit_personal WHERE sequence > 6", "DELETE FROM audit_entries WHERE sequence > 6")
    await fill(store, 8)
    report = await verify_store(store, keys, checkpoint=read_checkpoint(checkpoint, keys))
    assert [FindingKind.REPLACED] == kinds(report)
    assert report.entries >= 14  # what was sound before is verified again


@pytest.mark.requirement("OBS-A2")
async def test_log_events_are_anchors(store, keys, tamper, tmp_path, caplog) -> None:
    """OBS-A2: the log of the application, kept elsewhere, knows each entry; other lines and torn ones don't matter."""
    caplog.set_level("INFO")
    for link in await fill(store):
        log_link(link)
    log = tmp_path / "app.log"
    lines = [json.dumps({"event": record.event, **record.fields}) for record in caplog.records]
    log.write_text("\n".join(["starting", '{"event": "other"}', *lines, '{"event": "audit en']))
    sound = await verify_store(store, keys, anchors=read_anchors(log, keys))
    assert ([], 10) == (sound.findings, sound.anchors)
    tamper("DELETE FROM audit_personal WHERE sequence = 10", "DELETE FROM audit_entries WHERE sequence = 10")
    assert [FindingKind.TRUNCATED] == kinds(await verify_store(store, keys, anchors=read_anchors(log, keys)))


@pytest.mark.requirement("OBS-A2")
async def test_an_export_is_an_anchor(store, keys, tamper, tmp_path) -> None:
    """OBS-A2: compared with an export, a changed hash, a hole and a missing tail are found as what they are."""
    await fill(store)
    path = tmp_path / "export.jsonl"
    await export_entries(store, [Range("s", 0, 10)], path, keys)
    assert [] == (await verify_store(store, keys, anchors=read_anchors(path, keys))).findings
    tamper(
        "UPDATE audit_entries SET hash = 'x' WHERE sequence = 2",
        "DELETE FROM audit_entries WHERE sequence IN (5, 10)",
        "DELETE FROM audit_personal WHERE sequence IN (5, 10)",
    )
    found = kinds(await verify_store(store, keys, anchors=read_anchors(path, keys)))
    assert {FindingKind.REPLACED, FindingKind.MISSING, FindingKind.TRUNCATED} <= {*found}


@pytest.mark.requirement("OBS-A9")
async def test_a_verification_goes_on_from_the_checkpoint(store, keys, checkpoint, tamper) -> None:
    """OBS-A9: what was verified isn't read again; a change in there is left to a full verification, and found by it."""
    await fill(store, 5)
    known = read_checkpoint(checkpoint, keys)
    report = await verify_store(store, keys, checkpoint=known)
    assert (True, 5, 2) == (report.is_sound, report.entries, report.anchors)
    assert 15 == report.heads["s"].sequence
    tamper("UPDATE audit_entries SET action = 'x' WHERE sequence = 2 AND stream = 's'")
    assert (await verify_store(store, keys, checkpoint=known)).is_sound
    assert [FindingKind.ALTERED] == kinds(await verify_store(store, keys))
    tamper("UPDATE audit_entries SET action = 'x' WHERE sequence = 12")
    assert [FindingKind.ALTERED] == kinds(await verify_store(store, keys, checkpoint=known))


async def test_one_stream_is_verified(store, keys, checkpoint, tamper) -> None:
    """Other streams aren't read, and their heads in the checkpoint aren't missed."""
    tamper("UPDATE audit_entries SET action = 'x' WHERE stream = 'other'")
    known = read_checkpoint(checkpoint, keys)
    report = await verify_store(store, keys, streams={"s"}, checkpoint=known)
    assert (True, 1) == (report.is_sound, report.streams)


@pytest.mark.requirement("OBS-A9")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_memory_does_not_grow_with_the_number_of_entries(store, keys) -> None:
    """OBS-A9: four times as many entries need no more memory; the pages are of 500."""
    peaks = []
    for count in (2_000, 6_000):
        for _ in range(count // 1_000):
            await fill(store, 1_000)
        tracemalloc.start()
        report = await verify_store(store, keys)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert report.is_sound
    assert 8_000 == report.entries
    assert peaks[1] < 1.3 * peaks[0], peaks


@pytest.mark.requirement("OBS-A9")
async def test_an_explained_break_is_acknowledged_and_verification_goes_on(store, keys, tamper) -> None:
    """OBS-A9: the acknowledgement is an entry; it covers what was found and nothing else."""
    await fill(store)
    tamper("UPDATE audit_entries SET action = 'x' WHERE sequence = 4")
    report = await verify_store(store, keys)
    await acknowledge_findings(store, report.findings, actor="op", reason="a restore of 2026-01-02")
    again = await verify_store(store, keys)
    assert ([], 1) == (again.findings, len(again.acknowledged))
    await fill(store, 3)
    assert (await verify_store(store, keys)).is_sound
    tamper("UPDATE audit_entries SET action = 'y' WHERE sequence = 4")
    assert [FindingKind.ALTERED] == kinds(await verify_store(store, keys))


@pytest.mark.requirement("OBS-A9")
async def test_an_acknowledgement_without_the_key_counts_for_nothing(store, own_manager, keys, tamper) -> None:
    """OBS-A9: whoever changed the table can't excuse it."""
    await fill(store)
    tamper("UPDATE audit_entries SET action = 'x' WHERE sequence = 4")
    report = await verify_store(store, keys)
    forger = SqlAuditStore(own_manager, ChainKeys())
    await acknowledge_findings(forger, report.findings, actor="op", reason="nothing to see")
    assert FindingKind.ALTERED in kinds(await verify_store(store, keys))
    forger = SqlAuditStore(own_manager, ChainKeys({"2026": SecretStr("f" * 40)}))
    await acknowledge_findings(forger, report.findings, actor="op", reason="nothing to see")
    assert [FindingKind.ALTERED] * 2 == [kind for kind in kinds(await verify_store(store, keys)) if kind == "altered"]


async def test_an_acknowledged_loss_of_the_tail(store, keys, checkpoint, tamper) -> None:
    """With the same checkpoint the finding stays acknowledged while new entries come."""
    tamper("DELETE FROM audit_personal WHERE sequence > 6", "DELETE FROM audit_entries WHERE sequence > 6")
    known = read_checkpoint(checkpoint, keys)
    report = await verify_store(store, keys, checkpoint=known)
    await acknowledge_findings(store, report.findings, actor="op", reason="the disk of 2026-01-02")
    await fill(store, 1)
    again = await verify_store(store, keys, checkpoint=known)
    assert ([], 1) == (again.findings, len(again.acknowledged))


async def test_a_keyed_entry_vouches_for_those_before(store, own_manager, keys) -> None:
    """After the first key was set, a checkpoint entry ends the doubt about entries without one."""
    await fill(SqlAuditStore(own_manager, ChainKeys()))
    assert [FindingKind.UNKEYED] == kinds(await verify_store(store, keys))
    await vouch_for_heads(store, [head async for head in store.heads()], actor="op")
    report = await verify_store(store, keys)
    assert (True, 10) == (report.is_sound, report.unkeyed)


async def test_entries_of_an_unknown_key_are_not_judged(store, keys) -> None:
    """A key that was removed from the settings too early makes nothing look tampered."""
    await fill(store)
    report = await verify_store(store, ChainKeys({"2027": SecretStr(OLD_KEY)}))
    assert ([], {"2026"}) == (report.findings, report.unknown_keys)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[: len(data) // 2], "is cut off"),
        (lambda data: b"\n".join(data.split(b"\n")[:-2]) + b"\n", "is cut off"),
        (lambda data: data.replace(b'"sequence":10', b'"sequence":9'), "was changed"),
        (lambda data: b"\n".join(line for line in data.split(b"\n") if b'"other"' not in line), "was changed"),
        (lambda data: data.replace(b'"format":1', b'"format":2'), "a format that this version doesn't read"),
        (lambda data: data.replace(b'"key":"2026"', b'"key":""'), "signed without a key|was changed"),
        (lambda data: data.replace(b'"key":"2026"', b'"key":"2024"'), "the key '2024'"),
        (lambda data: b"", "isn't a checkpoint"),
        (lambda data: b"{}\n" * 3, "isn't a checkpoint"),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_checkpoint_that_was_changed_is_refused(checkpoint, keys, change, message) -> None:
    """A file that somebody has edited is no reason to call the table sound, nor tampered."""
    checkpoint.write_bytes(change(checkpoint.read_bytes()))
    with pytest.raises(UnverifiableError, match=message):
        read_checkpoint(checkpoint, keys)


async def test_a_file_that_names_no_entry_is_refused(tmp_path, keys) -> None:
    """Compared with nothing, a table isn't anchored."""
    path = tmp_path / "app.log"
    path.write_text('{"event": "other"}\nhello\n')
    with pytest.raises(UnverifiableError, match="names no entry"):
        list(read_anchors(path, keys))
    with pytest.raises(UnverifiableError, match="can't be read"):
        list(read_anchors(tmp_path / "none", keys))


async def test_an_export_is_verified_without_the_database(store, keys, tmp_path) -> None:
    """Whole, in part, and without personal facts; with another key only links are verified."""
    await fill(store)
    await fill(store, 3, "other")
    path = tmp_path / "export.jsonl"
    await export_entries(store, [Range("other", 0, 3), Range("s", 4, 9)], path, keys)
    report = verify_export(path, keys)
    assert (True, 8, 2, 0) == (report.is_sound, report.entries, report.streams, report.withheld)
    assert 0o600 == path.stat().st_mode & 0o777
    await export_entries(store, [Range("s", 0, 10)], path, keys, with_personal=False)
    report = verify_export(path, keys)
    assert (True, 10, 10) == (report.is_sound, report.entries, report.withheld)
    assert b"ann" not in path.read_bytes()
    report = verify_export(path, ChainKeys({"x": SecretStr(OLD_KEY)}))
    assert (True, {"2026"}) == (report.is_sound, report.unknown_keys)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_an_export_that_was_changed_is_found(store, keys, tmp_path) -> None:
    """A changed entry, also by somebody without the key who fits the links to it."""
    await fill(store)
    path = tmp_path / "export.jsonl"
    await export_entries(store, [Range("s", 0, 10)], path, keys)
    path.write_bytes(path.read_bytes().replace(b'"a4"', b'"zz"'))
    with pytest.raises(UnverifiableError, match="was changed"):
        verify_export(path, keys)
    report = verify_export(path, ChainKeys({"x": SecretStr(OLD_KEY)}))
    assert report.is_sound  # nobody without the key can tell, and the report says which key is missing
    assert {"2026"} == report.unknown_keys


@pytest.mark.requirement("OBS-A9")
async def test_the_application_verifies_itself(store, keys, tamper, tmp_path, caplog) -> None:
    """OBS-A9: all entries first, then what is new; the result is there for a metric, and the probe tells of a break."""
    path = tmp_path / "checkpoint"
    verification = ChainVerification(store, keys, interval=60, checkpoint_file=path)
    await verification.probe()
    await fill(store)
    first = await verification.verify()
    assert ("sound", 10, 1, 0) == (first.outcome, first.entries, first.streams, first.findings)
    await fill(store, 4)
    assert 4 == (await verification.verify()).entries
    # A process that starts later goes on from the file.
    other = ChainVerification(store, keys, interval=60, checkpoint_file=path)
    assert 0 == (await other.verify()).entries
    await verification.probe()
    await fill(store, 1)
    tamper("UPDATE audit_entries SET action = 'x' WHERE sequence = 15")
    last = await verification.verify()
    assert ("tampered", 1) == (last.outcome, last.findings)
    assert last is verification.last
    assert "audit trail is broken" in caplog.text
    with pytest.raises(AuditError, match="was tampered"):
        await verification.probe()
    path.write_text("rubbish")
    assert "failed" == (await verification.verify()).outcome


async def test_the_application_verifies_the_store_in_memory(memory, keys) -> None:
    """The same service serves development."""
    await fill(memory)
    assert "sound" == (await ChainVerification(memory, keys, interval=60).verify()).outcome
    assert isinstance(memory, MemoryAuditStore)


async def test_entries_that_come_during_a_verification(store, keys) -> None:
    """The verification ends where the streams ended when it began."""
    await fill(store, 600)
    grown = 0
    read = store.read

    async def read_and_grow(stream, *, after, limit):
        nonlocal grown
        grown += 1
        await fill(store, 2)
        return await read(stream, after=after, limit=limit)

    store.read = read_and_grow
    report = await verify_store(store, keys)
    assert (True, 600) == (report.is_sound, report.entries)
    assert grown >= 2
