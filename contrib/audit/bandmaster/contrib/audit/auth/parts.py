"""The part that needs bandmaster-oidc, for an entry point; without that package it is left out of the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.contrib.audit.extras import has_extra
from bandmaster.kernel import leave_out_component

if TYPE_CHECKING or has_extra("oidc"):
    from bandmaster.contrib.audit.auth.component import audit_auth_events
else:
    audit_auth_events = leave_out_component("audit_auth_events", "oidc")

__all__ = ["audit_auth_events"]
