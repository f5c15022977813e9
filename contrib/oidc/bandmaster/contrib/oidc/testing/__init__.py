"""Act as any principal in tests, for HTTP and for WebSockets, without a provider and without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.oidc.testing.acting_users import ActingUsers as ActingUsers

# pytest imports this package at every start, so that its modules are imported at first use (PEP 562).
export_lazily(__name__, {"acting_users": ["ActingUsers"]})
