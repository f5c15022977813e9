"""The test kit: run applications with their real lifespan, inject faults, and assert on starts that fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel.lazy import export_lazily

if TYPE_CHECKING:
    from bandmaster.kernel.testing.calls import ASGIViolationError as ASGIViolationError
    from bandmaster.kernel.testing.calls import ClientGoneError as ClientGoneError
    from bandmaster.kernel.testing.conformance import Conformance as Conformance
    from bandmaster.kernel.testing.conformance import Finding as Finding
    from bandmaster.kernel.testing.conformance import NonconformingError as NonconformingError
    from bandmaster.kernel.testing.conformance import check_contribution as check_contribution
    from bandmaster.kernel.testing.connection import Connection as Connection
    from bandmaster.kernel.testing.connection import WebSocketOptions as WebSocketOptions
    from bandmaster.kernel.testing.connection import connect as connect
    from bandmaster.kernel.testing.connection import read_chunk as read_chunk
    from bandmaster.kernel.testing.faults import Fault as Fault
    from bandmaster.kernel.testing.faults import InjectedError as InjectedError
    from bandmaster.kernel.testing.faults import cancel as cancel
    from bandmaster.kernel.testing.faults import crash as crash
    from bandmaster.kernel.testing.faults import fail as fail
    from bandmaster.kernel.testing.faults import hang as hang
    from bandmaster.kernel.testing.faults import slow as slow
    from bandmaster.kernel.testing.guardian import guarded_folder as guarded_folder
    from bandmaster.kernel.testing.guardian import guarded_process as guarded_process
    from bandmaster.kernel.testing.lifespan import LifespanError as LifespanError
    from bandmaster.kernel.testing.outcome import Outcome as Outcome
    from bandmaster.kernel.testing.outcome import attempt as attempt
    from bandmaster.kernel.testing.recording import Recording as Recording
    from bandmaster.kernel.testing.running import RunCancelled as RunCancelled
    from bandmaster.kernel.testing.running import Running as Running
    from bandmaster.kernel.testing.running import run as run
    from bandmaster.kernel.testing.servers import ServerUnavailable as ServerUnavailable
    from bandmaster.kernel.testing.servers import ServiceSettings as ServiceSettings
    from bandmaster.kernel.testing.servers import free_port as free_port
    from bandmaster.kernel.testing.servers import server_process as server_process
    from bandmaster.kernel.testing.servers import skip_or_fail as skip_or_fail
    from bandmaster.kernel.testing.websocket import WebSocket as WebSocket
    from bandmaster.kernel.testing.websocket import WebSocketClosed as WebSocketClosed
    from bandmaster.kernel.testing.websocket import WebSocketRefused as WebSocketRefused

# pytest imports this package at every start, so each name is imported on first use.
export_lazily(
    __name__,
    {
        "calls": ["ASGIViolationError", "ClientGoneError"],
        "conformance": ["Conformance", "Finding", "NonconformingError", "check_contribution"],
        "connection": ["Connection", "WebSocketOptions", "connect", "read_chunk"],
        "faults": ["Fault", "InjectedError", "cancel", "crash", "fail", "hang", "slow"],
        "guardian": ["guarded_folder", "guarded_process"],
        "lifespan": ["LifespanError"],
        "outcome": ["Outcome", "attempt"],
        "recording": ["Recording"],
        "running": ["RunCancelled", "Running", "run"],
        "servers": ["ServerUnavailable", "ServiceSettings", "free_port", "server_process", "skip_or_fail"],
        "websocket": ["WebSocket", "WebSocketClosed", "WebSocketRefused"],
    },
)
