"""Fixtures for pytest, which load the helpers when a test asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bandmaster.contrib.persistence.testing.databases import PostgresDatabase
    from bandmaster.contrib.persistence.testing.server import PostgresServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the session; without one the test is skipped, or fails where services are required."""
    from bandmaster.contrib.persistence.testing.server import postgres_server
    from bandmaster.kernel.testing import ServerUnavailable, skip_or_fail

    with ExitStack() as stack:
        try:
            server = stack.enter_context(postgres_server())
        except ServerUnavailable as error:
            skip_or_fail(error)
        yield server


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[PostgresDatabase]:
    """A database of this test alone, with a role of its owner and a role of the application."""
    from bandmaster.contrib.persistence.testing.databases import fresh_database

    with fresh_database(postgres_server) as database:
        yield database
