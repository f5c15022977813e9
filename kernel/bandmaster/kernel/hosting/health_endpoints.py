"""The health endpoints, ``/livez``, ``/readyz`` and ``/startupz`` unless the settings name other paths."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from bandmaster.kernel.hosting.mounted import find_endpoint
from bandmaster.kernel.hosting.responses import refuse_method, send_json
from bandmaster.kernel.lifecycle.health import Check, Report, combine
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.lifecycle.phases import Phase
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.settings.variables import variable_of


def make_health_endpoints(
    reports: Mapping[str, Callable[[], Awaitable[Report]]], *, show_details: bool
) -> dict[str, ASGIApp]:
    """An ASGI app for each path, which answers with the report; ``show_details`` adds the single checks.

    An empty path has none.
    """
    return {path: partial(_answer, report, show_details) for path, report in reports.items() if path}


def find_hidden_routes(app: Any, settings: KernelSettings) -> Iterator[str]:
    """A warning for each route of an app that is never reached, since a health endpoint has the same path."""
    for field in ("live_path", "ready_path", "startup_path"):
        path = getattr(settings, field)
        endpoint = find_endpoint(app, path) if path else None
        if endpoint is not None:
            variable = variable_of(type(settings), field)
            yield (
                f"the route {path!r} ({endpoint}) is never reached, since the application itself answers the health "
                f"check {path}. Give the check another path with {variable}, or switch it off with {variable} empty."
            )


async def report_live(kernel: Kernel) -> Report:
    """Whether the process can work at all. A failed run can't: some servers go on serving without a lifespan."""
    if kernel.phase is Phase.FAILED:
        return combine([Check("kernel", "kernel", "fail", Phase.FAILED.value)])
    return await kernel.live()


async def report_ready(kernel: Kernel, *, serving: bool, draining: bool) -> Report:
    """Whether new requests may come to an application."""
    if serving and not draining:
        return await kernel.ready()
    reason = "draining" if draining else kernel.phase.value
    # A kernel that runs without its application is ready, but serves no requests.
    return combine([Check("application", "application", "fail", reason if reason != "ready" else "not serving")])


async def _answer(
    make_report: Callable[[], Awaitable[Report]], show_details: bool, scope: Scope, receive: Receive, send: Send
) -> None:
    if scope["method"] not in ("GET", "HEAD"):
        await refuse_method(scope, send, "GET", "HEAD")
        return
    report = await make_report()
    body: dict[str, Any] = {"status": report.status}
    if show_details:
        body["checks"] = {
            check.name: {"status": check.status, "component": check.component, "reason": check.reason}
            for check in report.checks
        }
    await send_json(scope, send, report.http_status, body)
