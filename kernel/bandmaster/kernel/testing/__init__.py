"""The test kit: applications run with their lifespan for real, failures injected, starts handed out for assertions."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bandmaster.kernel.testing.calls import ASGIViolationError, ClientGoneError
    from bandmaster.kernel.testing.client import Client, ResponseCutError, StreamedResponse, connect
    from bandmaster.kernel.testing.conformance import Conformance, Finding, NonconformingError, check_contribution
    from bandmaster.kernel.testing.faults import Fault, InjectedError, cancel, crash, fail, hang, slow
    from bandmaster.kernel.testing.guardian import guarded_folder, guarded_process
    from bandmaster.kernel.testing.lifespan import LifespanError
    from bandmaster.kernel.testing.messages import Headers, Response
    from bandmaster.kernel.testing.outcome import Outcome, attempt
    from bandmaster.kernel.testing.recording import Recording
    from bandmaster.kernel.testing.running import RunCancelled, Running, run
    from bandmaster.kernel.testing.servers import (
        ServerUnavailable,
        ServiceSettings,
        free_port,
        server_process,
        skip_or_fail,
    )
    from bandmaster.kernel.testing.websocket import WebSocket, WebSocketClosed, WebSocketRefused

# Where each public name lives. pytest imports this package whenever it starts, so that it must cost nothing (PEP 562).
_HOMES = {
    "ASGIViolationError": "calls",
    "Client": "client",
    "ClientGoneError": "calls",
    "Conformance": "conformance",
    "Fault": "faults",
    "Finding": "conformance",
    "Headers": "messages",
    "InjectedError": "faults",
    "LifespanError": "lifespan",
    "NonconformingError": "conformance",
    "Outcome": "outcome",
    "Recording": "recording",
    "Response": "messages",
    "ResponseCutError": "client",
    "RunCancelled": "running",
    "Running": "running",
    "ServerUnavailable": "servers",
    "ServiceSettings": "servers",
    "StreamedResponse": "client",
    "WebSocket": "websocket",
    "WebSocketClosed": "websocket",
    "WebSocketRefused": "websocket",
    "attempt": "outcome",
    "cancel": "faults",
    "check_contribution": "conformance",
    "connect": "client",
    "crash": "faults",
    "fail": "faults",
    "free_port": "servers",
    "guarded_folder": "guardian",
    "guarded_process": "guardian",
    "hang": "faults",
    "run": "running",
    "server_process": "servers",
    "skip_or_fail": "servers",
    "slow": "faults",
}

__all__ = [
    "ASGIViolationError",
    "Client",
    "ClientGoneError",
    "Conformance",
    "Fault",
    "Finding",
    "Headers",
    "InjectedError",
    "LifespanError",
    "NonconformingError",
    "Outcome",
    "Recording",
    "Response",
    "ResponseCutError",
    "RunCancelled",
    "Running",
    "ServerUnavailable",
    "ServiceSettings",
    "StreamedResponse",
    "WebSocket",
    "WebSocketClosed",
    "WebSocketRefused",
    "attempt",
    "cancel",
    "check_contribution",
    "connect",
    "crash",
    "fail",
    "free_port",
    "guarded_folder",
    "guarded_process",
    "hang",
    "run",
    "server_process",
    "skip_or_fail",
    "slow",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
