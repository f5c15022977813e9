"""The oldest entries are pruned only after they are exported and verified, and an entry says so."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from bandmaster.contrib.audit import AuditEntry, AuditFilter, ChainKeys, FindingKind, SqlAuditStore, verify_store
from bandmaster.contrib.audit.chain.anchors import read_anchors, read_checkpoint, write_checkpoint
from bandmaster.contrib.audit.errors import UnverifiableError
from bandmaster.contrib.audit.maintenance import prune
from bandmaster.contrib.audit.maintenance.erase import erase_subject
from bandmaster.contrib.audit.maintenance.prune import BrokenChainError, find_cut, prune_stream
from bandmaster.contrib.audit.stores.store import Draft
from bandmaster.contrib.audit.verification.exports import verify_export

pytestmark = pytest.mark.anyio
START = datetime(2026, 1, 1, tzinfo=UTC)


async def fill(store, count=10, stream="s", start=0):
    entries = [
        AuditEntry(action=f"a{n}", actor="ann", at=START + timedelta(days=n)) for n in range(start, start + count)
    ]
    return await store.append([Draft(stream, entry) for entry in entries])


async def get_head(store, stream="s"):
    return {head.stream: head async for head in store.heads()}[stream]


async def prune_to(store, through, path):
    return await prune_stream(store, await get_head(store), through, path, actor="op", reason="kept for 7 years")


def kinds(report):
    return sorted(finding.kind for finding in report.findings)


@pytest.mark.requirement("OBS-A5")
async def test_a_pruning_is_exported_reported_and_verified(store, keys, tmp_path, execute) -> None:
    """OBS-A5: the entry says who removed which range with which head, and verification goes on from there."""
    await fill(store)
    checkpoint = tmp_path / "checkpoint"
    write_checkpoint(checkpoint, [await get_head(store)], keys)
    path = tmp_path / "export.jsonl"
    result = await prune_to(store, 6, path)
    assert (6, 6) == (result.through, result.entries)
    assert [(7,), (8,), (9,), (10,), (11,)] == execute("SELECT sequence FROM audit_entries ORDER BY sequence")
    assert [(5,)] == execute("SELECT count(DISTINCT sequence) FROM audit_personal")
    (link,) = await store.find(AuditFilter(action="audit.pruned"), limit=2)
    entry = link.to_entry()
    exported = verify_export(path, keys)
    assert (True, 6) == (exported.is_sound, exported.entries)
    assert ("op", 1, 6, exported.heads["s"].hash, result.export.sha256, "kept for 7 years") == (
        entry.actor,
        *(entry.details[name] for name in ("first", "through", "head", "export_sha256", "reason")),
    )
    report = await verify_store(store, keys, anchors=read_anchors(path, keys))
    assert (True, 5, 6) == (report.is_sound, report.entries, report.anchors)
    assert (await verify_store(store, keys, checkpoint=read_checkpoint(checkpoint, keys))).is_sound


@pytest.mark.requirement("OBS-A5")
async def test_a_checkpoint_from_before_a_pruning_still_serves(store, keys, tmp_path) -> None:
    """OBS-A5: the entry that the checkpoint knows was pruned since; the stream is verified from its beginning."""
    await fill(store, 4)
    checkpoint = tmp_path / "checkpoint"
    write_checkpoint(checkpoint, [await get_head(store)], keys)
    await fill(store, 6, start=4)
    await prune_to(store, 8, tmp_path / "export")
    report = await verify_store(store, keys, checkpoint=read_checkpoint(checkpoint, keys))
    assert (True, 3) == (report.is_sound, report.entries)


@pytest.mark.requirement("OBS-A5")
async def test_removed_without_a_report_the_beginning_is_missed(store, keys, tmp_path, tamper) -> None:
    """OBS-A5: deletion looks like an attack unless an entry with the key explains exactly this range."""
    await fill(store)
    tamper("DELETE FROM audit_personal WHERE sequence <= 3", "DELETE FROM audit_entries WHERE sequence <= 3")
    assert [FindingKind.NO_BEGINNING] == kinds(await verify_store(store, keys))
    with pytest.raises(BrokenChainError, match="is broken, and isn't pruned"):
        await prune_to(store, 6, tmp_path / "export")
    assert not (tmp_path / "export").exists()


@pytest.mark.requirement("OBS-A5")
async def test_more_removed_than_reported_is_found(store, keys, tmp_path, tamper) -> None:
    """A pruning of 4 entries doesn't excuse the fifth."""
    await fill(store)
    await prune_to(store, 4, tmp_path / "export")
    tamper("DELETE FROM audit_personal WHERE sequence = 5", "DELETE FROM audit_entries WHERE sequence = 5")
    assert [FindingKind.NO_BEGINNING] == kinds(await verify_store(store, keys))


