"""The mark of statements that aren't the application's own, for listeners of engines. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

INTERNAL: Mapping[str, bool] = MappingProxyType({"bandmaster_internal": True})
"""The execution option of health checks, of statements at the begin of a transaction, and of questions to an outbox."""
