"""The phases of a run."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """The phase of a kernel's run: NEW, STARTING, READY, DRAINING, STOPPING, then STOPPED or FAILED."""

    NEW = "new"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
