"""Events of authentication become entries, behind a queue that blocks nobody and tells what it drops."""

import time

import anyio
import pytest
from starlette.applications import Starlette
from tests.contrib.oidc.access.apps import OIDC, ROUTES, WEB
from tests.logged import capture_logs

from bandmaster.contrib.audit import (
    AuditFilter,
    AuditLog,
    AuditSettings,
    AuditUnavailableError,
    MemoryAuditStore,
    Result,
)
from bandmaster.contrib.audit.auth.parts import audit_auth_events
from bandmaster.contrib.audit.auth.writer import STREAM, AuthEventWriter
from bandmaster.contrib.audit.component import audit_log, audit_memory_store
from bandmaster.contrib.audit.settings import AUTH_ACTIONS
from bandmaster.contrib.oidc import AccessSettings, AuthEvent, AuthSettings, Principal, require
from bandmaster.contrib.oidc.testing import ActingUsers
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio


class Unsteady(MemoryAuditStore):
    """A store that can't be used while ``away`` is set."""

    away = False

    async def append(self, drafts):
        """Refuse while the database is away."""
        if self.away:
            raise AuditUnavailableError("away")
        return await super().append(drafts)


@pytest.fixture
def store():
    return Unsteady()


@pytest.fixture
def audit(store):
    return AuditLog(store)


def make_writer(audit, size=10, actions=AUTH_ACTIONS):
    return AuthEventWriter(audit, actions, size=size)


async def read(audit):
    return [link.to_entry() for link in await audit.store.read(STREAM, after=0, limit=1000)]


async def test_an_event_becomes_an_entry(audit) -> None:
    """Who, from where, why not, and in which request."""
    writer = make_writer(audit)
    principal = Principal("ann", issuer="https://id.example", kind="session", credential_id="c-1")
    writer.on_auth_event(
        AuthEvent(
            "request.refused",
            False,
            principal,
            "the scope is missing: token=planted",
            403,
            "GET",
            "/orders",
            "192.0.2.7",
            "req-1",
            1_700_000_000.5,
        )
    )
    writer.on_auth_event(AuthEvent("login", True, principal))
    writer.on_auth_event(AuthEvent("login", False, status=500))
    writer.on_auth_event(AuthEvent("api_key.used", True, principal))
    await writer.write()
    refused, login, failed = await read(audit)
    assert ("request.refused", Result.REFUSED, "ann", "192.0.2.7", "req-1", 1_700_000_000.5) == (
        refused.action,
        refused.result,
        refused.actor,
        refused.address,
        refused.request_id,
        refused.at.timestamp(),
    )
    assert (403, "GET", "/orders", "https://id.example", "session") == tuple(
        refused.details[name] for name in ("status", "method", "path", "issuer", "caller_kind")
    )
    assert "planted" not in refused.to_json()
    assert (Result.SUCCESS, Result.FAILURE) == (login.result, failed.result)


async def test_a_flood_is_bounded_and_told(audit, store) -> None:
    """The listener never waits; what there is no room for is counted, in an entry and in the log."""
    writer = make_writer(audit, size=10)
    began = time.perf_counter()
    for _ in range(10_000):
        writer.on_auth_event(AuthEvent("request.refused", False))
    assert time.perf_counter() - began < 5
    assert (10, 9_990) == (writer.waiting, writer.dropped)
    with capture_logs() as logs:
        await writer.write()
    *entries, report = await read(audit)
    assert 10 == len(entries)
    assert ("audit.dropped", 9_990) == (report.action, report.details["dropped"])
    assert 9_990 == next(entry["dropped"] for entry in logs if "dropped" in entry)
    assert (0, 0) == (writer.waiting, writer.dropped)


async def test_events_wait_for_a_store_that_is_away(audit, store, monkeypatch) -> None:
    """The writer tries again, and loses none that has room."""
    monkeypatch.setattr("bandmaster.contrib.audit.auth.writer._RETRY", 0.01)
    store.away = True
    writer = make_writer(audit)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        for _ in range(5):
            writer.on_auth_event(AuthEvent("login", True))
        for _ in range(5):
            await anyio.sleep(0.02)
        assert 5 == writer.waiting
        store.away = False
        with anyio.fail_after(60):
            while writer.waiting:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert 5 == len(await read(audit))


async def test_what_is_lost_at_the_stop_is_told(audit, store) -> None:
    """The stop doesn't hang for a database that is away."""
    store.away = True
    writer = make_writer(audit)
    writer.on_auth_event(AuthEvent("login", True))
    with capture_logs() as logs:
        await writer.write_last()
    assert [1] == [entry["lost"] for entry in logs if "lost" in entry]


async def test_texts_from_outside_can_not_stop_the_writer(audit) -> None:
    """A subject of any length and with any signs is an entry as well."""
    writer = make_writer(audit)
    for subject in ("x" * 1000, "a\nb\0c", " ", "\ud800", ""):
        writer.on_auth_event(AuthEvent("login", True, Principal(subject), client="\r\n", request_id="r" * 400))
    await writer.write()
    assert 5 == len(await read(audit))


async def test_an_application_with_oidc_records_refusals() -> None:
    """Installed together, the parts find each other: a refused request is in the audit trail after the stop."""
    users = ActingUsers()
    overrides = {
        AuditSettings: AuditSettings(store="memory"),
        AccessSettings: AccessSettings(),
        AuthSettings: AuthSettings(),
        **users.overrides,
    }
    routes = [*ROUTES]
    app = Starlette(routes=routes)
    from starlette.routing import Route

    async def hidden(request):
        raise AssertionError

    app.router.routes.append(Route("/hidden", hidden, middleware=[require("orders:read")]))
    parts = [*WEB, *OIDC, audit_log, audit_memory_store, audit_auth_events]
    async with run(app, contributions=parts, overrides=overrides) as running:
        audit = running.resources[AuditLog]
        answer = await running.client.get("/hidden", headers=users.act_as("ada"))
        assert 403 == answer.status_code
        assert 401 == (await running.client.get("/hidden")).status_code
        with anyio.fail_after(60):
            while len(records := (await audit.list(AuditFilter(action="request.refused"))).records) < 2:
                await anyio.sleep(0.01)
    newest, oldest = (record.entry for record in records)
    assert (403, "ada", "/hidden", answer.headers["x-request-id"]) == (
        oldest.details["status"],
        oldest.actor,
        oldest.details["path"],
        oldest.request_id,
    )
    assert (401, None) == (newest.details["status"], newest.actor)
