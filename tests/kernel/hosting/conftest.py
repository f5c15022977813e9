"""Fixtures of the tests of hosting."""

import pytest
from tests.kernel.hosting.lives import Lives


@pytest.fixture
def lives():
    """Lifespans that record their starts and stops."""
    return Lives()
