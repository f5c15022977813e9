"""A warning when one Redis database serves two purposes."""

import pytest
from tests.logged import capture_logs

from bandmaster.contrib.redis import RedisSettings, warn_if_shared

SECRET = "hunter2"


@pytest.mark.requirement("CF-13", "TQ-10")
def test_purposes_that_share_a_database_are_named() -> None:
    """The warning names purposes and address, without user and password."""
    urls = {
        "cache": f"redis://me:{SECRET}@localhost",
        "tasks": f"redis://:{SECRET}@127.0.0.1:6379/0",
        "locks": f"redis://:{SECRET}@localhost/1",
    }
    with capture_logs() as lines:
        assert (("cache", "tasks"),) == warn_if_shared(urls)
    assert [("warning", ["cache", "tasks"], "localhost:6379, database 0")] == [
        (line["log_level"], line["purposes"], line["address"]) for line in lines
    ]
    assert SECRET not in str(lines)


@pytest.mark.requirement("CF-13", "TQ-10")
def test_different_databases_are_no_warning() -> None:
    """The defaults of a cache and of a queue are different databases."""
    with capture_logs() as lines:
        assert () == warn_if_shared({"cache": RedisSettings().url, "tasks": "redis://127.0.0.1:6379/1"})
    assert [] == lines
