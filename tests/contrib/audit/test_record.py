"""Entries of successes live and die with the caller's transaction; entries of refusals stay."""

import pytest
from sqlalchemy import text

from bandmaster.contrib.audit import AuditFilter

pytestmark = pytest.mark.anyio


async def list_actions(audit):
    return [record.entry.action for record in (await audit.list()).records]


async def test_own(audit):
    """x."""
    record = await audit.record("order.cancel", resource_type="order", resource_id="7", actor="ann", details={"a": 1})
    assert 1 == record.sequence
    assert (record.entry,) == tuple(each.entry for each in (await audit.list(AuditFilter(actor="ann"))).records)


async def test_in(audit, manager):
    async with manager.session() as session:
        audit.record_in(session, "order.create")
        await session.execute(text("SELECT 1"))
        await audit.record("order.refused", beside=session)
    assert {"order.create", "order.refused"} == {*await list_actions(audit)}
