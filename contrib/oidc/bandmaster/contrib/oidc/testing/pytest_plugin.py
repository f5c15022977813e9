"""A fixture for pytest, which loads the helper when a test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bandmaster.contrib.oidc.testing.acting_users import ActingUsers


@pytest.fixture
def acting_users() -> ActingUsers:
    """The users that requests of this test act as: ``run(app, overrides=acting_users.overrides)``."""
    from bandmaster.contrib.oidc.testing.acting_users import ActingUsers

    return ActingUsers()
