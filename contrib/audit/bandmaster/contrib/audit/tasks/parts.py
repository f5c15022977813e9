"""The part that needs bandmaster-taskiq, for an entry point; without that package it is left out of the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.contrib.audit.extras import has_extra
from bandmaster.kernel import leave_out_component

if TYPE_CHECKING or has_extra("taskiq"):
    from bandmaster.contrib.audit.tasks.component import audit_task_names
else:
    audit_task_names = leave_out_component("audit_task_names", "taskiq")

__all__ = ["audit_task_names"]