async def test_prunings_follow_each_other(store, keys, tmp_path) -> None:
    """Also past the report of the first one."""
    await fill(store)
    await prune_to(store, 4, tmp_path / "one")
    assert (await verify_store(store, keys)).is_sound
    await prune_to(store, 7, tmp_path / "two")
    assert (await verify_store(store, keys)).is_sound
    await fill(store, 3, start=10)
    await prune_to(store, 13, tmp_path / "three")
    report = await verify_store(store, keys)
    assert (True, 3) == (report.is_sound, report.entries)
    assert (6, 3, 3) == tuple(
        report.entries for report in (verify_export(tmp_path / name, keys) for name in ("three", "two", "two"))
    )
    assert await prune_to(store, 13, tmp_path / "four") is None


@pytest.mark.requirement("OBS-A5")
async def test_an_interrupted_pruning_is_finished_by_the_next(store, keys, tmp_path, monkeypatch) -> None:
    """OBS-A5: it goes in batches; between them the chain is sound, and a note says that the rest is due."""
    await fill(store)
    monkeypatch.setattr(prune, "BATCH", 2)
    delete_batch, calls = prune._delete_batch, []

    def stop_at_third(connection, stream, through):
        calls.append(through)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return delete_batch(connection, stream, through)

    monkeypatch.setattr(prune, "_delete_batch", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        await prune_to(store, 8, tmp_path / "one")
    monkeypatch.setattr(prune, "_delete_batch", delete_batch)
    report = await verify_store(store, keys)
    assert (True, 7) == (report.is_sound, report.entries)
    assert "isn't finished" in str(report.notes)
    result = await prune_to(store, 8, tmp_path / "two")
    assert (4, None) == (result.entries, result.link)
    report = await verify_store(store, keys)
    assert (True, 3, []) == (report.is_sound, report.entries, report.notes)


async def test_the_last_entry_stays(store) -> None:
    """A stream is never empty after a pruning: the report follows the last entry."""
    await fill(store)
    assert 9 == await find_cut(store, "s", START + timedelta(days=99))
    assert 4 == await find_cut(store, "s", START + timedelta(days=4))
    assert 0 == await find_cut(store, "s", START)
    assert 0 == await find_cut(store, "none", START)


async def test_the_cut_never_takes_a_younger_entry(store) -> None:
    """An entry has the time of its action, and its place by its commit: times don't grow everywhere."""
    await fill(store, 3, start=5)
    await fill(store, 3, start=0)
    assert 0 == await find_cut(store, "s", START + timedelta(days=5))


async def test_without_the_key_nothing_is_pruned(store, own_manager, tmp_path) -> None:
    """What can't be verified isn't removed."""
    await fill(store)
    other = SqlAuditStore(own_manager, ChainKeys({"2027": SecretStr("o" * 40)}))
    with pytest.raises(UnverifiableError, match="2026"):
        await prune_to(other, 5, tmp_path / "export")


async def test_erased_fields_in_a_pruned_range(store, keys, tmp_path) -> None:
    """The report of the erasure stays behind the cut, and both verify."""
    await fill(store)
    await erase_subject(store, "ann", actor="op", reason="asked for")
    await prune_to(store, 4, tmp_path / "export")
    report = await verify_store(store, keys)
    assert [] == report.findings
    assert verify_export(tmp_path / "export", keys).is_sound


@pytest.mark.requirement("OBS-A5")
async def test_a_report_that_somebody_wrote_without_the_key_removes_nothing(
    store, own_manager, keys, tmp_path, execute
) -> None:
    """OBS-A5: the next pruning doesn't take a forged report for an interrupted pruning."""
    await fill(store)
    forger = SqlAuditStore(own_manager, ChainKeys())
    details = {"through": 5, "head": "x", "first": 1}
    await forger.append([Draft("s", AuditEntry(action="audit.pruned", details=details))])
    with pytest.raises(BrokenChainError):
        await prune_to(store, 3, tmp_path / "export")
    assert [(11,)] == execute("SELECT count(*) FROM audit_entries")
